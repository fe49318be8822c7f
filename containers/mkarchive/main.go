// Mkarchive makes an OCI archive of a few files, the same octets each time:
//
//	mkarchive --arch arm64 --file bin/busybox=PATH --link bin/sh=busybox --entrypoint /bin/sh -o web.tar [ARG…]
//
// The ARGs are the image's command.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"netd/containers/archive"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "mkarchive:", err)
		}
		os.Exit(1)
	}
}

func run(args []string) error {
	var img archive.Image
	fs := flag.NewFlagSet("mkarchive", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "usage: mkarchive --arch ARCH [flags] -o FILE [ARG…]")
		fs.PrintDefaults()
	}
	out := fs.String("o", "", "archive to write")
	fs.StringVar(&img.Arch, "arch", "", "amd64 or arm64")
	fs.Func("file", "PATH=SOURCE: put the file SOURCE at PATH, with its mode (repeatable)", func(s string) error {
		to, from, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("expected PATH=SOURCE, e.g. bin/busybox=/usr/bin/busybox")
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		st, err := os.Stat(from)
		if err != nil {
			return err
		}
		img.Files = append(img.Files, archive.File{Path: to, Mode: int64(st.Mode().Perm()), Data: data})
		return nil
	})
	fs.Func("link", "PATH=TARGET: a symbolic link (repeatable)", func(s string) error {
		at, target, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("expected PATH=TARGET, e.g. bin/sh=busybox")
		}
		img.Files = append(img.Files, archive.File{Path: at, Link: target})
		return nil
	})
	fs.Func("env", "NAME=VALUE (repeatable)", func(s string) error {
		img.Env = append(img.Env, s)
		return nil
	})
	fs.Func("entrypoint", "one word of the entrypoint (repeatable)", func(s string) error {
		img.Entrypoint = append(img.Entrypoint, s)
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return err
	}
	img.Cmd = fs.Args()
	if *out == "" || (img.Arch != "amd64" && img.Arch != "arm64") {
		return errors.New("expected -o FILE and --arch amd64 or arm64")
	}
	var buf bytes.Buffer
	if err := archive.Write(&buf, img); err != nil {
		return err
	}
	if err := os.WriteFile(*out, buf.Bytes(), 0o644); err != nil {
		return err
	}
	if _, err := archive.CheckArchive(*out, img.Arch); err != nil {
		return fmt.Errorf("%s: %w", *out, err)
	}
	return nil
}
