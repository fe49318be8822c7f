//go:build net

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"netd/firmware/lab/patience"
	"netd/netd/internal/api"
)

// Who does not answer keeps nobody else from anything: each is tried on one site, whose
// gw-a has a containerd that takes calls and answers none, and its data on a disk of its
// own.
func TestNothingWaits(t *testing.T) {
	disk := ""
	s, _ := manyRoutes(t, 3000, func(s *site) {
		disk = s.disk("gw-a")
		config, err := os.ReadFile(s.config)
		s.config = filepath.Join(disk, "netd.toml")
		s.must(err, os.WriteFile(s.config, config, 0o600))
		s.deafContainerd("gw-a")
	})
	var unread unread
	t.Cleanup(unread.close)
	for _, c := range []struct {
		name string
		test func()
	}{
		{"nobody reads the API", func() { unread.open(s, "gw-a") }},
		{"a disk that does not answer", func() { s.frozenDisk("gw-a", disk) }},
		{"the API's deadline", func() { unread.end(s) }}, // 30 s, which have passed meanwhile
		{"containerd", func() { s.silentContainerd("gw-a") }},
		{"a full netlink socket", func() { s.eventsLost("gw-a") }},
		{"BFD", func() { s.stoppedBFD("gw-a") }},
		{"a console that nobody reads", func() { s.deafConsole("gw-a") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.T = t
			s.upAgain("gw-a")
			c.test()
		})
		s.T = t
	}
	s.upAgain("gw-a")
	s.allReach()
}

// disk puts a gateway's data on a file system of its own, and returns where.
func (s *site) disk(gw string) string {
	s.Helper()
	image, data := filepath.Join(s.net.Dir, gw+".ext4"), filepath.Join(s.net.Dir, gw+"-data")
	s.must(os.WriteFile(image, nil, 0o600), os.Truncate(image, 32<<20), os.Mkdir(data, 0o755))
	s.command("mkfs.ext4", "-q", image)
	s.command("mount", "-o", "loop", image, data)
	s.Cleanup(func() {
		// A process of the lab may still hold a file in it.
		if err := unix.Unmount(data, unix.MNT_DETACH); err != nil {
			s.Errorf("unmount %s: %v", data, err)
		}
	})
	return data
}

// command runs a program outside of all hosts.
func (s *site) command(args ...string) {
	s.Helper()
	s.must(s.net.Command(s.Context(), args...))
}

// FIFREEZE and FITHAW of linux/fs.h.
const fiFreeze, fiThaw = 0xc0045877, 0xc0045878

// freezeDisk keeps a file system from being written, until thaw.
func (s *site) freezeDisk(dir string) (thaw func()) {
	s.Helper()
	d, err := os.Open(dir)
	s.must(err, unix.IoctlSetInt(int(d.Fd()), fiFreeze, 0))
	thaw = sync.OnceFunc(func() {
		if err := errors.Join(unix.IoctlSetInt(int(d.Fd()), fiThaw, 0), d.Close()); err != nil {
			s.Errorf("thaw %s: %v", dir, err)
		}
	})
	s.Cleanup(thaw)
	return thaw
}

// frozenDisk has the data partition take no write for ten seconds, or until a carrier was
// lost: who needs one waits, and nobody else does.
func (s *site) frozenDisk(gw, dir string) {
	const stands = 10 * time.Second
	file := s.changedConfig("applied.toml", "schema = 1", "schema = 1\n# applied")
	thaw := s.freezeDisk(dir)
	thawed, cut := make(chan struct{}), make(chan struct{})
	later := func(verb string, args ...string) <-chan error {
		done := make(chan error, 1)
		go func() {
			err := s.asked(gw, verb, args...)
			select {
			case <-thawed:
			default:
				err = fmt.Errorf("%s %v did not wait for the disk: %w", verb, args, err)
			}
			done <- err
		}()
		return done
	}
	s.meanwhile(gw, func() {
		s.quickly(gw, "reload", s.changedConfig("reloaded.toml", "schema = 1", "schema = 1\n# reloaded"))
		waits := []<-chan error{later("pod", "add", "patient"), later("apply", file)}
		go func() {
			<-patience.After(stands)
			<-cut
			close(thawed)
			thaw()
		}()
		s.loses(gw, "gw-c", 200, func(tor string) {
			s.unplug(tor, gw)
			close(cut)
		})
		s.quickly(gw, "explain", "10.64.3.0/26")
		for _, w := range waits {
			select {
			case err := <-w:
				s.must(err)
			case <-patience.After(time.Minute):
				s.Fatal("the disk answers again, and somebody still waits")
			}
		}
	}, "tor1", "tor2")
	active, err := os.ReadFile(s.config)
	want, errW := os.ReadFile(file)
	s.must(err, errW)
	if diff := cmp.Diff(string(want), string(active)); diff != "" {
		s.Errorf("the active file (-what was applied +got):\n%s", diff)
	}
	s.quickly(gw, "pod", "del", "patient")
}

// deafContainerd is there before the gateway is.
func (s *site) deafContainerd(gw string) {
	s.Helper()
	l, err := net.Listen("unix", filepath.Join(s.net.Dir, gw+"-containerd.sock"))
	s.must(err)
	s.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.Cleanup(func() { _ = c.Close() })
		}
	}()
}

// silentContainerd changes the workloads while containerd does not answer, and ends the
// agent.
func (s *site) silentContainerd(gw string) {
	workload := func(replicas int) string {
		return s.changedConfig(fmt.Sprintf("workload%d.toml", replicas), "[[pool]]",
			fmt.Sprintf("[[workload]]\nname = \"web\"\nimage = \"web.tar\"\nreplicas = %d\n\n[[pool]]", replicas))
	}
	s.meanwhile(gw, func() {
		s.quickly(gw, "reload", workload(3))
		s.quickly(gw, "pod", "add", "by-hand")
		s.quickly(gw, "reload", workload(1))
		s.loses(gw, "gw-c", 200, func(tor string) { s.unplug(tor, gw) })
		s.quickly(gw, "pods")
		s.quickly(gw, "pod", "del", "by-hand")
	}, "tor1", "tor2")
	within(s.T, 30*time.Second, "a pod that says for whom it waits", func(ctx context.Context) error {
		out, err := s.gw[gw].Ask(ctx, "pods")
		if err == nil && !strings.Contains(out, "containerd") {
			err = errors.New(out)
		}
		return err
	})
	s.ends(gw)
	s.must(s.gw[gw].Restart(s.Context()))
	s.quickly(gw, "reload", s.config)
}

// ends ends an agent by SIGTERM, which may not take long.
func (s *site) ends(gw string) {
	s.Helper()
	watch := patience.Start()
	defer watch.Stop()
	s.must(s.gw[gw].Signal(syscall.SIGTERM))
	select {
	case <-s.gw[gw].Done():
	case <-patience.After(20 * time.Second):
		s.Fatalf("%s does not end", gw)
	}
	watch.Stop()
	s.Logf("the agent's end took %s", watch)
	if watch.Took()-watch.Lost() > 4*time.Second {
		s.Errorf("the agent's end took %s", watch)
	}
}

// unread are a hundred connections to the API that ask for much and read nothing, or never
// come to the end of a question.
type unread struct {
	all    []net.Conn
	opened *patience.Stopwatch
}

func (u *unread) open(s *site, gw string) {
	_, err := s.birds["tor1"].Ask(s.Context(), "enable many")
	s.must(err)
	within(s.T, time.Minute, "3,000 routes", func(ctx context.Context) error {
		n, err := s.learned(ctx, gw)
		if err == nil && n < 3000 {
			err = fmt.Errorf("%d", n)
		}
		return err
	})
	u.opened = patience.Start()
	for i := range 100 {
		c, err := net.Dial("unix", filepath.Join(s.hosts[gw].Path("run"), "netd.sock"))
		s.must(err)
		question := "GET /v1/routes HTTP/1.1\r\nHost: netd\r\n"
		if i%2 == 0 {
			question += "\r\n"
		}
		_, err = io.WriteString(c, question)
		s.must(err)
		u.all = append(u.all, c)
	}
	s.meanwhile(gw, func() {
		s.quickly(gw, "routes")
		s.quickly(gw, "pod", "add", "one-more")
		s.quickly(gw, "pod", "del", "one-more")
		s.loses(gw, "gw-c", 200, func(tor string) { s.unplug(tor, gw) })
	}, "tor1", "tor2")
}

func (u *unread) close() {
	if u.opened != nil {
		u.opened.Stop()
	}
	for _, c := range u.all {
		_ = c.Close()
	}
}

// end waits until they have ended by themselves: theirs is the API's deadline, of 30 s.
func (u *unread) end(s *site) {
	s.Helper()
	for i, c := range u.all {
		lift := patience.Limit(c, 40*time.Second)
		n, err := io.Copy(io.Discard, &patient{c, u.opened})
		lift()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.Fatalf("connection %d is there after %s: %d octets, %v", i, u.opened, n, err)
		}
	}
	s.Logf("all connections have ended after %s", u.opened)
	_, err := s.birds["tor1"].Ask(s.Context(), "disable many")
	s.must(err)
}

// patient reads a connection only once the server's deadline is over.
type patient struct {
	net.Conn
	opened *patience.Stopwatch
}

func (p *patient) Read(b []byte) (int, error) {
	if left := 31*time.Second - p.opened.Took(); left > 0 {
		<-time.After(left)
	}
	return p.Conn.Read(b)
}

// eventsLost stops the agent while more happens than its event sockets have room for: a
// route of its own is taken away, and a carrier goes.
func (s *site) eventsLost(gw string) {
	var batch strings.Builder
	batch.WriteString("link add flood0 type veth peer name flood1\nlink set flood0 up\nlink set flood1 up\n")
	for i := range 4000 {
		fmt.Fprintf(&batch, "link set flood0 mtu %d\n", 1400+i%2)
		fmt.Fprintf(&batch, "route add 198.18.%d.%d/32 dev flood0 table 7\n", i/250, i%250)
	}
	batch.WriteString("link del flood0\n")
	file := filepath.Join(s.net.Dir, "flood.batch")
	s.must(os.WriteFile(file, []byte(batch.String()), 0o644))
	tor, _ := s.way(gw, "gw-c")
	agent := s.gw[gw].PID()
	s.stop(agent)
	s.run(gw, "ip -batch "+file+"\nip route del 10.64.3.0/26 proto 120")
	s.unplug(tor, gw)
	s.must(syscall.Kill(agent, syscall.SIGCONT))
	s.meanwhile(gw, func() {
		within(s.T, 10*time.Second, "the route and the carrier to be seen", func(ctx context.Context) error {
			out, err := s.gw[gw].Ask(ctx, "peers")
			if err == nil && !strings.Contains(out, "which has no carrier") {
				err = errors.New(out)
			}
			if n := s.links(gw, "10.64.3.0/26"); n != 1 {
				err = errors.Join(err, fmt.Errorf("a route over %d links", n))
			}
			return err
		})
	}, "tor1", "tor2")
	if log := s.gw[gw].Tail(200); !strings.Contains(log, "rtnetlink events lost") {
		s.Error("no event was lost: that is no test")
	}
}

// stoppedBFD stops a gateway's BFD: that is said, takes no route away, and is mended. The
// ToRs take the gateway for dead, which they say by BGP, and keep its routes: for a moment
// a route may leave by one of them only, or by the tunnel.
func (s *site) stoppedBFD(gw string) {
	pid, stop, flow := s.bfdProcess(gw), s.answered(gw), s.flow(gw, "gw-c")
	s.stop(pid)
	ctx, cancel := patience.Context(s.Context(), 3*time.Second)
	defer cancel()
	client := api.NewClient(filepath.Join(s.hosts[gw].Path("run"), "netd.sock"))
	s.must(patience.Until(ctx, 20*time.Millisecond, "the loss to be told", func(ctx context.Context) error {
		var peers []api.Peer
		err := client.Get(ctx, "/v1/peers", &peers)
		if slices.ContainsFunc(peers, func(p api.Peer) bool { return p.BFD != nil && p.BFD.State == "Up" }) {
			err = fmt.Errorf("%+v", peers)
		}
		if out, err := s.hosts[gw].Run(ctx, "ip", "route", "show", "10.64.3.0/26"); err == nil && out == "" {
			s.Error("the route to the other gateway's pods is gone")
		}
		// Half a second later all may be well again: a busy machine may not see it otherwise.
		if log := s.gw[gw].Tail(50); strings.Contains(log, "BFD: peer is not watched") {
			return nil
		}
		return err
	}))
	within(s.T, 5*time.Second, "another process", func(ctx context.Context) error {
		now, err := s.findBFD(ctx, gw)
		if err == nil && now == pid {
			err = fmt.Errorf("it is %d still", pid)
		}
		return err
	})
	s.inTime(stop())
	s.upAgain(gw)
	sent, lost := flow()
	s.Logf("%d of %d packets lost, at 100 a second or more", lost, sent)
	if lost > 20 {
		s.Errorf("%d of %d packets lost, at 100 a second or more: want at most 20", lost, sent)
	}
}

// deafConsole has the agent's log go into a pipe that is full and that nobody reads.
func (s *site) deafConsole(gw string) {
	r, w, err := os.Pipe()
	s.must(err)
	defer func() { _, _ = r.Close(), w.Close() }()
	size, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0)
	s.must(err)
	_, err = w.Write(make([]byte, size))
	s.must(err)
	s.ends(gw)
	s.gw[gw].Console = w
	s.must(s.gw[gw].Restart(s.Context()))
	s.upAgain(gw)
	tor, _ := s.way(gw, "gw-c")
	s.meanwhile(gw, func() {
		for range 10 {
			s.run(tor, "ip link set "+gw+" down\nip link set "+gw+" up")
		}
		other := s.changedConfig("other.toml", "schema = 1", "schema = 1\n# changed")
		for range 10 { // Each is a line of the log, at least.
			s.quickly(gw, "reload", other)
			s.quickly(gw, "reload", s.config)
		}
		s.quickly(gw, "pod", "add", "one-more")
		s.quickly(gw, "pod", "del", "one-more")
	}, "tor1", "tor2")
	s.ends(gw)
	s.gw[gw].Console = nil
	s.must(s.gw[gw].Restart(s.Context()))
}
