package main

import (
	"context"
	"flag"
	"io"
	"os"
	"time"

	"netd/netd/config"
	"netd/netd/internal/cage"
	"netd/netd/internal/daemon"
	"netd/netd/internal/heap"
	"netd/netd/layout"
	"netd/netd/outlet"
)

const (
	// logRoom is what the agent's log keeps for a reader that does not read, in octets.
	logRoom = 1 << 20
	// flushTimeout is how long the end waits for such a reader.
	flushTimeout = 500 * time.Millisecond
)

// console is stderr for who must not wait: one that takes nothing must not stop the
// agent, nor keep it from its end.
func console() (words io.Writer, flush func()) {
	o := outlet.New(os.Stderr, logRoom)
	return o, func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		o.Flush(ctx)
	}
}

// agentOptions are those of the command line. Paths are absolute: the agent's processes
// have other working directories.
func agentOptions(args []string) (o daemon.Options, err error) {
	err = flags("run", args, func(fs *flag.FlagSet) {
		fs.StringVar(&o.ConfigFile, "config", "", "configuration `file` (default: "+layout.ConfigFile+", or the image's)")
		fs.StringVar(&o.DataDir, "data", layout.DataDir, "`folder` that survives a reboot")
		fs.StringVar(&o.RunDir, "run", layout.RunDir, "`folder` for sockets and the lock")
		fs.StringVar(&o.NetnsDir, "netns", layout.NetnsDir, "`folder` for the pods' network namespaces")
		fs.StringVar(&o.ContainerdSocket, "containerd", "", "containerd's `socket` (default: "+layout.ContainerdSocket+")")
		fs.StringVar(&o.ImageDir, "images", "", "`folder` with the OCI archives (default: "+layout.ImageDir+")")
		fs.StringVar(&o.Shim, "shim", "", "containerd-shim-runc-v2 (default: "+layout.Shim+")")
		fs.StringVar(&o.Runc, "runc", "", "runc (default: "+layout.Runc+")")
		fs.StringVar(&o.Device, "device", "", "`name` by which the [[device]] is matched (default: netd.name= of the kernel's command line)")
		fs.BoolVar(&o.Appliance, "appliance", false, "own the whole box: host name and console password too")
	})
	if err == nil && o.Device != "" {
		err = config.CheckName(o.Device)
	}
	if err != nil {
		return o, err
	}
	return o, absolute(&o.ConfigFile, &o.DataDir, &o.RunDir, &o.NetnsDir, &o.ContainerdSocket, &o.ImageDir, &o.Shim, &o.Runc)
}

func runAgent(ctx context.Context, args []string) error {
	o, err := agentOptions(args)
	if err != nil {
		return err
	}
	words, flush := console()
	defer flush()
	o.Version, o.Log, o.Words = version, logger(words), words
	o.End = func() {
		flush()
		os.Exit(1)
	}
	if err := cage.StayLast(); err != nil {
		o.Log.Info("the kernel may end the agent early when memory is short", "err", err)
	}
	go heap.Pace(ctx)
	return daemon.Run(ctx, o)
}
