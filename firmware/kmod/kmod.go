package kmod

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Tree is a folder /lib/modules/VERSION.
type Tree struct {
	dir     string
	paths   map[string]string // name → path below dir
	builtin map[string]bool
	infos   map[string]info // read so far
}

// info is a module's .modinfo section, as far as it matters here.
type info struct {
	depends []string
	soft    []string // softdep pre:
	aliases []string
}

// Name makes one of a file name or of either spelling: the kernel takes - and _
// for the same.
func Name(s string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(s), ".ko"), "-", "_")
}

// Open lists the modules in dir, of which there may be thousands; it reads none
// of them.
func Open(dir string) (*Tree, error) {
	t := &Tree{dir: dir, paths: map[string]string{}, builtin: map[string]bool{}, infos: map[string]info{}}
	list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("open kernel modules: %w", err)
	}
	for _, path := range strings.Fields(string(list)) {
		t.builtin[Name(path)] = true
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".ko" {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		t.paths[Name(path)] = rel
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open kernel modules: %w", err)
	}
	return t, nil
}

// Order returns the modules and all that they depend on as paths below the
// tree, each after its dependencies. What the kernel has built in is left out.
func (t *Tree) Order(names ...string) ([]string, error) {
	var order []string
	done := map[string]bool{}
	var visit func(name, by string) error
	visit = func(name, by string) error {
		name = Name(name)
		if done[name] || t.builtin[name] {
			return nil
		}
		done[name] = true
		if _, ok := t.paths[name]; !ok {
			return fmt.Errorf("kernel module %s%s: not in %s", name, by, t.dir)
		}
		in, err := t.info(name)
		if err != nil {
			return err
		}
		for _, dep := range in.depends {
			if err := visit(dep, ", needed by "+name); err != nil {
				return err
			}
		}
		// A soft dependency makes the module better (crc32c for ext4) and may
		// be missing.
		for _, dep := range in.soft {
			if _, ok := t.paths[Name(dep)]; ok {
				if err := visit(dep, ""); err != nil {
					return err
				}
			}
		}
		order = append(order, t.paths[name])
		return nil
	}
	for _, name := range names {
		if err := visit(name, ""); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// Index returns modprobe's files for a tree that holds just these paths:
// modules.dep and modules.alias.
func (t *Tree) Index(paths []string) (dep, alias string, err error) {
	var deps, aliases strings.Builder
	for _, path := range slices.Sorted(slices.Values(paths)) {
		needed, err := t.Order(path)
		if err != nil {
			return "", "", err
		}
		// modprobe loads from the right.
		needed = needed[:len(needed)-1]
		slices.Reverse(needed)
		fmt.Fprintf(&deps, "%s:", path)
		for _, n := range needed {
			fmt.Fprintf(&deps, " %s", n)
		}
		deps.WriteByte('\n')
		in, err := t.info(Name(path))
		if err != nil {
			return "", "", err
		}
		for _, a := range in.aliases {
			fmt.Fprintf(&aliases, "alias %s %s\n", a, Name(path))
		}
	}
	return deps.String(), aliases.String(), nil
}

// Names returns all modules that are files.
func (t *Tree) Names() []string { return slices.Sorted(maps.Keys(t.paths)) }

func (t *Tree) info(name string) (info, error) {
	if in, ok := t.infos[name]; ok {
		return in, nil
	}
	path := filepath.Join(t.dir, t.paths[name])
	f, err := elf.Open(path)
	if err != nil {
		return info{}, fmt.Errorf("read kernel module %s: %w", path, err)
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return info{}, fmt.Errorf("read kernel module %s: no .modinfo section", path)
	}
	data, err := s.Data()
	if err != nil {
		return info{}, fmt.Errorf("read kernel module %s: .modinfo: %w", path, err)
	}
	in := parseInfo(data)
	t.infos[name] = in
	return in, nil
}

// parseInfo reads key=value pairs that end in zero octets.
func parseInfo(data []byte) info {
	var in info
	for pair := range bytes.SplitSeq(data, []byte{0}) {
		key, value, _ := strings.Cut(string(pair), "=")
		switch key {
		case "depends":
			in.depends = append(in.depends, strings.FieldsFunc(value, func(r rune) bool { return r == ',' })...)
		case "alias":
			in.aliases = append(in.aliases, value)
		case "softdep":
			pre, _, _ := strings.Cut(value, "post:")
			if _, list, ok := strings.Cut(pre, "pre:"); ok {
				in.soft = append(in.soft, strings.Fields(list)...)
			}
		}
	}
	return in
}
