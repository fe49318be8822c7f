package containers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/containerd/containerd/errdefs"

	"netd/firmware/lab/patience"
)

// noNetwork must not be called.
type noNetwork struct{ t *testing.T }

func (n noNetwork) Setup(_ context.Context, pod string) (Sandbox, error) {
	n.t.Errorf("Setup %s", pod)
	return Sandbox{}, errors.New("no")
}

func (n noNetwork) Teardown(_ context.Context, pod string) error {
	n.t.Errorf("Teardown %s", pod)
	return errors.New("no")
}

// Without containerd, every wanted pod waits and says why, and Run still ends.
func TestRuntimeWithoutContainerd(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "none.sock")
	r := New(Options{Socket: socket, LogDir: filepath.Join(dir, "log"), Network: noNetwork{t}, Log: slog.New(slog.DiscardHandler)})
	r.Set([]Spec{{Name: "web", Pod: "web-1", Image: "w.tar"}, {Name: "web", Pod: "web-0", Image: "w.tar"}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	end := patience.After(30 * time.Second)
	for {
		got := r.Status()
		if len(got) != 2 || got[0].Pod != "web-0" || got[1].Pod != "web-1" {
			t.Fatalf("status: %+v", got)
		}
		if strings.Contains(got[0].Reason, "containerd does not answer on "+socket) && got[0].State == StateWaiting {
			break
		}
		select {
		case <-r.Changed():
		case <-end:
			t.Fatalf("status: %+v", got)
		}
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-end:
		t.Error("Run did not return")
	}
}

// A person needs what is wrong, not through how many hands the word of it has gone.
func TestTelling(t *testing.T) {
	for text, want := range map[string]string{
		`create task none-0: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: "/none": stat /none: no such file or directory: unknown`: `exec: "/none": stat /none: no such file or directory`,
		`start task a: OCI runtime start failed: cannot start a stopped process: unknown`: `cannot start a stopped process`,
		"image web.tar: no such file": "image web.tar: no such file",
		"a\nb":                        "a b",
	} {
		if got := telling(errors.New(text)); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func TestRestartAfter(t *testing.T) {
	for r, want := range map[Restart][2]bool{"": {true, true}, RestartAlways: {true, true}, RestartOnFailure: {false, true}, RestartNever: {false, false}} {
		if got := [2]bool{r.after(0), r.after(1)}; got != want {
			t.Errorf("%q: got %v after code 0 and 1, want %v", r, got, want)
		}
	}
}

func TestIsAway(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{status.Error(codes.Unavailable, "x"), true},
		{fmt.Errorf("wait: %w", status.Error(codes.Unavailable, "x")), true},
		{fmt.Errorf("load: %w", errdefs.ErrUnavailable), true},
		{status.Error(codes.Unknown, "x"), false},
		{errors.New("x"), false},
		{errdefs.ErrNotFound, false},
	} {
		if got := isAway(tt.err); got != tt.want {
			t.Errorf("%v: got %v", tt.err, got)
		}
	}
}
