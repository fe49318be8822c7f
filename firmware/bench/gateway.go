package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"netd/firmware/image"
	"netd/firmware/lab"
	"netd/firmware/qemutest"
	"netd/netd/config"
)

const (
	boardDir = "board/qemu-x86_64"
	labFile  = "configs/examples/lab.toml"
	// diskSize is more than the image, so that the first boot grows /data.
	diskSize = 2 << 30
	// bootTimeout bounds power-on to the first session.
	bootTimeout = 3 * time.Minute
	// commandTimeout bounds one command on the console.
	commandTimeout = 5 * time.Minute
)

// bench is one gateway, gw-a of the lab, behind its ToR.
type bench struct {
	version string
	dir     string
	built   map[string]int64 // sizes of what the image was built of
	cmdline string           // of its kernel
	board   *config.Board
	network *lab.Net
	tors    *lab.ToRs
	gateway *qemutest.Machine
	place   lab.Gateway
}

func newBench(ctx context.Context, version string) (*bench, error) {
	board, err := config.LoadBoard(filepath.Join(boardDir, "board.toml"))
	if err != nil {
		return nil, err
	}
	// Stage 1 then says when it has done what.
	board.Kernel.Cmdline = append(board.Kernel.Cmdline, "netd.debug")
	dir, err := os.MkdirTemp("", "netd-bench-")
	if err != nil {
		return nil, err
	}
	network, err := lab.New(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &bench{version: version, dir: dir, built: map[string]int64{}, board: board, network: network, place: lab.Gateways()[0]}, nil
}

func (b *bench) close() error {
	var err error
	if b.gateway != nil {
		err = b.gateway.Close()
	}
	return errors.Join(err, b.network.Close(), os.RemoveAll(b.dir))
}

func (b *bench) file(name string) string { return filepath.Join(b.dir, name) }

// buildImage makes the image that make demo makes for gw-a.
func (b *bench) buildImage(ctx context.Context) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	bin := filepath.Join("bin", b.board.Arch)
	parts, err := image.Build(ctx, image.Options{
		Board: b.board, BoardFile: filepath.Join(boardDir, "board.toml"), Config: labFile, Device: b.place.Name,
		Images: filepath.Join("build/images", b.board.Arch),
		Netd:   filepath.Join(bin, "netd"), Shim: filepath.Join(bin, "containerd-shim-runc-v2"),
		Runc: filepath.Join(bin, "runc"), Stage1: filepath.Join(bin, "stage1"),
		Version: b.version, Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Output: b.file("image"), Cache: filepath.Join(cache, "netd"), Say: func(string, ...any) {},
	})
	for _, p := range parts {
		b.built[p.Name] = p.Size
	}
	return err
}

// prepare makes the ToR, the gateway's disk, the disk with what runs on the
// gateway to measure, and what the bare peer boots.
func (b *bench) prepare(ctx context.Context) error {
	var err error
	if b.tors, err = lab.NewToRs(ctx, b.network); err != nil {
		return err
	}
	if err := b.tors.Tap(ctx, b.place.ToR, b.place.Name); err != nil {
		return err
	}
	return errors.Join(
		qemutest.CopyDisk(b.file("image"), b.file("disk"), diskSize),
		command(ctx, "mksquashfs", "bin/bench/guest", "bin/bench/ctr", b.file("tools"), "-quiet", "-no-progress", "-noD", "-noF"),
		b.makeBare(ctx))
}

// start switches the board on, with what is plugged into it.
func (b *bench) start(ctx context.Context, name, board, disk string, more ...string) (*qemutest.Machine, error) {
	dir := b.file(name + ".d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return qemutest.Start(ctx, qemutest.Options{
		Board: board, Disk: disk, Dir: dir,
		Netns:     b.tors.Hosts[b.place.ToR].Netns(),
		NICs:      []qemutest.NIC{{MAC: "52:54:00:00:01:11", Tap: b.place.Name}},
		ExtraArgs: append([]string{"-drive", "if=none,id=tools,format=raw,readonly=on,file=" + b.file("tools"), "-device", "virtio-blk-pci,drive=tools,serial=tools"}, more...),
	})
}

// session waits until the ToR's session with the gateway is up.
func (b *bench) session(ctx context.Context) error {
	return lab.Until(ctx, "the session with "+b.place.Name, func(ctx context.Context) error {
		return b.tors.Birds[b.place.ToR].Established(ctx, b.place.Protocol())
	})
}

// mountTools finds the disk with the tools by its serial number.
const mountTools = `mkdir -p /tmp/bench && for d in /sys/block/vd*; do
	[ "$(cat $d/serial)" = tools ] && mount -t squashfs -o ro /dev/${d##*/} /tmp/bench; done; test -x /tmp/bench/guest`

// login opens a shell on the gateway and finds the tools.
func (b *bench) login(ctx context.Context) error {
	if err := b.gateway.Login(ctx, "root", "netd"); err != nil {
		return err
	}
	_, err := b.gateway.Run(ctx, mountTools)
	return err
}

// ask runs the guest's part on the gateway and reads its answer into v.
func (b *bench) ask(ctx context.Context, v any, args string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	out, err := b.gateway.Run(ctx, "/tmp/bench/guest "+args)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("guest %s: %w\n%s", args, err, out)
	}
	return nil
}

// end is the last part of the console.
func (b *bench) end() string {
	text := b.gateway.Console()
	return text[max(0, len(text)-6000):]
}

func command(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", args[0], err, out)
	}
	return nil
}
