package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/containers/archive"
	"netd/firmware/debian"
	"netd/firmware/gpt"
	"netd/netd/config"
)

const top = "../.."

// options builds stand-ins for the programs, whose content an image does not
// care about, and an archive for the lab's workload.
func options(t *testing.T, board string) Options {
	t.Helper()
	dir := t.TempDir()
	b, err := config.LoadBoard(filepath.Join(top, "board", board, "board.toml"))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	src := filepath.Join(dir, "main.go")
	if err := os.WriteFile(src, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, src)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+b.Arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build a program: %v\n%s", err, out)
	}
	archiveFor(t, filepath.Join(dir, "web.tar"), b.Arch, "/a")
	return Options{
		Board: b, BoardFile: filepath.Join(top, "board", board, "board.toml"),
		Config: filepath.Join(top, "configs/examples/lab.toml"), Device: "gw-a", Images: dir,
		Netd: program, Shim: program, Runc: program, Stage1: program,
		Version: "v1", Time: time.Unix(1767225600, 0), Output: filepath.Join(dir, "out", "disk.img"),
		Cache: filepath.Join(cache, "netd"), Say: t.Logf,
	}
}

func archiveFor(t *testing.T, path, arch string, program ...string) {
	t.Helper()
	var b bytes.Buffer
	im := archive.Image{Arch: arch, Entrypoint: program, Files: []archive.File{{Path: "a", Data: []byte("x")}}}
	if err := archive.Write(&b, im); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tool runs one of the judges and returns what it says.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func contains(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !regexp.MustCompile(`(?m)` + want).MatchString(text) {
			t.Errorf("%s lacks %s:\n%s", what, want, text)
		}
	}
}

func TestImage(t *testing.T) {
	for _, board := range []string{"qemu-x86_64", "qemu-arm64"} {
		t.Run(board, func(t *testing.T) {
			o := options(t, board)
			parts, err := Build(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			files := partitions(t, o.Output)
			checkDisk(t, o.Output)
			checkFAT(t, files, archOf(o.Board.Arch).bootFile)
			checkData(t, files["data"])
			checkBoot(t, files["boot-a"], o)
			checkRoot(t, files["root-a"], o)
			for _, label := range []string{"boot-b", "root-b"} {
				if data, err := os.ReadFile(files[label]); err != nil || len(bytes.Trim(data, "\x00")) > 0 {
					t.Errorf("slot %s is not empty (%v)", label, err)
				}
			}
			again := o
			again.Output = filepath.Join(t.TempDir(), "again.img")
			parts2, err := Build(context.Background(), again)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(parts, parts2); diff != "" {
				t.Errorf("the second build differs (-first +second)\n%s", diff)
			}
			left, err := filepath.Glob(filepath.Join(filepath.Dir(o.Output), "*"))
			hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(o.Output), ".*"))
			if err != nil || len(left)+len(hidden) != 1 {
				t.Errorf("left beside the image: %v %v (%v)", left, hidden, err)
			}
		})
	}
}

// partitions cuts the image into files by label.
func partitions(t *testing.T, image string) map[string]string {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, err := gpt.Read(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	dir, files := t.TempDir(), map[string]string{}
	for _, p := range table.Partitions {
		out, err := os.Create(filepath.Join(dir, p.Label))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, io.NewSectionReader(f, p.Offset(), p.Size())); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		files[p.Label] = out.Name()
	}
	return files
}

func checkDisk(t *testing.T, image string) {
	t.Helper()
	contains(t, "sfdisk --verify", tool(t, "sfdisk", "--verify", image), "No errors detected")
	var got []string
	for _, m := range regexp.MustCompile(`start= *(\d+), size= *(\d+).*name="(.*)"`).FindAllStringSubmatch(tool(t, "sfdisk", "--dump", image), -1) {
		got = append(got, strings.Join(m[1:], " "))
	}
	want := []string{
		"2048 69632 esp", "71680 2048 state", "73728 131072 boot-a", "204800 131072 boot-b",
		"335872 524288 root-a", "860160 524288 root-b", "1384448 278528 data",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("partitions (-want +got)\n%s", diff)
	}
}

func checkFAT(t *testing.T, files map[string]string, bootFile string) {
	t.Helper()
	tool(t, "fsck.vfat", "-n", files["esp"])
	tool(t, "fsck.vfat", "-n", files["state"])
	contains(t, "esp", tool(t, "mdir", "-b", "-s", "-i", files["esp"], "::"), "^::/EFI/BOOT/"+bootFile+"$")
	for name, want := range map[string]string{"env": "good=a\ntry=\nleft=0\n#", "env.bak": "good=a\n#"} {
		text := tool(t, "mtype", "-i", files["state"], "::"+name)
		if len(text) != 1024 || !strings.HasPrefix(text, "# GRUB Environment Block\n"+want) {
			t.Errorf("%s has %d octets: %q", name, len(text), text)
		}
	}
}

func checkData(t *testing.T, file string) {
	t.Helper()
	tool(t, "e2fsck", "-fn", file)
	contains(t, "data", tool(t, "dumpe2fs", "-h", file), "^Filesystem volume name: +data$", "^Filesystem state: +clean$",
		"^Reserved GDT blocks: +12[78]$", "^Filesystem features: .*resize_inode.*metadata_csum", "^Filesystem created: +Thu Jan +1 00:00:00 2026$")
}

func checkBoot(t *testing.T, file string, o Options) {
	t.Helper()
	contains(t, "boot slot", tool(t, "unsquashfs", "-s", file), "Compression gzip", "Data is uncompressed")
	var m Manifest
	if err := json.Unmarshal([]byte(tool(t, "unsquashfs", "-cat", file, "manifest.json")), &m); err != nil {
		t.Fatal(err)
	}
	if m.Schema != 1 || m.Version != "v1" || m.Board != o.Board.Name || m.Arch != o.Board.Arch || m.Device != "gw-a" || !m.Built.Equal(o.Time) {
		t.Errorf("manifest: %+v", m)
	}
	var names []string
	for _, p := range m.Parts {
		names = append(names, p.Name)
	}
	want := strings.Fields("containerd-shim-runc-v2 images/web.tar netd netd.efi netd.toml root.squashfs runc selector.efi stage1")
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("the manifest's parts (-want +got)\n%s", diff)
	}
	if names := tool(t, "unsquashfs", "-ll", file); strings.Contains(names, "console-password") {
		t.Errorf("a password was made, and the configuration has one:\n%s", names)
	}
	for i, name := range []string{"netd.toml", "netd.efi"} {
		out := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(out, []byte(tool(t, "unsquashfs", "-cat", file, name)), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := partOf(name, out)
		if err != nil || !slices.Contains(m.Parts, got) {
			t.Errorf("%s (%d): %+v is not what the manifest says (%v)", name, i, got, err)
		}
	}
	if !slices.ContainsFunc(m.Packages, func(p debian.Package) bool {
		return p.Name == "iproute2" && p.Arch == o.Board.Arch && len(p.SHA256) == 64
	}) {
		t.Errorf("the manifest has no iproute2: %+v", m.Packages)
	}
}

func checkRoot(t *testing.T, file string, o Options) {
	t.Helper()
	contains(t, "root slot", tool(t, "unsquashfs", "-s", file), "Compression zstd")
	a := archOf(o.Board.Arch)
	list := tool(t, "unsquashfs", "-lln", file)
	const root = `^\S+ 0/0 +\d+ 2026-01-01 00:00 squashfs-root`
	wants := []string{
		`^drwxr-xr-x 0/0 +\d+ 2026-01-01 00:00 squashfs-root$`, `^drwxrwxrwt .* squashfs-root/tmp$`,
		root + "/sbin -> usr/bin$", root + "/lib -> usr/lib$", root + "/usr/sbin -> bin$",
		root + "/etc/shadow -> /run/netd/shadow$", root + "/etc/issue -> /run/netd/issue$", root + "/etc/iproute2/rt_protos.d/netd.conf$", root + "/etc/iproute2/rt_protos$",
		root + "/etc/services$", root + "/etc/os-release$", root + "/etc/resolv.conf -> /run/netd/resolv.conf$",
		root + "/usr/bin/sh -> busybox$", root + "/usr/bin/modprobe -> busybox$", root + "/usr/bin/login -> busybox$",
		root + "/usr/lib/netd/board.toml$", root + "/usr/lib/netd/images/web.tar$", root + "/usr/lib/modules/.*/modules.dep$",
		root + "/" + a.libDir + "/libc.so.6$", root + "/usr/lib/modules/.*/wireguard.ko$",
	}
	for _, name := range strings.Fields("netd runc containerd-shim-runc-v2 ip ss tc bridge ping traceroute tcpdump nft ethtool conntrack busybox e2fsck mke2fs") {
		wants = append(wants, `^-rwxr-xr-x 0/0 .* squashfs-root/usr/bin/`+name+`$`)
	}
	contains(t, "root slot", list, wants...)
	if m := regexp.MustCompile(`(?m)^.*/(init|perl|systemd[^/]*|dpkg)( ->.*)?$`).FindString(list); m != "" {
		t.Errorf("in the root slot: %s", m)
	}
	order := tool(t, "unsquashfs", "-cat", file, "usr/lib/netd/modules")
	contains(t, "modules", order, `/ipip\.ko$`, `/overlay\.ko$`, `/veth\.ko$`, `/virtio_net\.ko$`)
	for _, path := range strings.Fields(order) {
		if !strings.HasPrefix(path, "/lib/modules/") || !strings.Contains(list, "squashfs-root/usr"+path+"\n") {
			t.Errorf("module %s is not in the root slot", path)
		}
	}
	if strings.Index(order, "/ip_tunnel.ko") > strings.Index(order, "/ipip.ko") {
		t.Errorf("ipip before what it needs:\n%s", order)
	}
}

// What would not come up on the box must not become an image.
func TestBuildRefuses(t *testing.T) {
	o := options(t, "qemu-arm64")
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole, err := os.ReadFile(filepath.Join(o.Images, "web.tar"))
	if err != nil {
		t.Fatal(err)
	}
	torn, other, idle := filepath.Join(dir, "torn"), filepath.Join(dir, "other"), filepath.Join(dir, "idle")
	for _, d := range []string{torn, other, idle} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put("torn/web.tar", string(whole[:len(whole)/2]))
	archiveFor(t, filepath.Join(other, "web.tar"), "amd64", "/a")
	archiveFor(t, filepath.Join(idle, "web.tar"), "arm64")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"no archive", func(o *Options) { o.Images = dir }, `^workload web: image archive .*/web.tar: no such file`},
		{"torn archive", func(o *Options) { o.Images = torn }, `^workload web: image archive .*/torn/web.tar: truncated`},
		{"archive for another architecture", func(o *Options) { o.Images = other }, `^workload web: image archive .*/other/web.tar: is for amd64, expected arm64`},
		{"bad configuration", func(o *Options) { o.Config = put("bad.toml", "schema = 1\nx = 1\n") }, `bad\.toml:2:1: x: unknown key`},
		{"no configuration", func(o *Options) { o.Config = "nosuch.toml" }, `^read configuration: open nosuch.toml: no such file`},
		{"words for the kernel in a name", func(o *Options) { o.Device = "gw-a init=/bin/sh" }, `^device name "gw-a init=/bin/sh": expected a name of`},
		{"a name in another alphabet", func(o *Options) { o.Device = "Ünï" }, `^device name "Ünï": expected a name of`},
		{"a name that every box has", func(o *Options) { o.Device = "localhost" }, `^device name "localhost": every box calls itself so`},
		{"an archive without a program", func(o *Options) { o.Images = idle }, `^workload web: image archive .*/idle/web.tar: names no program`},
		{"unknown device", func(o *Options) { o.Device = "gw-z" }, `gw-z`},
		{"program for another architecture", func(o *Options) { o.Runc = self }, `^program .*: is for EM_X86_64, expected EM_AARCH64`},
		{"no program", func(o *Options) { o.Stage1 = "nosuch" }, `^program nosuch: open nosuch: no such file`},
		{"unknown module", func(o *Options) {
			b := *o.Board
			b.Kernel.Modules = []string{"nosuch"}
			o.Board = &b
		}, `^kernel module nosuch: not in `},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := o
			tt.change(&o)
			_, err := Build(context.Background(), o)
			if err == nil || !regexp.MustCompile(tt.want).MatchString(err.Error()) {
				t.Errorf("error %v, expected %s", err, tt.want)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(o.Output), "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// An interrupted build leaves nothing, at whichever step.
func TestBuildInterrupted(t *testing.T) {
	o := options(t, "qemu-x86_64")
	for _, step := range []string{"packages", "root slot", "boot slot"} {
		ctx, cancel := context.WithCancel(context.Background())
		o.Say = func(format string, args ...any) {
			if strings.HasPrefix(fmt.Sprintf(format, args...), step) {
				cancel()
			}
		}
		if _, err := Build(ctx, o); err == nil {
			t.Errorf("after %s: no error", step)
		}
		left, _ := filepath.Glob(filepath.Join(filepath.Dir(o.Output), "*"))
		hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(o.Output), ".*"))
		if len(left)+len(hidden) > 0 {
			t.Errorf("after %s: left behind: %v %v", step, left, hidden)
		}
	}
}

func TestLayoutRefusesWhatDoesNotFit(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big")
	if err := blank(big, 65*mib); err != nil {
		t.Fatal(err)
	}
	_, _, err := arrange(nil, []volume{{"boot-a", gpt.TypeLinux, bootSize, big}})
	if want := "boot-a: 65.0 MiB do not fit into a partition of 64 MiB"; err == nil || err.Error() != want {
		t.Errorf("error %v, expected %s", err, want)
	}
}
