// Command mkimage builds a disk image for a board from a configuration.
//
//	go run ./firmware/mkimage --board qemu-x86_64 --config FILE --device gw-a -o build/gw-a.img
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"netd/firmware/image"
	"netd/netd/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted; no image was written")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	o := image.Options{Say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	f := flag.NewFlagSet("mkimage", flag.ContinueOnError)
	board := f.String("board", "qemu-x86_64", "the `board`: a folder in --boards")
	boards := f.String("boards", "board", "the `folder` of boards")
	bin := f.String("bin", "", "the `folder` of netd, containerd-shim-runc-v2, runc and stage1 (default bin/ARCH)")
	sizes := f.String("sizes", "", "also write the table of sizes to this `file`, as JSON")
	f.StringVar(&o.Config, "config", "", "the factory configuration, a TOML `file`")
	f.StringVar(&o.Device, "device", "", "the box's `name`, for the [[device]] that matches it")
	f.StringVar(&o.Images, "images", "", "the `folder` of the workloads' OCI archives (default build/images/ARCH)")
	f.StringVar(&o.Netd, "netd", "", "netd's `file` (default in --bin; so are the next three)")
	f.StringVar(&o.Shim, "shim", "", "containerd-shim-runc-v2's `file`")
	f.StringVar(&o.Runc, "runc", "", "runc's `file`")
	f.StringVar(&o.Stage1, "stage1", "", "stage1's `file`, the initramfs' /init")
	f.StringVar(&o.Version, "version", "unknown", "the `version` that the image says it is")
	f.StringVar(&o.Output, "o", "", "the image `file` to write")
	if err := f.Parse(args); err != nil {
		return flag.ErrHelp
	}
	if o.Config == "" || o.Output == "" || f.NArg() > 0 {
		return errors.New("expected --config FILE -o FILE and no other arguments; see --help")
	}
	var err error
	o.BoardFile = filepath.Join(*boards, *board, "board.toml")
	if o.Board, err = config.LoadBoard(o.BoardFile); err != nil {
		return err
	}
	if o.Time, err = buildTime(); err != nil {
		return err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	o.Cache = filepath.Join(cache, "netd")
	fallback(bin, filepath.Join("bin", o.Board.Arch))
	fallback(&o.Images, filepath.Join("build", "images", o.Board.Arch))
	for name, path := range map[string]*string{"netd": &o.Netd, "containerd-shim-runc-v2": &o.Shim, "runc": &o.Runc, "stage1": &o.Stage1} {
		fallback(path, filepath.Join(*bin, name))
	}
	password := ""
	o.Password = func(made string) { password = made }
	start := time.Now()
	o.Say("image for board %s, device %q, from %s", o.Board.Name, o.Device, o.Config)
	parts, err := image.Build(ctx, o)
	if err != nil {
		return err
	}
	o.Say("")
	for _, p := range parts {
		o.Say("%12d  %s", p.Size, p.Name)
	}
	o.Say("\n%s, in %.1f s", o.Output, time.Since(start).Seconds())
	if password != "" {
		o.Say("\nlog in as root with the password %s, which was made for this image and is shown this once\n(the configuration has no console-password)", password)
	}
	return writeSizes(*sizes, parts)
}

func fallback(value *string, otherwise string) {
	if *value == "" {
		*value = otherwise
	}
}

// buildTime is SOURCE_DATE_EPOCH (reproducible-builds.org), which the Makefile
// sets to the commit's time, or else the start of 2026: a build must not depend
// on the clock.
func buildTime() (time.Time, error) {
	s := os.Getenv("SOURCE_DATE_EPOCH")
	if s == "" {
		return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 315532800 || n > 1<<32-1 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %q: expected seconds since 1970, from 1980 on (FAT knows no earlier year)", s)
	}
	return time.Unix(n, 0), nil
}

func writeSizes(path string, parts []image.Part) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(parts, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
