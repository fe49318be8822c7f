package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"netd/firmware/image"
	"netd/firmware/lab/patience"
	"netd/firmware/qemutest"
	"netd/netd/config"
)

// Console login of configs/examples/lab.toml.
const (
	user     = "root"
	password = "netd"
)

// diskSize is what the images are "flashed" to: larger than they are, so that
// the first boot grows the data partition.
const diskSize = 2 << 30

// pod is the pod that every gateway of the lab's configuration runs.
const pod = "web-0"

// Board is a gateway on an emulated board.
type Board struct {
	Gateway
	*qemutest.Machine
	// Kind is the board's folder name.
	Kind string
	// Pod is the address of the pod web-0.
	Pod string
}

// Lab is the whole thing: two ToRs and three boards.
type Lab struct {
	Net    *Net
	ToRs   *ToRs
	Boards []*Board
	// Say tells of progress, a line at a time.
	Say func(format string, args ...any)
	// Root is the checkout, Version what the images say they are.
	Root, Version string
}

// kinds are the boards in the order of Gateways.
func kinds() []string { return []string{"qemu-x86_64", "qemu-arm64", "qemu-x86_64"} }

// Up builds the images, boots everything and waits until all pods answer. The
// caller closes the lab, also after an error.
func (l *Lab) Up(ctx context.Context) error {
	disks := make([]string, len(Gateways()))
	for i, g := range Gateways() {
		var err error
		if disks[i], err = l.flash(ctx, g, kinds()[i]); err != nil {
			return fmt.Errorf("image of %s: %w", g.Name, err)
		}
	}
	if err := l.step("two ToRs with BIRD", func() (err error) {
		l.ToRs, err = NewToRs(ctx, l.Net)
		return err
	}); err != nil {
		return err
	}
	for i, g := range Gateways() {
		if err := l.step("power on "+g.Name+" ("+kinds()[i]+")", func() error { return l.powerOn(ctx, g, kinds()[i], disks[i]) }); err != nil {
			return err
		}
	}
	for _, b := range l.Boards {
		if err := l.step(b.Name+" up: login, sessions, pod", func() error { return l.ready(ctx, b) }); err != nil {
			return err
		}
	}
	return l.step("every pod answers every other", func() error { return l.allReach(ctx) })
}

// step runs f and says how long it took.
func (l *Lab) step(what string, f func() error) error {
	begin := time.Now()
	err := f()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	l.Say("%6.1f s  %s", time.Since(begin).Seconds(), what)
	return nil
}

// flash builds a gateway's image and writes it to a larger disk.
func (l *Lab) flash(ctx context.Context, g Gateway, kind string) (string, error) {
	board, err := config.LoadBoard(filepath.Join(l.Root, "board", kind, "board.toml"))
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(l.Root, "bin", board.Arch)
	o := image.Options{
		Board: board, BoardFile: filepath.Join(l.Root, "board", kind, "board.toml"),
		Config: filepath.Join(l.Root, "configs/examples/lab.toml"), Device: g.Name,
		Images: filepath.Join(l.Root, "build/images", board.Arch),
		Netd:   filepath.Join(bin, "netd"), Shim: filepath.Join(bin, "containerd-shim-runc-v2"),
		Runc: filepath.Join(bin, "runc"), Stage1: filepath.Join(bin, "stage1"),
		Version: l.Version, Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Output: filepath.Join(l.Net.Dir, g.Name+".img"), Cache: filepath.Join(cache, "netd"),
		Say: func(string, ...any) {},
	}
	disk := filepath.Join(l.Net.Dir, g.Name+".disk")
	return disk, l.step("image of "+g.Name+" for "+kind, func() error {
		if _, err := image.Build(ctx, o); err != nil {
			return err
		}
		return errors.Join(qemutest.CopyDisk(o.Output, disk, diskSize), os.Remove(o.Output))
	})
}

func (l *Lab) powerOn(ctx context.Context, g Gateway, kind, disk string) error {
	if err := l.ToRs.Tap(ctx, g.ToR, g.Name); err != nil {
		return err
	}
	dir := filepath.Join(l.Net.Dir, g.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mac := fmt.Sprintf("52:54:00:00:0%d:%s", g.ToR+1, g.Address[len(g.Address)-2:])
	m, err := qemutest.Start(ctx, qemutest.Options{
		Board: filepath.Join(l.Root, "board", kind), Disk: disk, Dir: dir,
		Netns: l.ToRs.Hosts[g.ToR].Netns(), NICs: []qemutest.NIC{{MAC: mac, Tap: g.Name}},
	})
	if err != nil {
		return err
	}
	l.Boards = append(l.Boards, &Board{Gateway: g, Machine: m, Kind: kind})
	return nil
}

// bootTimeout bounds power-on to a pod that answers, on a machine that emulates
// three boards at once.
const bootTimeout = 5 * time.Minute

// ready waits for the login, all sessions and the pod, and notes its address.
func (l *Lab) ready(ctx context.Context, b *Board) error {
	ctx, cancel := patience.Context(ctx, bootTimeout)
	defer cancel()
	if err := b.Login(ctx, user, password); err != nil {
		return err
	}
	if err := Until(ctx, "all sessions of "+b.Name, b.established); err != nil {
		return err
	}
	return Until(ctx, "the pod of "+b.Name, func(ctx context.Context) error {
		out, err := b.Run(ctx, "netd pods --json")
		if err != nil {
			return err
		}
		var pods []struct{ Name, State, Address string }
		if err := json.Unmarshal([]byte(out), &pods); err != nil {
			return fmt.Errorf("netd pods --json: %w\n%s", err, out)
		}
		for _, p := range pods {
			if p.Name == pod && p.State == "running" {
				b.Pod = p.Address
				return nil
			}
		}
		return errors.New(out)
	})
}

func (b *Board) established(ctx context.Context) error {
	out, err := b.Run(ctx, "netd peers")
	if err != nil {
		return err
	}
	return allEstablished(out)
}

// allEstablished reads what netd peers prints.
func allEstablished(out string) error {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) < 2 || strings.Count(out, " Established ") != len(lines)-1 {
		return errors.New(out)
	}
	return nil
}

// InPod runs a command in the network of the board's pod.
func (b *Board) InPod(ctx context.Context, command string) (string, error) {
	return b.Run(ctx, "ip netns exec "+pod+" "+command)
}

func (l *Lab) allReach(ctx context.Context) error {
	for _, from := range l.Boards {
		for _, to := range l.Boards {
			if err := Until(ctx, fmt.Sprintf("an answer to %s's pod from %s's", from.Name, to.Name), func(ctx context.Context) error {
				_, err := from.InPod(ctx, "ping -c 1 -W 2 "+to.Pod)
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Explain returns what helps to understand a failure: the end of each console
// and of each log.
func (l *Lab) Explain() string {
	var s strings.Builder
	for _, b := range l.Boards {
		fmt.Fprintf(&s, "=== console of %s\n%s\n", b.Name, end(b.Console()))
	}
	logs, _ := filepath.Glob(filepath.Join(l.Net.Dir, "*.log"))
	for _, file := range logs {
		text, _ := os.ReadFile(file)
		fmt.Fprintf(&s, "=== %s\n%s\n", filepath.Base(file), end(string(text)))
	}
	return s.String()
}

// end is the last part of a text.
func end(s string) string {
	const octets = 6000
	return s[max(0, len(s)-octets):]
}

// Close powers everything off and removes it.
func (l *Lab) Close() error {
	var errs []error
	for _, b := range l.Boards {
		errs = append(errs, b.Machine.Close())
	}
	return errors.Join(append(errs, l.Net.Close())...)
}
