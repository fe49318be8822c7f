package main

import (
	"fmt"
	"os"
	"time"
)

const (
	// rate is how much a pod can write in a second, in octets; who writes more waits.
	rate = 8 << 20
	// closeTimeout bounds the wait for what is in the pipe at a pod's end.
	closeTimeout = 2 * time.Second
)

// log writes what comes by a pipe to a file. A file that would get longer than limit
// becomes FILE.1 in place of the one before. What can not be written is lost, and
// counted: a pod does not wait for a full disk.
type log struct {
	path  string
	limit int64
	pace  time.Duration // between two turns
	in    *os.File      // the pipe's writing end
	ended chan struct{}

	out    *os.File
	size   int64
	turned time.Time
	lost   int64
	why    error
}

func startLog(path string, limit int64) (*log, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", path, err)
	}
	l := &log{path: path, limit: limit, pace: time.Duration(limit) * time.Second / rate, in: w, ended: make(chan struct{})}
	if err := l.open(); err != nil {
		l.why = err // and tried again at each write
	}
	go func() {
		defer close(l.ended)
		defer r.Close()
		l.run(r)
	}()
	return l, nil
}

// close waits until all is written.
func (l *log) close() {
	_ = l.in.Close() // it is a pipe
	select {
	case <-l.ended:
	case <-time.After(closeTimeout): // a process that has left the pod has the pipe
	}
}

func (l *log) run(r *os.File) {
	buf := make([]byte, min(32<<10, l.limit))
	for {
		n, err := r.Read(buf)
		if n > 0 {
			l.write(buf[:n])
		}
		if err != nil {
			break
		}
	}
	if l.out != nil {
		_ = l.out.Close() // in memory
	}
}

func (l *log) open() error {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	l.out, l.size = f, st.Size()
	return nil
}

func (l *log) write(b []byte) {
	if l.out == nil {
		if err := l.open(); err != nil {
			l.lose(len(b), err)
			return
		}
	}
	if l.size+int64(len(b)) > l.limit {
		if err := l.turn(); err != nil {
			l.lose(len(b), err)
			return
		}
	}
	if l.lost > 0 {
		line := fmt.Sprintf("[netd: %d octets were lost: %v]\n", l.lost, l.why)
		if n, err := l.out.WriteString(line); err == nil {
			l.lost, l.why = 0, nil
			l.size += int64(n)
		}
	}
	n, err := l.out.Write(b)
	l.size += int64(n)
	if err != nil {
		l.lose(len(b)-n, err)
	}
}

func (l *log) lose(n int, err error) { l.lost, l.why = l.lost+int64(n), err }

// turn begins the file anew, not before its time: meanwhile the pipe is full, and the
// pod waits.
func (l *log) turn() error {
	time.Sleep(time.Until(l.turned.Add(l.pace)))
	l.turned = time.Now()
	if l.out != nil {
		_ = l.out.Close()
		l.out = nil
	}
	if err := os.Rename(l.path, l.path+".1"); err != nil && !os.IsNotExist(err) {
		return err
	}
	return l.open()
}
