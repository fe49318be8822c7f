package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"netd/containers/archive"
	"netd/firmware/gpt"
	"netd/firmware/kmod"
	"netd/firmware/uki"
	"netd/netd/config"
	"netd/netd/layout"
)

// Options say what to build.
type Options struct {
	Board     *config.Board
	BoardFile string
	// Config is the factory configuration. Device is the name that the box gives
	// itself when it looks for its [[device]]; if it is empty, the box has only
	// its serial number and MAC addresses to go by.
	Config, Device string
	// Images is the folder of the workloads' archives.
	Images string
	// Programs, static and for the board's architecture.
	Netd, Shim, Runc, Stage1 string
	Version                  string
	// Time is the build's, and that of every file.
	Time   time.Time
	Output string
	// Cache keeps Debian's packages.
	Cache string
	// Password, if not nil, is told the one that was made up for root, as the
	// configuration has none. The image has its hash.
	Password func(password string)
	// Say is told each step.
	Say func(format string, args ...any)
}

// job is a build on its way.
type job struct {
	o        Options
	dir      string // for temporary files
	base     base
	modules  *kmod.Tree
	archives map[string]string // file name → path
	manifest Manifest
	result   []Part
	seed     []byte // SHA-256 of all that went in
	noLogin  bool   // some box has no password in its configuration
}

// Build makes the image and returns the sizes of its parts.
func Build(ctx context.Context, o Options) ([]Part, error) {
	j := &job{o: o, archives: map[string]string{}}
	if err := errors.Join(checkTools(), j.check()); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(o.Output), 0o755); err != nil {
		return nil, err
	}
	var err error
	if j.dir, err = os.MkdirTemp(filepath.Dir(o.Output), ".mkimage-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(j.dir)
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"packages", j.fetch},
		{"root slot", j.buildRoot},
		{"unified kernel image", j.buildKernel},
		{"boot slot", j.buildBoot},
		{"disk", j.buildDisk},
	} {
		start := time.Now()
		if err := step.do(ctx); err != nil {
			return nil, err
		}
		o.Say("%-22s %5.1f s", step.what, time.Since(start).Seconds())
	}
	return j.result, nil
}

// check refuses what would only be found out on the box.
func (j *job) check() error {
	data, err := config.ReadFile(j.o.Config)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var workloads []config.Workload
	if j.o.Device != "" {
		if err := config.CheckName(j.o.Device); err != nil {
			return err
		}
		c, warnings, err := config.Parse(j.o.Config, data, config.Identity{Name: j.o.Device})
		if err != nil {
			return err
		}
		j.warn(warnings)
		workloads = c.Workloads
		j.noLogin = c.Management.ConsolePassword == ""
	} else {
		devices, err := config.ParseAll(j.o.Config, data)
		if err != nil {
			return err
		}
		for _, d := range devices {
			j.warn(d.Warnings)
			workloads = append(workloads, d.Config.Workloads...)
			j.noLogin = j.noLogin || d.Config.Management.ConsolePassword == ""
		}
	}
	errs := j.checkArchives(workloads)
	for _, program := range []string{j.o.Netd, j.o.Shim, j.o.Runc, j.o.Stage1} {
		errs = append(errs, checkProgram(program, j.o.Board.Arch))
	}
	return errors.Join(errs...)
}

// checkArchives looks at what the workloads run.
func (j *job) checkArchives(workloads []config.Workload) []error {
	var errs []error
	good := map[string]archive.Info{}
	for _, w := range workloads {
		path := filepath.Join(j.o.Images, w.Image)
		if _, ok := j.archives[w.Image]; !ok {
			j.archives[w.Image] = path
			info, err := archive.CheckArchive(path, j.o.Board.Arch)
			if err != nil {
				errs = append(errs, fmt.Errorf("workload %s: image archive %s: %w", w.Name, path, err))
				continue
			}
			good[w.Image] = info
		}
		if info, ok := good[w.Image]; ok && len(info.Args(w.Command, w.Args)) == 0 {
			errs = append(errs, fmt.Errorf(`workload %s: image archive %s: names no program (Entrypoint and Cmd are empty): expected one in the workload, e.g. command = ["/bin/httpd"]`, w.Name, path))
		}
	}
	return errs
}

func (j *job) warn(warnings []config.Warning) {
	for _, w := range warnings {
		j.o.Say("warning: %s", w)
	}
}

func (j *job) fetch(ctx context.Context) (err error) {
	if j.base, err = fetchBase(ctx, j.o.Cache, j.o.Board.Arch, j.o.Board.Kernel.Package, j.o.Say); err != nil {
		return err
	}
	if j.modules, err = kmod.Open(j.base.modules()); err != nil {
		return err
	}
	j.manifest = Manifest{
		Schema: 1, Version: j.o.Version, Board: j.o.Board.Name, Arch: j.o.Board.Arch, Device: j.o.Device,
		Built: j.o.Time.UTC(), Kernel: j.base.version, Packages: j.base.all(),
	}
	parts := map[string]string{
		"netd": j.o.Netd, "containerd-shim-runc-v2": j.o.Shim, "runc": j.o.Runc, "stage1": j.o.Stage1, "netd.toml": j.o.Config,
	}
	for name, path := range j.archives {
		parts["images/"+name] = path
	}
	for name, path := range parts {
		if err := j.note(name, path); err != nil {
			return err
		}
	}
	return nil
}

// note adds a file to the manifest.
func (j *job) note(name, path string) error {
	p, err := partOf(name, path)
	j.manifest.Parts = append(j.manifest.Parts, p)
	slices.SortFunc(j.manifest.Parts, func(a, b Part) int { return strings.Compare(a.Name, b.Name) })
	return err
}

func (j *job) file(name string) string { return filepath.Join(j.dir, name) }

func (j *job) buildRoot(ctx context.Context) error {
	t, err := j.rootTree()
	if err != nil {
		return err
	}
	if err := squashfs(ctx, t, j.file("root"), j.o.Time, "-comp", "zstd", "-Xcompression-level", "9", "-b", "256K"); err != nil {
		return err
	}
	return j.note(layout.RootPart, j.file("root"))
}

func (j *job) buildKernel(ctx context.Context) error {
	t, err := j.initramfs()
	if err != nil {
		return err
	}
	var cpio, packed bytes.Buffer
	if err := t.writeCPIO(&cpio, j.o.Time); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "zstd", "-q", "-c", "-9", "--no-check")
	cmd.Stdin, cmd.Stdout = &cpio, &packed
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compress the initramfs: %w", err)
	}
	stub, err := os.ReadFile(filepath.Join(j.base.stub.Dir, "usr/lib/systemd/boot/efi", archOf(j.o.Board.Arch).stub))
	if err != nil {
		return err
	}
	linux, err := os.ReadFile(j.base.vmlinuz())
	if err != nil {
		return err
	}
	im := uki.Image{Stub: stub, OSRelease: j.osRelease(), Cmdline: j.cmdline(), Initrd: packed.Bytes(), Linux: linux}
	out, err := im.Build()
	if err != nil {
		return fmt.Errorf("make the unified kernel image: %w", err)
	}
	j.result = append(j.result, Part{Name: "kernel", Size: int64(len(linux))}, Part{Name: "initramfs", Size: int64(packed.Len())})
	if err := os.WriteFile(j.file("netd.efi"), out, 0o644); err != nil {
		return err
	}
	return j.note("netd.efi", j.file("netd.efi"))
}

// cmdline is the kernel's: the same for both slots, which tell themselves apart
// by the partition that they were started from.
func (j *job) cmdline() string {
	b := j.o.Board
	var words []string
	if b.Screen {
		words = append(words, "console=tty0") // The last one is /dev/console.
	}
	words = append(words, fmt.Sprintf("console=%s,%d", b.Console, b.Baud), "quiet", "loglevel=4", "panic=2", "netd.board="+b.Name)
	if j.o.Device != "" {
		words = append(words, "netd.name="+j.o.Device)
	}
	return strings.Join(append(words, b.Kernel.Cmdline...), " ")
}

func (j *job) buildBoot(ctx context.Context) error {
	efi, err := selector(ctx, j.base, archOf(j.o.Board.Arch), j.dir, j.o.Time)
	if err != nil {
		return err
	}
	if err := j.note("selector.efi", j.file("selector.efi")); err != nil {
		return err
	}
	text, err := j.manifest.encode()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	j.seed = sum[:]
	t := tree{}
	t.copy("netd.efi", j.file("netd.efi"), 0o644)
	t.copy("netd.toml", j.o.Config, 0o644)
	t.text("manifest.json", string(text))
	if j.noLogin {
		hash, err := j.makePassword(ctx)
		if err != nil {
			return err
		}
		t.secret(filepath.Base(layout.ConsolePassword), hash)
	}
	// GRUB reads this one, and unpacks slower than a disk reads.
	if err := squashfs(ctx, t, j.file("boot"), j.o.Time, "-comp", "gzip", "-noD", "-noF"); err != nil {
		return err
	}
	return fat(ctx, j.file("esp"), espSize, 32, "ESP", identity(j.seed, "esp serial"), j.o.Time,
		[]fatFile{{"EFI/BOOT/" + archOf(j.o.Board.Arch).bootFile, efi}})
}

func (j *job) buildDisk(ctx context.Context) error {
	err := errors.Join(
		fat(ctx, j.file("state"), stateSize, 12, "STATE", identity(j.seed, "state serial"), j.o.Time, []fatFile{
			{"env", envBlock("good=a", "try=", "left=0")},
			{"env.bak", envBlock("good=a")},
		}),
		emptyData(ctx, j.file("data"), dataSize, identity(j.seed, "data file system"), j.o.Time))
	if err != nil {
		return err
	}
	volumes := []volume{
		{"esp", gpt.TypeESP, espSize, j.file("esp")},
		{"state", gpt.TypeBasic, stateSize, j.file("state")},
		{"boot-a", gpt.TypeLinux, bootSize, j.file("boot")},
		{"boot-b", gpt.TypeLinux, bootSize, ""},
		{"root-a", gpt.TypeLinux, rootSize, j.file("root")},
		{"root-b", gpt.TypeLinux, rootSize, ""},
		{"data", gpt.TypeLinux, dataSize, j.file("data")},
	}
	if err := writeDisk(j.o.Output, j.seed, volumes); err != nil {
		return err
	}
	return j.measure(volumes)
}

// measure completes the table of sizes: what went in, what the partitions hold,
// and what the image takes on a disk.
func (j *job) measure(volumes []volume) error {
	j.result = append(j.result, j.manifest.Parts...)
	for _, v := range volumes {
		if v.content == "" {
			continue
		}
		st, err := os.Stat(v.content)
		if err != nil {
			return err
		}
		j.result = append(j.result, Part{Name: "partition " + v.label, Size: st.Size()})
	}
	f, err := os.Open(j.o.Output)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	size, err := io.Copy(h, f)
	j.result = append(j.result, Part{"image", size, hex.EncodeToString(h.Sum(nil))})
	return err
}
