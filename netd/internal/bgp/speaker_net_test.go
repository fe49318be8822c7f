//go:build net

package bgp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netd/firmware/lab/patience"
	"netd/netd/internal/ownnet"
	"netd/netd/layout"
)

// TestMain makes this binary a speaker that dies at once, or is mute, if it is called so.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "mute" {
		beMute(os.Args[2])
	}
	if len(os.Args) == 2 && os.Args[1] == "die" {
		fmt.Fprintln(os.Stderr, "panic: a made-up one, as uid", os.Getuid())
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// logbook is a log that may be read while it is written.
type logbook struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A speaker that dies at once is started again, each time a little later; its
// last words are in the log, and nobody takes its absence for an empty table.
func TestSpeakerDies(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		dir, err := os.MkdirTemp("", "bgp-") // t.TempDir is closed to the speaker's user
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		program := filepath.Join(dir, "speaker")
		if err := errors.Join(os.Chmod(dir, 0o755), os.Link(self, program)); err != nil {
			t.Fatal(err)
		}
		var log logbook
		s := New(Options{
			Program: program, Args: []string{"die"}, Socket: filepath.Join(dir, "run", "bgp.sock"), Log: slog.New(slog.NewTextHandler(&log, nil)),
		}, Wanted{Config: Config{AS: 65101, RouterID: ip("10.0.1.11"), Port: 179}}, false)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		ownnet.Within(t, 30*time.Second, "three deaths", func() error {
			if text := log.String(); strings.Count(text, "the BGP speaker died") < 3 {
				return errors.New(text)
			}
			return nil
		})
		if n := s.Take(); !n.Away || n.Peers != nil || n.Paths.Whole {
			t.Errorf("news without a speaker: %+v, want it to be away", n)
		}
		if _, err := s.Details(ctx); !errors.Is(err, ErrAway) {
			t.Errorf("details without a speaker: %v, want ErrAway", err)
		}
		select {
		case <-s.Changed():
		case <-patience.After(10 * time.Second):
			t.Error("nobody is told that the speaker has died")
		}
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("run ended with %v", err)
			}
		case <-patience.After(10 * time.Second):
			t.Fatal("run does not end with its context")
		}
		text := log.String()
		pauses := regexp.MustCompile(`pause=(\S+)`).FindAllString(text, 3)
		if diff := cmp.Diff([]string{"pause=100ms", "pause=200ms", "pause=400ms"}, pauses); diff != "" {
			t.Errorf("pauses (-want +got):\n%s", diff)
		}
		if want := fmt.Sprintf("panic: a made-up one, as uid %d", layout.SpeakerUID); !strings.Contains(text, want) || !strings.Contains(text, "exit status 2") {
			t.Errorf("log lacks %q and its exit status:\n%s", want, text)
		}
	})
}
