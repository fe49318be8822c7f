// Command bench measures a gateway on the emulated board qemu-x86_64 against
// named peers, and prints ratios: how long it boots against the same kernel with
// a bare busybox init, how long a pod takes to start against ctr run, what it
// keeps in memory, and what the image is made of.
//
// Both sides of a ratio are measured in one run, in turn; what is printed is the
// median of the rounds. Seconds depend on the machine and are there to be
// divided. Nothing is asserted, and nothing is left behind.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted; everything is taken down")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// Report is what --json writes.
type Report struct {
	Version string `json:"version"`
	Boot    Boot   `json:"boot"`
	Pods    Pods   `json:"pod_start"`
	Idle    Memory `json:"memory_idle_kib"`
	Ten     Memory `json:"memory_ten_pods_kib"`
	Image   []Part `json:"image"`
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := f.Int("rounds", 3, "`number` of boots of each kind")
	pairs := f.Int("pairs", 5, "`number` of pod starts of each kind")
	file := f.String("json", "", "also write everything that was measured to this `file`, as JSON")
	version := f.String("version", "unknown", "the `version` that the image says it is")
	if err := f.Parse(args); err != nil {
		return flag.ErrHelp
	}
	if f.NArg() > 0 || *rounds < 1 || *pairs < 1 {
		return errors.New("expected options only, and at least one of each; see --help")
	}
	r, err := measure(ctx, *version, *rounds, *pairs)
	if err != nil {
		return err
	}
	r.print(os.Stdout)
	if *file == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*file, append(text, '\n'), 0o644)
}

// measure does everything, one board at a time.
func measure(ctx context.Context, version string, rounds, pairs int) (r *Report, err error) {
	b, err := newBench(ctx, version)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && ctx.Err() == nil && b.gateway != nil {
			fmt.Fprintf(os.Stderr, "the end of the console:\n%s\n", b.end())
		}
		err = errors.Join(err, b.close())
	}()
	r = &Report{Version: version}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"image", func() (err error) { return b.buildImage(ctx) }},
		{"sizes", func() (err error) { r.Image, err = b.sizes(ctx); return err }},
		{"ToR, kernel and tools", func() error { return b.prepare(ctx) }},
		{"boots", func() (err error) { r.Boot, err = b.boots(ctx, rounds); return err }},
		{"pods", func() (err error) { r.Pods, err = b.pods(ctx, pairs); return err }},
		{"memory", func() (err error) { r.Idle, r.Ten, err = b.memory(ctx); return err }},
	} {
		begin := time.Now()
		if err := step.do(); err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Fprintf(os.Stderr, "%6.1f s  %s\n", time.Since(begin).Seconds(), step.what)
	}
	return r, nil
}
