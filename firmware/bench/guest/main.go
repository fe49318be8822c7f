// Guest is the part of make bench that runs on the gateway, from a disk of its
// own. It prints one JSON object:
//
//	guest boot              when netd's processes and first session came up
//	guest memory            what each process keeps in memory
//	guest pods --pairs N    how long pods take to start, netd's and ctr's in turn
//
// Times are seconds by the kernel's clock, which begins with the kernel.
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
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("expected boot, memory or pods")
	}
	var result any
	var err error
	switch args[0] {
	case "boot":
		result, err = boot()
	case "memory":
		result, err = settledMemory(ctx)
	case "pods":
		f := flag.NewFlagSet("pods", flag.ContinueOnError)
		pairs := f.Int("pairs", 5, "`number` of pods that each of the two starts")
		ctr := f.String("ctr", "/tmp/bench/ctr", "ctr's `file`")
		image := f.String("image", "web.tar", "the image `archive`, in the gateway's folder of images")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		result, err = startPods(ctx, *pairs, *ctr, *image)
	default:
		err = fmt.Errorf("%q: expected boot, memory or pods", args[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}
