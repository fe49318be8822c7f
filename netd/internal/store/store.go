package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"netd/netd/retry"
	"netd/netd/wake"
)

const (
	// checkInterval is how often the file is looked at that nobody writes.
	checkInterval = time.Minute
	// firstPause and longestPause are between two tries to write.
	firstPause   = time.Second
	longestPause = 30 * time.Second
	// slowDisk is how long a write can take until it is a problem.
	slowDisk = 5 * time.Second
)

// Options say where the file is, and what is right in it.
type Options struct {
	Path string
	// Name tells whether a pod can be called so.
	Name func(pod string) bool
	Log  *slog.Logger
}

// DB is the pods' addresses, and the goroutine that writes them. Its methods can be
// called from any goroutine and, but for Close, never wait.
type DB struct {
	o       Options
	file    file // the goroutine's
	wake    wake.Signal
	changed wake.Signal
	closing chan struct{}
	ended   chan struct{}

	mu      sync.Mutex // guards what follows
	read    bool       // the file was, or there is none
	state   state
	fresh   bool // the file has been read since the last Load
	version int  // of state
	written int  // the version that the file has
	waiting []chan<- error
	problem error
	begun   time.Time // the write on its way; zero if there is none
	closed  bool
}

// Open reads the file, whatever is in it, and starts the goroutine. What can not be
// read or makes no sense does not count; the log says so, and the file is kept as
// PATH.torn-TIME. If it is not known whether there is a file (the disk is not there),
// Put fails and Problem says why, until it can be read: see Load.
func Open(o Options) *DB { return open(o, (*os.File).Sync) }

func open(o Options, sync func(*os.File) error) *DB {
	d := &DB{
		o: o, file: file{path: o.Path, sync: sync}, wake: wake.New(), changed: wake.New(),
		closing: make(chan struct{}), ended: make(chan struct{}), state: state{pods: map[string][]netip.Addr{}},
	}
	d.note(d.guard(d.look))
	if d.problem != nil || d.version != d.written {
		d.wake.Send()
	}
	go d.run()
	return d
}

// Load returns what the file said when it was read: all pods' addresses, IPv4 first, and
// those given out last. It has something to say once: at the first call, or later, when
// a file that could not be read at first was read; what was Put before that is
// forgotten.
func (d *DB) Load() (pods map[string][]netip.Addr, last []netip.Addr, fresh bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.fresh {
		return nil, nil, false
	}
	d.fresh = false
	s := d.state.clone()
	return s.pods, s.last, true
}

// Put records that the pod has these addresses and no others (none: that it is gone),
// that no other pod has them, and which were given out last. The channel gets nil
// when that is durable, or was superseded by a later Put of the pod that is; or the
// reason why it is not. The store goes on trying then, until another Put says
// otherwise. Before the file could be read, it fails at once and nothing is kept.
func (d *DB) Put(pod string, addresses, last []netip.Addr) <-chan error {
	done := make(chan error, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		done <- errors.New("the store is closed")
		return done
	}
	if !d.read {
		done <- d.problem
		return done
	}
	d.state.set(pod, addresses)
	d.state.last = last
	d.version++
	d.waiting = append(d.waiting, done)
	d.wake.Send()
	return done
}

// Problem is why the file does not say what it should, nil if it does or is about to.
func (d *DB) Problem() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.begun.IsZero() && time.Since(d.begun) > slowDisk {
		return fmt.Errorf("keep the pods' addresses in %s: the disk has not answered for more than %s; new pods have to wait", d.o.Path, slowDisk)
	}
	return d.problem
}

// Changed is ready when Problem has changed, or the file could be read at last.
func (d *DB) Changed() <-chan struct{} { return d.changed }

// Close writes what is left and ends the goroutine. Its error says that either could
// not be done, or not before ctx ended: a disk that hangs is left hanging.
func (d *DB) Close(ctx context.Context) error {
	d.mu.Lock()
	if !d.closed {
		d.closed = true
		close(d.closing)
	}
	d.mu.Unlock()
	select {
	case <-d.ended:
		return d.Problem()
	case <-ctx.Done():
		return fmt.Errorf("write %s: %w", d.o.Path, ctx.Err())
	}
}

// run is the goroutine: it writes what there is, together.
func (d *DB) run() {
	defer close(d.ended)
	check := time.NewTicker(checkInterval)
	defer check.Stop()
	pause := retry.Backoff{First: firstPause, Last: longestPause}
	var again <-chan time.Time
	for last := false; !last; {
		select {
		case <-d.wake:
		case <-again:
			again = nil
		case <-check.C:
		case <-d.closing:
			last = true
		}
		if d.commit() {
			pause.Reset()
			again = nil
		} else if again == nil {
			again = time.After(pause.Next(0))
		}
	}
}

// commit makes all durable that was Put until now, and tells those who wait for it.
func (d *DB) commit() bool {
	d.mu.Lock()
	waiting := d.waiting
	d.waiting = nil
	d.begun = time.Now()
	d.mu.Unlock()
	err := d.guard(d.write)
	d.note(err)
	for _, done := range waiting {
		done <- err
	}
	return err == nil
}

// guard runs f and takes a panic for an error: whatever is in the file or becomes of
// the disk, the agent lives.
func (d *DB) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v: %s", p, debug.Stack())
		}
	}()
	return f()
}

// note keeps the outcome and says so, once.
func (d *DB) note(err error) {
	d.mu.Lock()
	before := d.problem
	if d.problem = err; err != nil {
		d.problem = fmt.Errorf("keep the pods' addresses in %s: %w", d.o.Path, err)
	}
	now := d.problem
	d.begun = time.Time{}
	d.mu.Unlock()
	switch {
	case now == nil && before == nil, now != nil && before != nil && now.Error() == before.Error():
		return
	case now == nil:
		d.o.Log.Info("the pods' addresses are written again", "file", d.o.Path)
	default:
		d.o.Log.Error("the pods' addresses can not be written; new pods have to wait", "err", now)
	}
	d.changed.Send()
}

// write brings the file up to date.
func (d *DB) write() error {
	d.mu.Lock()
	read := d.read
	d.mu.Unlock()
	if !read {
		if err := d.look(); err != nil {
			return err
		}
	}
	what := d.file.strange()
	if what != "" {
		aside, err := d.file.putAside()
		d.file.accept()
		d.o.Log.Error("the state file has changed under the agent; it is written anew from memory", "file", d.o.Path, "what", what, "aside", aside, "err", err)
	}
	d.mu.Lock()
	if what != "" {
		d.version++
	}
	s, version, same := d.state.clone(), d.version, d.version == d.written
	d.mu.Unlock()
	if same {
		return nil
	}
	content, err := image(s)
	if err != nil {
		return err
	}
	if err := d.file.write(content); err != nil {
		return err
	}
	d.mu.Lock()
	d.written = version
	d.mu.Unlock()
	return nil
}

// look reads the file.
func (d *DB) look() error {
	if err := os.MkdirAll(filepath.Dir(d.o.Path), 0o700); err != nil {
		return err
	}
	data, damage, err := d.file.read()
	if err != nil {
		return err
	}
	var records []record
	if len(data) > 0 {
		var wrong []string
		records, wrong = decode(data, buckets())
		damage = append(damage, wrong...)
	}
	s, bad := stateOf(records, d.o.Name)
	damage = append(damage, bad...)
	d.mu.Lock()
	d.state, d.read, d.fresh = s, true, true
	if len(damage) > 0 {
		d.version++
	}
	d.mu.Unlock()
	d.changed.Send()
	if len(damage) > 0 {
		aside, err := d.file.putAside()
		d.file.accept()
		d.o.Log.Error("the state file is torn: what it says of some pods is lost, and they may get other addresses; it is kept aside",
			"file", d.o.Path, "aside", aside, "pods", len(s.pods), "wrong", damage[:min(len(damage), 10)], "more", max(0, len(damage)-10), "err", err)
	}
	return nil
}
