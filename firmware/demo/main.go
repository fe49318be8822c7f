// Command demo brings up the lab (package lab) on emulated boards, shows what it
// is for, and takes everything down again. With -keep it waits for Ctrl-C first
// and says how to reach the consoles.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"netd/firmware/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	keep := flag.Bool("keep", false, "leave the lab up after the demo, until Ctrl-C")
	version := flag.String("version", "unknown", "the `version` that the images say they are")
	flag.Parse()
	if err := run(ctx, *version, *keep); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; everything is taken down")
		}
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, version string, keep bool) (err error) {
	begin := time.Now()
	dir, err := os.MkdirTemp("", "netd-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	network, err := lab.New(dir)
	if err != nil {
		return err
	}
	l := &lab.Lab{Net: network, Root: ".", Version: version, Say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	defer func() {
		if err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, l.Explain())
		}
		err = errors.Join(err, l.Close())
	}()
	if err := l.Up(ctx); err != nil {
		return err
	}
	for i, p := range l.Points() {
		fmt.Printf("\n%d. %s\n\n", i+1, p.Name)
		start := time.Now()
		shown, err := p.Show(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		fmt.Printf("%s(%.1f s)\n", shown, time.Since(start).Seconds())
	}
	fmt.Printf("\nAll of it held, in %.0f s.\n", time.Since(begin).Seconds())
	if keep {
		wait(ctx, l)
	}
	return nil
}

// wait says where everything is and waits for Ctrl-C.
func wait(ctx context.Context, l *lab.Lab) {
	fmt.Print("\nThe lab is up. Consoles (user root, password netd; leave with Ctrl-]):\n\n")
	for _, b := range l.Boards {
		b.ReleaseConsole()
		fmt.Printf("  %-5s socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:%s\n", b.Name, b.ConsoleSocket())
	}
	fmt.Print("\nToRs:\n\n")
	for _, h := range l.ToRs.Hosts {
		fmt.Printf("  %-5s ip netns exec %s birdc -s %s\n", h.Name, h.Netns(), filepath.Join(l.Net.Dir, h.Name+"-bird.ctl"))
	}
	fmt.Print("\nCtrl-C takes all of it down.\n")
	<-ctx.Done()
}
