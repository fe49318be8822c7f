package image

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"netd/firmware/kmod"
	"netd/netd/layout"
)

//go:embed etc
var etc embed.FS

// rootTree is the root file system: merged as Debian's, and sbin is bin.
func (j *job) rootTree() (tree, error) {
	t := tree{}
	for name, target := range map[string]string{
		"bin": "usr/bin", "sbin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "usr/sbin": "bin",
		"etc/shadow": layout.RunDir + "/shadow", "etc/resolv.conf": layout.RunDir + "/resolv.conf", "etc/hostname": layout.RunDir + "/hostname", "etc/issue": layout.Issue,
		"etc/mtab": "/proc/self/mounts", "var/run": "/run", "var/tmp": "/tmp", "usr/lib/os-release": "../../etc/os-release",
	} {
		t.link(name, target)
	}
	// /var as a whole is read-only but for what the system mounts there.
	for _, name := range []string{"proc", "sys", "dev", "run", "data", "mnt", "usr/lib64", "var/lib", "var/log", "var/empty"} {
		t.dir(name, 0o755)
	}
	t.dir("tmp", 0o777|fs.ModeSticky)
	t.dir("root", 0o700)
	if err := addEtc(t); err != nil {
		return nil, err
	}
	t.text("etc/os-release", j.osRelease())
	for name, source := range map[string]string{
		inTree(layout.Netd): j.o.Netd, inTree(layout.Shim): j.o.Shim, inTree(layout.Runc): j.o.Runc,
	} {
		t.copy(name, source, 0o755)
	}
	t.copy(inTree(layout.BoardFile), j.o.BoardFile, 0o644)
	for name, source := range j.archives {
		t.copy(inTree(layout.ImageDir)+"/"+name, source, 0o644)
	}
	if err := errors.Join(j.addTools(t), j.addModules(t)); err != nil {
		return nil, err
	}
	return t, nil
}

func addEtc(t tree) error {
	return fs.WalkDir(etc, "etc", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := etc.ReadFile(name)
		t.text(name, string(text))
		return err
	})
}

// addTools installs Debian's programs, their tables in /etc, and links for what
// only busybox has.
func (j *job) addTools(t tree) error {
	all, err := index(j.base.tools)
	if err != nil {
		return err
	}
	if err := all.install(t, archOf(j.o.Board.Arch).libDir, programs()); err != nil {
		return err
	}
	for name, source := range all {
		if _, ok := t[name]; !ok && (strings.HasPrefix(name, "etc/iproute2/") || tables[name]) {
			t.copy(name, source, 0o644)
		}
	}
	busybox, err := os.ReadFile(t["usr/bin/busybox"].source)
	if err != nil {
		return err
	}
	names, err := applets(busybox)
	if err != nil {
		return err
	}
	for _, name := range names {
		// netd is init; and busybox' package managers have nothing to manage.
		if _, ok := t["usr/bin/"+name]; !ok && !slices.Contains([]string{"init", "linuxrc", "dpkg", "dpkg-deb", "rpm"}, name) {
			t.link("usr/bin/"+name, "busybox")
		}
	}
	return nil
}

// tables are the files in /etc that come from Debian as they are.
var tables = map[string]bool{"etc/protocols": true, "etc/services": true, "etc/ethertypes": true, "etc/rpc": true, "etc/netconfig": true}

// addModules installs the kernel's modules, the order of those that are loaded
// at every start, and modprobe's index for the rest.
func (j *job) addModules(t tree) error {
	load, err := j.modules.Order(slices.Concat(loadModules(), j.o.Board.Kernel.Modules)...)
	if err != nil {
		return err
	}
	all, err := j.modules.Order(slices.Concat(bootModules(), j.o.Board.Kernel.Initramfs, load, extraModules())...)
	if err != nil {
		return err
	}
	dir := path.Join("usr/lib/modules", j.base.version)
	for _, name := range all {
		t.copy(path.Join(dir, name), filepath.Join(j.base.modules(), name), 0o644)
	}
	for _, name := range []string{"modules.builtin", "modules.builtin.modinfo", "modules.order"} {
		t.copy(path.Join(dir, name), filepath.Join(j.base.modules(), name), 0o644)
	}
	dep, alias, err := j.modules.Index(all)
	if err != nil {
		return err
	}
	t.text(path.Join(dir, "modules.dep"), dep)
	t.text(path.Join(dir, "modules.alias"), alias)
	var order strings.Builder
	for _, name := range load {
		fmt.Fprintf(&order, "/%s\n", path.Join("lib/modules", j.base.version, name))
	}
	t.text(inTree(layout.ModuleList), order.String())
	return nil
}

// initramfs has stage 1 and the modules that lead it to the disk.
func (j *job) initramfs() (tree, error) {
	t := tree{}
	for _, name := range []string{"dev", "proc", "sys", "run"} {
		t.dir(name, 0o755)
	}
	t.copy("init", j.o.Stage1, 0o755)
	names, err := j.modules.Order(slices.Concat(j.o.Board.Kernel.Initramfs, bootModules())...)
	if err != nil {
		return nil, err
	}
	var order strings.Builder
	for _, name := range names {
		to := "modules/" + kmod.Name(name) + ".ko"
		t.copy(to, filepath.Join(j.base.modules(), name), 0o644)
		fmt.Fprintf(&order, "/%s\n", to)
	}
	t.text("modules/order", order.String())
	// The root that belongs to this kernel: where the firmware does not say which slot it
	// has started, stage 1 looks for the slot that names the same one.
	i := slices.IndexFunc(j.manifest.Parts, func(p Part) bool { return p.Name == layout.RootPart })
	t.text("release", j.manifest.Parts[i].SHA256+"\n")
	return t, nil
}

func (j *job) osRelease() string {
	return fmt.Sprintf("NAME=\"netd\"\nID=netd\nID_LIKE=debian\nPRETTY_NAME=\"netd %s\"\nVERSION_ID=%q\nIMAGE_ID=%q\nIMAGE_VERSION=%q\n",
		j.o.Version, j.o.Version, j.o.Board.Name, j.o.Version)
}
