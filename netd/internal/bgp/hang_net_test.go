//go:build net

package bgp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/bench/feed"
	"netd/netd/internal/bgp/wire"
	"netd/netd/internal/ownnet"
)

// atOnce holds a caller to not being made to wait.
func atOnce(t *testing.T, what string, call func()) {
	t.Helper()
	begin := time.Now()
	if call(); time.Since(begin) > 100*time.Millisecond {
		t.Errorf("%s took %s of a speaker that stands still", what, time.Since(begin))
	}
}

// A speaker that stands still makes nobody wait and is replaced within a third of the
// hold time, and then does what was asked meanwhile. One that stands still together
// with the agent is not.
func TestSpeakerStandsStill(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		for _, line := range []string{"ip link set lo up", "ip addr add 10.0.1.2/32 dev lo", "ip addr add 10.0.1.1/32 dev lo"} {
			ownnet.Command(t, line)
		}
		s := &site{log: new(logbook)}
		p := Peer{Name: "tor1", Address: ip("10.0.1.1"), Local: ip("10.0.1.2"), Session: times(Session{AS: 65001, Passive: true})}
		p.HoldTime = 6 * time.Second
		s.speak(t, Config{AS: 65101, RouterID: ip("10.0.1.2"), Port: 179, RestartTime: time.Minute, Pools: []netip.Prefix{pfx("10.128.0.0/9")}, Peers: []Peer{p}})
		peer := dial(t, p)
		if err := peer.Send(feed.Announce(feed.Prefixes(pfx("10.128.0.0/9"), 26, 10), 5, p.Address, p.AS)); err != nil {
			t.Fatal(err)
		}
		s.counts(t, func(_ PeerState, paths int) bool { return paths == 10 })
		first := s.Process().PID
		if err := syscall.Kill(first, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		stopped := time.Now()
		atOnce(t, "Set", func() { s.originate(Prefixes(pfx("10.65.1.0/26"))...) })
		atOnce(t, "Reset", func() { s.Reset(p.Address, "a test") })
		atOnce(t, "Take", func() { _, _ = s.snapshot(s.Speaker) })
		ownnet.Within(t, 10*time.Second, "another process", func() error {
			atOnce(t, "Take", func() { s.take(s.Take()) })
			if now := s.Process(); now.PID == first || now.PID == 0 {
				return fmt.Errorf("%+v, %v", now, s.news.Problem)
			}
			return nil
		})
		if took := time.Since(stopped); took < time.Second || took > 4*time.Second {
			t.Errorf("replaced after %s, want some 2 s", took)
		}
		if text := s.log.String(); !strings.Contains(text, "the BGP speaker has been silent for 2") {
			t.Errorf("nobody is told: %s", text)
		}
		again := dial(t, p)
		ownnet.Within(t, 20*time.Second, "the new life", func() error {
			s.take(s.Take())
			if s.news.Away || s.news.Problem != nil || len(s.peers) != 1 || !s.peers[0].Established() {
				return fmt.Errorf("%+v, %+v", s.news, s.peers)
			}
			return nil
		})
		if err := again.Send(feed.Announce(feed.Prefixes(pfx("10.128.0.0/9"), 26, 5), 5, p.Address, p.AS)); err != nil {
			t.Fatal(err)
		}
		s.counts(t, func(_ PeerState, paths int) bool { return paths == 5 })
	})
}

// A process that is there and answers nothing ends, too: it says that it lives, and its
// socket takes calls.
func TestSpeakerIsMute(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		log := new(logbook)
		s := fakeSpeaker(t, log, "mute")
		began := time.Now()
		ownnet.Within(t, startTimeout+10*time.Second, "its end", func() error {
			if text := log.String(); !strings.Contains(text, "the BGP speaker died") {
				return errors.New(text)
			}
			atOnce(t, "Take", func() { s.Take() })
			atOnce(t, "Set", func() {
				s.Set(Wanted{Config: Config{AS: 65101, RouterID: ip("10.0.1.11"), Port: 179, Drain: time.Now().UnixNano()%2 == 0}})
			})
			return nil
		})
		t.Logf("after %s", time.Since(began))
	})
}

// beMute is a speaker that listens and answers nothing.
func beMute(socket string) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
		}
	}()
	fd, err := strconv.Atoi(os.Getenv(wire.HintsVariable))
	if err != nil {
		panic(err)
	}
	pipe := os.NewFile(uintptr(fd), "hints")
	for range time.Tick(100 * time.Millisecond) {
		if _, err := pipe.Write(wire.Hint{Beat: true}.Append(nil)); err != nil {
			os.Exit(1)
		}
	}
}

// fakeSpeaker runs this binary as the speaker for as long as the test.
func fakeSpeaker(t *testing.T, log *logbook, role string) *Speaker {
	t.Helper()
	dir, err := os.MkdirTemp("", "bgp-") // t.TempDir is closed to the speaker's user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, socket := filepath.Join(dir, "speaker"), filepath.Join(dir, "run", "bgp.sock")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Link(self, program)); err != nil {
		t.Fatal(err)
	}
	s := New(Options{
		Program: program, Args: []string{role, socket}, Socket: socket, Log: slog.New(slog.NewTextHandler(log, nil)),
	}, Wanted{Config: Config{AS: 65101, RouterID: ip("10.0.1.11"), Port: 179}}, false)
	runFor(t, s)
	return s
}
