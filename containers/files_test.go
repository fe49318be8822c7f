package containers

import (
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func addresses(texts ...string) (all []netip.Addr) {
	for _, t := range texts {
		all = append(all, netip.MustParseAddr(t))
	}
	return all
}

func TestPodFiles(t *testing.T) {
	f := podFiles{t.TempDir()}
	destinations := func(pod string) (all []string) {
		for _, m := range f.mounts(pod) {
			all = append(all, m.Destination)
		}
		return all
	}
	read := func(pod, file string) string {
		t.Helper()
		b, err := os.ReadFile(f.path(pod, file))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	expect := func(what string, got, want any) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	if err := f.follow(addresses("192.0.2.1")); err != nil {
		t.Errorf("without a pod: %v", err)
	}
	// Nobody is known whom a pod could ask: the image's own file counts.
	if err := f.make("own-0", addresses("10.64.1.1"), addresses("127.0.0.53", "fe80::1%eth0", "169.254.1.1")); err != nil {
		t.Fatal(err)
	}
	expect("mounts without name servers", destinations("own-0"), []string{"/etc/hostname", "/etc/hosts"})
	if err := f.make("web-0", addresses("10.64.1.2", "2001:db8::2"), addresses("192.0.2.53", "192.0.2.53", "2001:db8::53")); err != nil {
		t.Fatal(err)
	}
	expect("mounts", destinations("web-0"), []string{"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
	expect("hostname", read("web-0", "hostname"), "web-0\n")
	expect("hosts", read("web-0", "hosts"), "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"+
		"10.64.1.2\tweb-0\n2001:db8::2\tweb-0\n")
	expect("resolv.conf", read("web-0", "resolv.conf"), "nameserver 192.0.2.53\nnameserver 2001:db8::53\n")

	// A pod that runs sees the file that it was started with, so it must stay the same one.
	before, err := os.Stat(f.path("web-0", "resolv.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.follow(addresses("192.0.2.1")); err != nil {
		t.Error(err)
	}
	expect("resolv.conf of a lease later", read("web-0", "resolv.conf"), "nameserver 192.0.2.1\n")
	if after, err := os.Stat(f.path("web-0", "resolv.conf")); err != nil || !os.SameFile(before, after) {
		t.Errorf("resolv.conf is another file: %v", err)
	}
	if err := f.follow(nil); err != nil {
		t.Error(err)
	}
	expect("resolv.conf after the lease", read("web-0", "resolv.conf"), "nameserver 192.0.2.1\n")
	expect("mounts of the pod without", destinations("own-0"), []string{"/etc/hostname", "/etc/hosts"})
	for range 2 {
		if err := f.remove("web-0"); err != nil {
			t.Error(err)
		}
	}
	expect("mounts of a removed pod", destinations("web-0"), []string(nil))
}
