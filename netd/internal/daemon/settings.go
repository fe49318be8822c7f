package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"netd/netd/config"
	"netd/netd/internal/intent"
	"netd/netd/wake"
)

// settings are the configuration in use and what people have ordered. The loop has
// them; files are read and written beside it, by whoever asks for a change and by
// write, since flash may take seconds.
type settings struct {
	opts Options
	log  *slog.Logger
	loop *loop
	// changing is held over a whole change, with its files: one at a time. The loop
	// never takes it.
	changing sync.Mutex

	loaded     loaded
	lastGood   bool // loaded is kept as the last good one, or is not to be
	trial      *trial
	trialEnded string // why the last one was not confirmed
	orders     intent.Orders

	again wake.Signal // there is something to write

	mu      sync.Mutex // guards what follows, and is held for an assignment
	good    *loaded    // to keep as the last good one
	box     *intent.Box
	written intent.Box // that was written, or is about to be
	problem error      // of the last write
}

func newSettings(o Options, lp *loop, l loaded, ended string) *settings {
	return &settings{opts: o, log: o.Log, loop: lp, loaded: l, trialEnded: ended, orders: o.loadOrders(), again: wake.New()}
}

// take makes l the configuration. Every round compares the box with it.
func (s *settings) take(l loaded) { s.loaded, s.lastGood = l, l.passing }

// keep has the configuration kept as the last good one: it was applied without an error.
func (s *settings) keep() {
	if s.lastGood {
		return
	}
	s.lastGood = true
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.loaded
	s.good = &l
	s.again.Send()
}

// apply sets what belongs to a box as a whole, if it has changed: host name, root's
// password for the console, name servers.
func (s *settings) apply(want intent.Box) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.Appliance && !reflect.DeepEqual(want, s.written) {
		s.box, s.written = &want, want
		s.again.Send()
	}
	return s.problem
}

// write writes what the loop wants to be written, until ctx ends.
func (s *settings) write(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.again:
		}
		s.mu.Lock()
		good, box := s.good, s.box
		s.good, s.box = nil, nil
		s.mu.Unlock()
		var err error
		if box != nil {
			err = s.opts.becomeBox(*box)
		}
		if good != nil {
			err = errors.Join(err, s.opts.keepAsLastGood(*good))
		}
		s.mu.Lock()
		if err != nil && good != nil && s.good == nil {
			s.good = good
			time.AfterFunc(repairInterval, s.again.Send)
		}
		if news := (err == nil) != (s.problem == nil); news {
			s.loop.wake.Send() // A round tells.
		}
		s.problem = err
		s.mu.Unlock()
	}
}

// readPasswords reads the password files of a configuration: a file that changes counts
// from the next reload on.
func (o Options) readPasswords(c *config.Config) (map[string]string, error) {
	passwords := map[string]string{}
	var errs []error
	users := intent.PasswordFiles(c)
	for _, file := range slices.Sorted(maps.Keys(users)) {
		password, mode, err := readPassword(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("no session with %s without its password: %w", strings.Join(users[file], ", "), err))
			continue
		}
		if mode.Perm()&0o077 != 0 {
			o.Log.Warn("others than root can read a password: chmod 600", "file", file, "mode", mode)
		}
		passwords[file] = password
	}
	return passwords, errors.Join(errs...)
}

// readPassword returns a file's first line. TCP takes at most 80 octets.
func readPassword(file string) (string, fs.FileMode, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", 0, err
	}
	text, err := config.ReadFile(file) // Not of a device or a pipe, which may have no end.
	if err != nil {
		return "", 0, err
	}
	password, err := passwordIn(text)
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w", file, err)
	}
	return password, info.Mode(), nil
}

// passwordIn is the first line of a text, as editors write one: with a byte order mark, a
// carriage return and spaces at its end, which no other end takes for a part of it.
func passwordIn(text []byte) (string, error) {
	line, _, _ := bytes.Cut(bytes.TrimPrefix(text, []byte("\ufeff")), []byte("\n"))
	password := strings.TrimSpace(string(line))
	switch {
	case !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl):
		return "", errors.New("its first line is no text in UTF-8 (some editors write UTF-16): expected a password of 1 to 80 octets")
	case len(password) == 0 || len(password) > 80:
		return "", fmt.Errorf("%d octets in its first line: expected a password of 1 to 80", len(password))
	}
	return password, nil
}
