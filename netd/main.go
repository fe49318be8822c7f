// Command netd is a gateway in one binary. Which role it plays is its first
// argument; netd --help lists them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"netd/containers"
	"netd/firmware/boot"
	"netd/netd/internal/bfd"
	"netd/netd/internal/bgp"
	"netd/netd/internal/bgp/child"
	"netd/netd/internal/cli"
	"netd/netd/internal/daemon"
	"netd/netd/layout"
)

// version is set by the linker.
var version = "unknown"

func main() { os.Exit(run(os.Args)) }

func run(args []string) int {
	if len(args) < 2 || slices.Contains([]string{"help", "--help", "-h"}, args[1]) {
		fmt.Print(cli.Help(version))
		if len(args) < 2 {
			return 2
		}
		return 0
	}
	ctx := untilSignal()
	var err error
	switch role, rest := args[1], args[2:]; role {
	case "--version":
		fmt.Println("netd", version)
	case "init":
		err = boot.Init(layout.Netd, nil)
	case "run":
		err = runAgent(ctx, rest)
	case "bgp":
		err = runChild(role, rest, func(socket string) error { return child.Serve(ctx, socket, os.Stderr) })
	case "bfd":
		err = runChild(role, rest, func(socket string) error { return bfd.Serve(ctx, socket) })
	case "containerd":
		err = runContainerd(ctx, rest)
	default:
		err = cli.Run(ctx, cli.Env{
			In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Version: version, Socket: cli.DefaultSocket(layout.Socket),
		}, role, rest)
	}
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, cli.ErrUsage):
		return 2
	}
	words, flush := console()
	_, _ = fmt.Fprintf(words, "netd %s: %v\n", args[1], err)
	flush()
	return 1
}

// untilSignal ends with SIGTERM, which is a restart: peers may keep our routes;
// and with SIGINT, which is for good (bgp.ErrLeave). A second signal kills.
func untilSignal() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		cause := context.Canceled
		if <-signals == syscall.SIGINT {
			cause = bgp.ErrLeave
		}
		signal.Stop(signals)
		cancel(cause)
	}()
	return ctx
}

// flags parses a role's options; it takes no other arguments.
func flags(role string, args []string, define func(*flag.FlagSet)) error {
	fs := flag.NewFlagSet("netd "+role, flag.ContinueOnError)
	define(fs)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return cli.ErrUsage
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: expected options only", fs.Arg(0))
	}
	return nil
}

// absolute makes paths of the command line good for whoever has another working
// directory. One that was left out stays so.
func absolute(paths ...*string) (err error) {
	for _, p := range paths {
		if *p != "" && err == nil {
			*p, err = filepath.Abs(*p)
		}
	}
	return err
}

func logger(to io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, nil))
}

// runChild is a role that serves the agent on a socket.
func runChild(role string, args []string, serve func(socket string) error) error {
	var socket string
	if err := flags(role, args, func(fs *flag.FlagSet) {
		fs.StringVar(&socket, "socket", daemon.ChildSocket(layout.RunDir, role), "`path` for the agent")
	}); err != nil {
		return err
	}
	if err := absolute(&socket); err != nil {
		return err
	}
	return serve(socket)
}

func runContainerd(ctx context.Context, args []string) error {
	var o containers.ServerOptions
	if err := flags("containerd", args, func(fs *flag.FlagSet) {
		fs.StringVar(&o.Root, "root", "", "`folder` that survives a reboot (default: "+layout.ContainerdRoot+")")
		fs.StringVar(&o.State, "state", "", "`folder` that does not (default: "+layout.ContainerdState+")")
		fs.StringVar(&o.Socket, "socket", "", "`path` of the API (default: "+layout.ContainerdSocket+")")
	}); err != nil {
		return err
	}
	if err := absolute(&o.Root, &o.State, &o.Socket); err != nil {
		return err
	}
	return containers.Serve(ctx, o, logger(os.Stderr))
}
