package debian

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// indexAge is how old the list of packages may be before it is fetched again.
const indexAge = 24 * time.Hour

// Archive is what the machine's sources offer for one architecture.
type Archive struct {
	arch string
	dir  string // state of apt; debs/ and unpacked/ are shared between architectures
	root string
	say  func(format string, args ...any)
}

// Package is one that was fetched and unpacked.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	SHA256  string `json:"sha256"`
	Size    int64  `json:"size"`
	// Dir holds the package's files.
	Dir string `json:"-"`
}

// Open returns the archive for an architecture (amd64, arm64) with its cache
// in dir. A list of packages older than a day is fetched again; if that does
// not work, the old one is used and say is told.
func Open(ctx context.Context, dir, arch string, say func(format string, args ...any)) (*Archive, error) {
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("fetch Debian packages: %w", err)
		}
	}
	a := &Archive{arch: arch, root: dir, dir: filepath.Join(dir, "apt-"+arch), say: say}
	for _, d := range []string{a.dir + "/lists/partial", a.dir + "/archives/partial", dir + "/debs", dir + "/unpacked"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("make the package cache: %w", err)
		}
	}
	unlock, err := a.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	st, err := os.Stat(a.stamp())
	if err == nil && time.Since(st.ModTime()) < indexAge {
		return a, nil
	}
	say("fetch Debian's list of packages for %s", arch)
	if _, updateErr := a.apt(ctx, "", "apt-get", "-o", "APT::Update::Error-Mode=any", "update"); updateErr != nil {
		if err != nil {
			return nil, fmt.Errorf("fetch Debian's list of packages for %s: %w", arch, updateErr)
		}
		say("using the list of %s: %v", st.ModTime().Format(time.DateTime), updateErr)
		return a, nil
	}
	if err := os.WriteFile(a.stamp(), nil, 0o644); err != nil {
		return nil, err
	}
	return a, nil
}

// stamp is as old as the list of packages.
func (a *Archive) stamp() string { return filepath.Join(a.dir, "updated") }

// lock keeps builds that run at the same time from fetching into one another.
func (a *Archive) lock() (unlock func(), err error) {
	path := filepath.Join(a.root, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the package cache: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// apt runs one of apt's tools on this archive's state and returns its output.
func (a *Archive) apt(ctx context.Context, dir, tool string, args ...string) ([]byte, error) {
	opts := []string{
		"-q", "-o", "APT::Architecture=" + a.arch, "-o", "APT::Architectures=" + a.arch,
		"-o", "Dir::State=" + a.dir, "-o", "Dir::State::status=/dev/null", "-o", "Dir::Cache=" + a.dir,
		"-o", "Dir::Cache::pkgcache=pkgcache.bin", "-o", "Dir::Cache::srcpkgcache=srcpkgcache.bin",
		"-o", "Acquire::Languages=none", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		// Apt's own user can not write to a home folder's cache.
		"-o", "APT::Sandbox::User=root",
	}
	cmd := exec.CommandContext(ctx, tool, append(opts, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", tool, err, reason(stderr.String()))
	}
	return out, nil
}

// reason picks apt's first error and makes one line of it.
func reason(stderr string) string {
	lines := strings.FieldsFunc(stderr, func(r rune) bool { return r == '\n' })
	for _, l := range lines {
		if text, ok := strings.CutPrefix(l, "E: "); ok {
			return strings.TrimSpace(text)
		}
	}
	return strings.Join(lines, "; ")
}

// Depends returns the names that a package depends on directly, without
// alternatives and versions.
func (a *Archive) Depends(ctx context.Context, name string) ([]string, error) {
	out, err := a.apt(ctx, "", "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return nil, fmt.Errorf("look up package %s for %s: %w", name, a.arch, err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		list, ok := strings.CutPrefix(line, "Depends: ")
		if !ok {
			continue
		}
		for dep := range strings.SplitSeq(list, ",") {
			if f := strings.Fields(dep); len(f) > 0 {
				names = append(names, f[0])
			}
		}
	}
	return names, nil
}

// Fetch returns the packages, sorted by name, each fetched and unpacked unless
// the cache has it.
func (a *Archive) Fetch(ctx context.Context, names ...string) ([]Package, error) {
	unlock, err := a.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	out, err := a.apt(ctx, a.dir, "apt-get", append([]string{"download", "--print-uris"}, names...)...)
	if err != nil {
		return nil, fmt.Errorf("look up packages for %s: %w", a.arch, err)
	}
	packages, err := parseURIs(string(out))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(packages, func(p Package) bool { return p.Name == name }) {
			return nil, fmt.Errorf("look up package %s for %s: apt offers none with a SHA-256", name, a.arch)
		}
	}
	if err := a.download(ctx, packages); err != nil {
		return nil, err
	}
	for i := range packages {
		if err := a.unpack(ctx, &packages[i]); err != nil {
			return nil, err
		}
	}
	return packages, nil
}

// uriLine is 'URI' NAME_VERSION_ARCH.deb SIZE SHA256:SUM.
var uriLine = regexp.MustCompile(`^'[^']*' ([^_ ]+)_([^_ ]+)_([^_ ]+)\.deb ([0-9]+) SHA256:([0-9a-f]{64})$`)

func parseURIs(out string) ([]Package, error) {
	var packages []Package
	for line := range strings.Lines(out) {
		m := uriLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		version, err := url.PathUnescape(m[2])
		if err != nil {
			return nil, fmt.Errorf("version of package %s: %w", m[1], err)
		}
		size, err := strconv.ParseInt(m[4], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("size of package %s: %w", m[1], err)
		}
		packages = append(packages, Package{Name: m[1], Version: version, Arch: m[3], Size: size, SHA256: m[5]})
	}
	slices.SortFunc(packages, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	return packages, nil
}

func (a *Archive) deb(p Package) string { return filepath.Join(a.root, "debs", p.SHA256+".deb") }

// download fetches the packages that are not in the cache. What a name means
// was settled before: a package that is not the promised one is an error.
func (a *Archive) download(ctx context.Context, packages []Package) error {
	var size int64
	args := []string{"download"}
	missing := map[string]Package{}
	for _, p := range packages {
		if _, err := os.Stat(a.deb(p)); err == nil {
			continue
		}
		missing[p.SHA256] = p
		args = append(args, p.Name+"="+p.Version)
		size += p.Size
	}
	if len(missing) == 0 {
		return nil
	}
	a.say("download %d packages for %s, %.1f MB", len(missing), a.arch, float64(size)/1e6)
	tmp, err := os.MkdirTemp(a.root, "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if _, err := a.apt(ctx, tmp, "apt-get", args...); err != nil {
		// A mirror drops a version when the next one is there: ask again next time.
		_ = os.Remove(a.stamp())
		return fmt.Errorf("download packages for %s: %w", a.arch, err)
	}
	files, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(tmp, f.Name())
		sum, err := sumFile(path)
		if err != nil {
			return err
		}
		p, ok := missing[sum]
		if !ok {
			return fmt.Errorf("downloaded %s: its SHA-256 %s is none that was promised", f.Name(), sum)
		}
		if err := os.Rename(path, a.deb(p)); err != nil {
			return err
		}
		delete(missing, sum)
	}
	var errs []error
	for _, p := range missing {
		errs = append(errs, fmt.Errorf("download %s %s for %s: apt left no file", p.Name, p.Version, a.arch))
	}
	return errors.Join(errs...)
}

func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (a *Archive) unpack(ctx context.Context, p *Package) error {
	p.Dir = filepath.Join(a.root, "unpacked", p.SHA256)
	if _, err := os.Stat(p.Dir); err == nil {
		return nil
	}
	tmp, err := os.MkdirTemp(a.root, "unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", a.deb(*p), tmp).CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("unpack %s: %w: %s", p.Name, err, bytes.TrimSpace(out))
	}
	return os.Rename(tmp, p.Dir)
}
