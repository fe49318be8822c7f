// Debroot fetches a Debian package for an architecture, unpacks it in the cache
// and prints the folder:
//
//	debroot arm64 busybox-static
//
// The machine's own packages and architectures are left alone.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"netd/firmware/debian"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "debroot:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: debroot ARCH PACKAGE")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	a, err := debian.Open(ctx, filepath.Join(cache, "netd", "debian"), args[0], say)
	if err != nil {
		return err
	}
	packages, err := a.Fetch(ctx, args[1])
	if err != nil {
		return err
	}
	fmt.Println(packages[0].Dir)
	return nil
}
