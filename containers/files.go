package containers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// podFiles are the files that a pod finds in /etc in place of its image's: who it is, and
// whom it asks for names. They lie in a folder of the pod's and are bound into it, so one
// that is to change for a running pod is written in place.
type podFiles struct{ dir string }

const (
	hostnameFile = "hostname"
	hostsFile    = "hosts"
	resolverFile = "resolv.conf"
	// endFile tells an agent that is started later how a pod has ended. It is gone after a
	// reboot, and then everything is started.
	endFile = "end.json"
)

// end is how a pod's process has ended.
type end struct {
	Code uint32
	// Spec and Archive are what it was made of.
	Spec, Archive string
}

func (f podFiles) path(pod, file string) string { return filepath.Join(f.dir, pod, file) }

// make writes a pod's files for its next start. Without name servers that it could ask
// there is none of resolverFile, and the image's own counts.
func (f podFiles) make(pod string, addresses, servers []netip.Addr) error {
	if err := os.MkdirAll(filepath.Join(f.dir, pod), 0o755); err != nil {
		return fmt.Errorf("make the files of pod %s: %w", pod, err)
	}
	if err := os.Remove(f.path(pod, endFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make the files of pod %s: %w", pod, err)
	}
	err := errors.Join(
		os.WriteFile(f.path(pod, hostnameFile), []byte(pod+"\n"), 0o644),
		os.WriteFile(f.path(pod, hostsFile), hosts(pod, addresses), 0o644),
		f.resolve(pod, servers, os.O_CREATE))
	if err != nil {
		return fmt.Errorf("make the files of pod %s: %w", pod, err)
	}
	return nil
}

// follow writes name servers for every pod that has been started with some. When none
// is known any more, they stay: a lease that has ended says nothing about its server.
func (f podFiles) follow(servers []netip.Addr) error {
	pods, err := os.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, p := range pods {
		if err := f.resolve(p.Name(), servers, 0); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (f podFiles) resolve(pod string, servers []netip.Addr, create int) error {
	text := resolver(servers)
	if len(text) == 0 {
		return nil
	}
	path := f.path(pod, resolverFile)
	if have, err := os.ReadFile(path); err == nil && slices.Equal(have, text) {
		return nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|create, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(text, 0)
	return errors.Join(err, file.Truncate(int64(len(text))), file.Close()) // never empty in between
}

// noteEnd remembers a pod's end, and ended finds it; a start forgets it.
func (f podFiles) noteEnd(pod string, e end) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return os.WriteFile(f.path(pod, endFile), b, 0o600)
}

func (f podFiles) ended(pod string) (e end, ok bool) {
	b, err := os.ReadFile(f.path(pod, endFile))
	return e, err == nil && json.Unmarshal(b, &e) == nil
}

func (f podFiles) remove(pod string) error { return os.RemoveAll(filepath.Join(f.dir, pod)) }

// mounts show what there is of a pod's files to the pod, read-only: what it wrote there
// would take memory of the gateway's.
func (f podFiles) mounts(pod string) []specs.Mount {
	var mounts []specs.Mount
	for _, file := range []string{hostnameFile, hostsFile, resolverFile} {
		if _, err := os.Stat(f.path(pod, file)); err != nil {
			continue
		}
		mounts = append(mounts, specs.Mount{
			Destination: "/etc/" + file, Source: f.path(pod, file), Type: "bind", Options: []string{"rbind", "ro", "nosuid", "nodev", "noexec"},
		})
	}
	return mounts
}

// hosts are names that need no server.
func hosts(pod string, addresses []netip.Addr) []byte {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	for _, a := range addresses {
		fmt.Fprintf(&b, "%s\t%s\n", a, pod)
	}
	return []byte(b.String())
}

// resolver names the servers that a pod can reach: not those of the gateway's own
// loopback, and not by an address of one of its links.
func resolver(servers []netip.Addr) []byte {
	var b strings.Builder
	for i, s := range servers {
		if s.IsLoopback() || s.IsUnspecified() || s.IsMulticast() || s.IsLinkLocalUnicast() || s.Zone() != "" || slices.Contains(servers[:i], s) {
			continue
		}
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	return []byte(b.String())
}
