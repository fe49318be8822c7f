package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	accounts "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"netd/firmware/lab/patience"
)

// frrDir is where Debian keeps FRR's daemons; frrUser is whom they run as.
const (
	frrDir  = "/usr/lib/frr"
	frrUser = "frr"
)

// FRR is a set of FRR's daemons on a host, without watchfrr.
type FRR struct {
	// Daemons by name, zebra among them.
	Daemons map[string]*Process

	host *Host
	dir  string // sockets, pid files and configurations; the daemons' own
}

// FRR starts zebra and the daemons that conf has a configuration for ("bgpd",
// "bfdd" …; zebra's may be left out), and waits until they answer.
func (h *Host) FRR(ctx context.Context, conf map[string]string) (*FRR, error) {
	f := &FRR{Daemons: map[string]*Process{}, host: h, dir: h.Path("frr")}
	if err := f.prepare(conf); err != nil {
		return nil, fmt.Errorf("configure FRR on %s: %w", h.Name, err)
	}
	// The others connect to zebra's socket as soon as they start.
	if err := f.start(ctx, "zebra"); err != nil {
		return nil, err
	}
	for name := range conf {
		if name == "zebra" {
			continue
		}
		if err := f.start(ctx, name); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// prepare makes the folder, which must be the daemons' own.
func (f *FRR) prepare(conf map[string]string) error {
	u, err := accounts.Lookup(frrUser)
	if err != nil {
		return err
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	if err := errors.Join(errU, errG, os.RemoveAll(f.dir), os.Mkdir(f.dir, 0o755), os.Chown(f.dir, uid, gid)); err != nil {
		return err
	}
	for _, name := range append(slices.Collect(maps.Keys(conf)), "zebra") {
		file := filepath.Join(f.dir, name+".conf")
		if err := errors.Join(os.WriteFile(file, []byte(conf[name]), 0o644), os.Chown(file, uid, gid)); err != nil {
			return err
		}
	}
	return nil
}

// start runs one daemon in the foreground, without a TCP port for its console.
func (f *FRR) start(ctx context.Context, name string) error {
	args := []string{
		filepath.Join(frrDir, name), "-u", frrUser, "-g", frrUser, "-f", filepath.Join(f.dir, name+".conf"),
		"-i", filepath.Join(f.dir, name+".pid"), "-z", filepath.Join(f.dir, "zserv.sock"), "--vty_socket", f.dir, "-P", "0", "--log", "stdout",
	}
	if name == "bfdd" {
		args = append(args, "--bfdctl", filepath.Join(f.dir, "bfdd.sock"))
	}
	p, err := f.host.Start(name, args...)
	if err != nil {
		return err
	}
	f.Daemons[name] = p
	return Until(ctx, name+" on "+f.host.Name, func(ctx context.Context) error {
		select {
		case <-p.Done():
			return patience.Hopeless{Err: fmt.Errorf("it ended: %w\n%s", p.Err(), p.Tail(5))}
		default:
		}
		_, err := f.ask(ctx, name, "show version")
		return err
	})
}

// Restart starts a daemon again that has ended, and waits until it answers.
func (f *FRR) Restart(ctx context.Context, name string) error { return f.start(ctx, name) }

// Ask gives one command to all the daemons, as vtysh(1) does.
func (f *FRR) Ask(ctx context.Context, command string) (string, error) {
	return f.ask(ctx, "", command)
}

func (f *FRR) ask(ctx context.Context, daemon, command string) (string, error) {
	args := []string{"vtysh", "--vty_socket", f.dir, "-c", command}
	if daemon != "" {
		args = append(args, "-d", daemon)
	}
	// vtysh ends with 0 whatever a daemon says of the command.
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if text := string(out); err == nil && strings.HasPrefix(text, "% ") {
		err = errors.New("refused")
	}
	if err != nil {
		err = fmt.Errorf("on %s: vtysh -c %q: %w\n%s", f.host.Name, command, err, out)
	}
	return string(out), err
}

// Stop ends the daemons, zebra last.
func (f *FRR) Stop() {
	for name, p := range f.Daemons {
		if name != "zebra" {
			p.Stop()
		}
	}
	if p := f.Daemons["zebra"]; p != nil {
		p.Stop()
	}
}
