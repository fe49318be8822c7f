package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"netd/firmware/debian"
)

// files finds what packages hold by its place on the gateway, where /bin,
// /sbin, /lib and /lib64 are below /usr and /usr/sbin is /usr/bin.
type files map[string]string // path on the gateway → file on the build machine

func place(name string) string {
	for _, dir := range []string{"bin/", "sbin/", "lib/", "lib64/"} {
		if strings.HasPrefix(name, dir) {
			name = "usr/" + name
			break
		}
	}
	if rest, ok := strings.CutPrefix(name, "usr/sbin/"); ok {
		name = "usr/bin/" + rest
	}
	return name
}

func index(packages []debian.Package) (files, error) {
	all := files{}
	for _, p := range packages {
		err := filepath.WalkDir(p.Dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(p.Dir, name)
			if err != nil {
				return err
			}
			// /sbin/ip is a link to /bin/ip: here, to itself.
			if _, ok := all[place(rel)]; !ok || d.Type().IsRegular() {
				all[place(rel)] = name
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list the files of %s: %w", p.Name, err)
		}
	}
	return all, nil
}

// resolve follows links inside the packages: it returns the file that a place
// on the gateway stands for.
func (f files) resolve(name string) (string, bool) {
	for range 8 {
		source, ok := f[name]
		if !ok {
			return "", false
		}
		target, err := os.Readlink(source)
		if err != nil {
			return source, true
		}
		if path.IsAbs(target) {
			name = place(strings.TrimPrefix(target, "/"))
		} else {
			name = path.Join(path.Dir(name), target)
		}
	}
	return "", false
}

// install puts programs into the tree with every library that they need (the
// ELF entries DT_NEEDED, as ld.so reads them) and the loader. A library that no
// package has is an error: the program would not start.
func (f files) install(t tree, libDir string, programs map[string]string) error {
	var queue []string
	var errs []error
	add := func(name, source string, mode fs.FileMode) {
		if _, ok := t[name]; !ok {
			t.copy(name, source, mode)
			queue = append(queue, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		source, ok := f.resolve(programs[name])
		if !ok {
			errs = append(errs, fmt.Errorf("install /%s: no package has /%s", name, programs[name]))
			continue
		}
		add(name, source, 0o755)
	}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		needed, interpreter, err := imports(t[name].source)
		if err != nil {
			errs = append(errs, fmt.Errorf("install /%s: %w", name, err))
			continue
		}
		for _, lib := range needed {
			source, ok := f.resolve(path.Join(libDir, lib))
			if !ok {
				errs = append(errs, fmt.Errorf("install /%s: it needs %s, which no package has", name, lib))
				continue
			}
			add(path.Join(libDir, lib), source, 0o755)
		}
		if interpreter != "" {
			at := place(strings.TrimPrefix(interpreter, "/"))
			source, ok := f.resolve(at)
			if !ok {
				errs = append(errs, fmt.Errorf("install /%s: its loader %s is in no package", name, interpreter))
				continue
			}
			add(at, source, 0o755)
		}
	}
	return errors.Join(errs...)
}

// imports reads what a program or library needs, and its loader's path.
func imports(source string) (needed []string, interpreter string, err error) {
	e, err := elf.Open(source)
	if err != nil {
		return nil, "", err
	}
	defer e.Close()
	needed, err = e.ImportedLibraries()
	if err != nil {
		return nil, "", err
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			path := make([]byte, p.Filesz)
			if _, err := p.ReadAt(path, 0); err != nil {
				return nil, "", fmt.Errorf("read the loader's path: %w", err)
			}
			interpreter = string(bytes.TrimRight(path, "\x00"))
		}
	}
	return needed, interpreter, nil
}

// checkProgram makes sure that a file is a static program for the architecture:
// one for another would only be found out when the box does not come up.
func checkProgram(source, arch string) error {
	e, err := elf.Open(source)
	if err != nil {
		return fmt.Errorf("program %s: %w", source, err)
	}
	defer e.Close()
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]
	if e.Machine != want {
		return fmt.Errorf("program %s: is for %v, expected %v", source, e.Machine, want)
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("program %s: is linked dynamically, expected a static program", source)
		}
	}
	return nil
}

// applets reads the names of busybox' programs from its file, which may be for
// another architecture: a list of zero-terminated names that begins with "[",
// "[[" and ends with an empty one.
func applets(busybox []byte) ([]string, error) {
	start := bytes.Index(busybox, []byte("\x00[\x00[[\x00"))
	if start < 0 {
		return nil, errors.New("find busybox' applets: it has no list")
	}
	list := busybox[start+1:]
	end := bytes.Index(list, []byte("\x00\x00"))
	if end < 0 {
		return nil, errors.New("find busybox' applets: the list has no end")
	}
	names := strings.Split(string(list[:end]), "\x00")
	if len(names) < 100 || !slices.Contains(names, "login") || !slices.Contains(names, "modprobe") {
		return nil, fmt.Errorf("find busybox' applets: %d, without login or modprobe", len(names))
	}
	return names, nil
}
