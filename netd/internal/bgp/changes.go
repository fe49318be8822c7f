package bgp

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"

	"netd/netd/internal/bgp/wire"
)

// changes is what is to be read again. Speaker.mu guards it.
type changes struct {
	all      bool
	prefixes map[netip.Prefix]struct{}
	// announced is how many prefixes a peer has announced, counted is the same when
	// its prefixes were last counted, and had how many there were.
	announced, counted, had map[netip.Addr]uint64
}

func newChanges() *changes {
	return &changes{
		all: true, prefixes: map[netip.Prefix]struct{}{},
		announced: map[netip.Addr]uint64{}, counted: map[netip.Addr]uint64{}, had: map[netip.Addr]uint64{},
	}
}

// take returns what is to be read, and begins anew.
func (c *changes) take() (all bool, prefixes map[netip.Prefix]struct{}) {
	all, prefixes = c.all, c.prefixes
	c.all, c.prefixes = false, map[netip.Prefix]struct{}{}
	return all, prefixes
}

// mayHave is the most that a peer can have told us by now.
func (c *changes) mayHave(a netip.Addr) uint64 { return c.had[a] + c.announced[a] - c.counted[a] }

// count notes how many prefixes a peer has, of those that it had announced by then.
func (c *changes) count(a netip.Addr, announced, has uint64) { c.counted[a], c.had[a] = announced, has }

// note takes in one line of the speaker's hints.
func (c *changes) note(line string) error {
	hint, err := wire.ParseHint(line)
	switch {
	case err != nil:
		return err
	case hint.All:
		c.all = true
	case hint.Peer.IsValid():
		c.announced[hint.Peer] = max(hint.Announced, c.announced[hint.Peer])
	default:
		if c.prefixes[hint.Prefix] = struct{}{}; len(c.prefixes) > mostHints {
			c.all, c.prefixes = true, map[netip.Prefix]struct{}{}
		}
	}
	return nil
}

// mostHints bounds what a speaker that has been taken over can make us keep.
const mostHints = 1 << 20

// hear takes in the speaker's hints until the pipe ends. It reads on whatever
// happens, so that the speaker never waits for us.
func (s *Speaker) hear(pipe io.Reader, l *life) error {
	r := bufio.NewReaderSize(pipe, 64<<10)
	for {
		line, err := r.ReadSlice('\n')
		s.mu.Lock()
		for err == nil {
			if err = l.changes.note(string(line[:len(line)-1])); err != nil || r.Buffered() == 0 {
				break
			}
			line, err = r.ReadSlice('\n') // What is there already takes no more waking.
		}
		l.suspect(s.config)
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("hear what changes: %w", err)
		}
		s.wake()
	}
}
