//go:build net

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netd/firmware/lab"
	"netd/firmware/lab/patience"
	"netd/netd/internal/api"
	"netd/netd/internal/ownnet"
	"netd/netd/layout"
)

// crowd are connections from many sources to one port of a gateway, by its loopback.
type crowd struct {
	conns   []*net.TCPConn
	refused int
}

// connect opens so many, eight of each source, and has each say something.
func (c *crowd) connect(t *testing.T, w *world, port string, n int, say string) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which is in the gateway's network, ends
		done <- func() error {
			ns, err := os.Open(layout.NetnsDir + "/" + w.gw.Netns())
			if err != nil {
				return err
			}
			defer func() { _ = ns.Close() }()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			for i := range n {
				source := net.IPv4(127, 1, byte(i/8/250), byte(1+i/8%250))
				conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: source}, Timeout: 10 * time.Second}).DialContext(t.Context(), "tcp4", "127.0.0.1:"+port)
				if err != nil {
					c.refused++
					continue
				}
				c.conns = append(c.conns, conn.(*net.TCPConn))
				_, _ = conn.Write([]byte(say)) // One that was refused is as good.
			}
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func (c *crowd) close() {
	for _, conn := range c.conns {
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
	c.conns = nil
}

// longest asks the agent for its status until its stop function, which returns how long an
// answer took at most. Each question is a connection of its own.
func longest(t *testing.T, gw *lab.Netd) func() time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	took := make(chan time.Duration)
	go func() {
		most := time.Duration(0)
		for ctx.Err() == nil {
			watch := patience.Start()
			out, err := gw.Ask(ctx, "status")
			watch.Stop()
			if err != nil && ctx.Err() == nil {
				t.Errorf("status: %v\n%s", err, out)
			}
			most = max(most, watch.Took()-watch.Lost())
		}
		took <- most
	}()
	return func() time.Duration {
		cancel()
		return <-took
	}
}

// resident is a process' memory in octets.
func resident(t *testing.T, pid int) (n int) {
	t.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err == nil {
		_, err = fmt.Sscan(string(statm), new(int), &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n * os.Getpagesize()
}

// Whatever comes to the port of the metrics, the agent has room for those of this box and
// takes no memory for it.
func TestStrangersAtTheMetrics(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		const (
			answer = 5 * time.Second // on a busy machine
			memory = 24 << 20
			most   = 64 + 64 // connections that are served, and some that are not accepted yet
		)
		w := newWorld(t)
		file := w.config(t, static, "never")
		w.change(t, file, file, "[[pool]]", "[management]\nmetrics = \"0.0.0.0:9179\"\n[[pool]]")
		gw := w.start(t, file)
		// As many descriptors as a process of the appliance has.
		if err := unix.Prlimit(gw.PID(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 4096, Max: 4096}, nil); err != nil {
			t.Fatal(err)
		}
		before := resident(t, gw.PID())
		for _, c := range []struct {
			name, say string
			n         int
		}{
			{"idle", "", 10000},
			{"slow", "GET /metrics HTTP/1.1\r\nHost: g", 3000},
			{"reading nothing", strings.Repeat("GET /metrics HTTP/1.1\r\nHost: gw\r\nAccept-Encoding: gzip\r\n\r\n", 20), 3000},
			{"a long header", "GET /metrics HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10), 500},
		} {
			stop, crowd := longest(t, gw), new(crowd)
			crowd.connect(t, w, "9179", c.n, c.say)
			open := strings.Count(w.must(t, w.gw, "ss -Htn state established sport = 9179"), "\n")
			took, grown := stop(), resident(t, gw.PID())-before
			t.Logf("%d connections, %s: %d refused, %d open, a status took %s at most, the agent has grown by %d KiB", c.n, c.name, crowd.refused, open, took, grown>>10)
			if took > answer || grown > memory || open > most {
				t.Errorf("%d connections, %s: %d are open, a status took %s, the agent has grown by %d KiB", c.n, c.name, open, took, grown>>10)
			}
			crowd.close()
			// Who comes after them is served, without another word of theirs.
			shows(t, w.gw, "netd_problems", "busybox", "wget", "-qO-", "http://127.0.0.1:9179/metrics")
		}
		// Those that hold all places without a word lose them.
		idle := new(crowd)
		idle.connect(t, w, "9179", 64, "")
		defer idle.close()
		within(t, time.Minute, "a place", func(ctx context.Context) error {
			out, err := w.gw.Run(ctx, "busybox", "wget", "-qO-", "http://127.0.0.1:9179/metrics")
			if err == nil && !strings.Contains(out, "netd_problems") {
				err = errors.New(out)
			}
			return err
		})
	})
}

// Who is no peer and connects to BGP's port is sent away, and the sessions of those who are
// do not notice.
func TestStrangersAtBGP(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		w.bird(t, "10.0.1.11")
		gw := w.start(t, w.config(t, static, "never"))
		within(t, time.Minute, "the session", gw.Established)
		speaker := pidOf(t, gw, "bgp")
		before, stop, crowd := resident(t, speaker), longest(t, gw), new(crowd)
		crowd.connect(t, w, "179", 5000, "who is there?")
		grown, took := resident(t, speaker)-before, stop()
		crowd.close()
		t.Logf("a status took %s at most, the speaker has grown by %d KiB", took, grown>>10)
		if took > 5*time.Second || grown > 24<<20 {
			t.Errorf("a status took %s at most, the speaker has grown by %d KiB", took, grown>>10)
		}
		var peers []api.Peer
		if err := gw.JSON(t.Context(), &peers, "peers"); err != nil || len(peers) != 1 || peers[0].State != "Established" || peers[0].Flaps != 0 || pidOf(t, gw, "bgp") != speaker {
			t.Errorf("afterwards: %+v, %v", peers, err)
		}
	})
}
