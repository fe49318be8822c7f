package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func start(t *testing.T, path string, limit int64) *log {
	t.Helper()
	l, err := startLog(path, limit)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func say(t *testing.T, l *log, text string) {
	t.Helper()
	if _, err := l.in.WriteString(text); err != nil {
		t.Error(err)
	}
}

// A pod's next run goes on where the one before has ended.
func TestLogGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web-0.log")
	for _, text := range []string{"one\n", "two\n"} {
		l := start(t, path, 1000)
		say(t, l, text)
		l.close()
	}
	if got := read(t, path); got != "one\ntwo\n" {
		t.Errorf("got %q", got)
	}
}

// However fast a pod writes, neither file is ever longer than the limit, and the writer
// waits.
func TestFloodIsBounded(t *testing.T) {
	const limit, total = 256 << 10, 4 << 20
	path := filepath.Join(t.TempDir(), "loud-0.log")
	l := start(t, path, limit)
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		var longest int64
		for {
			for _, p := range []string{path, path + ".1"} {
				if st, err := os.Stat(p); err == nil {
					longest = max(longest, st.Size())
				}
			}
			select {
			case <-stop:
				most <- longest
				return
			case <-time.After(100 * time.Microsecond):
			}
		}
	}()
	begin := time.Now()
	line := bytes.Repeat([]byte("FLOOD\n"), 1000)
	for range total / len(line) {
		if _, err := l.in.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	say(t, l, "the end\n")
	l.close()
	close(stop)
	if got := <-most; got > limit {
		t.Errorf("a file had %d octets, want at most %d", got, limit)
	}
	if took, least := time.Since(begin), time.Duration(total-3*limit)*time.Second/rate; took < least {
		t.Errorf("%d octets were taken in %v, want at least %v", total, took, least)
	}
	if !strings.HasSuffix(read(t, path), "FLOOD\nthe end\n") {
		t.Error("the last words are lost")
	}
}

// What can not be written holds nobody up, and is told when something can.
func TestLogThatCanNotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "away")
	path := filepath.Join(dir, "web-0.log")
	l := start(t, path, 1<<20)
	lost := strings.Repeat("x", 200<<10) // more than a pipe holds
	say(t, l, lost)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	say(t, l, "again\n")
	l.close()
	got := read(t, path)
	if !strings.HasSuffix(got, "again\n") || !strings.Contains(got, "octets were lost: open ") {
		t.Errorf("got %q", got[:min(len(got), 300)])
	}
}
