package bgp

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"

	"netd/netd/internal/bgp/wire"
)

// changes is what is to be read again. life.mu guards it.
type changes struct {
	all      bool
	peers    bool // their states
	prefixes map[netip.Prefix]struct{}
	// suspects: one of the peers may have told too much.
	suspects bool
	// By peer: announced is how many prefixes it has announced so far. When they were
	// last counted, counted was announced, and had is how many there were.
	announced, counted, had map[netip.Addr]uint64
}

func newChanges() *changes {
	return &changes{
		all: true, prefixes: map[netip.Prefix]struct{}{},
		announced: map[netip.Addr]uint64{}, counted: map[netip.Addr]uint64{}, had: map[netip.Addr]uint64{},
	}
}

// take returns what is to be read, and begins anew.
func (c *changes) take() (all, peers bool, prefixes map[netip.Prefix]struct{}) {
	all, peers, prefixes = c.all, c.peers, c.prefixes
	c.all, c.peers, c.prefixes = false, false, map[netip.Prefix]struct{}{}
	return all, peers, prefixes
}

// mayHave is the most that a peer can have told us by now.
func (c *changes) mayHave(a netip.Addr) uint64 { return c.had[a] + c.announced[a] - c.counted[a] }

// count notes how many prefixes a peer has, of those that it had announced by then.
func (c *changes) count(a netip.Addr, announced, has uint64) { c.counted[a], c.had[a] = announced, has }

// note takes in one hint.
func (c *changes) note(h wire.Hint) {
	switch {
	case h.Beat:
	case h.All:
		c.all = true
	case h.Peer.IsValid():
		c.announced[h.Peer] = max(h.Announced, c.announced[h.Peer])
	default:
		if c.prefixes[h.Prefix] = struct{}{}; len(c.prefixes) > mostHints {
			c.all, c.prefixes = true, map[netip.Prefix]struct{}{}
		}
	}
}

// suspect tells whether a peer may have told too much.
func (c *changes) suspect(config Config) bool {
	for a := range c.announced {
		if _, _, session, ok := config.Who(a); ok && session.Exceeds(c.mayHave(a)) {
			return true
		}
	}
	return false
}

const (
	// mostHints bounds what a speaker that has been taken over can make us keep.
	mostHints = 1 << 20
	// mostBurst is how many hints are taken in at once.
	mostBurst = 4096
)

// hear takes in the speaker's hints until the pipe ends. It reads on whatever
// happens, so that the speaker never waits for us.
func (s *Speaker) hear(pipe io.Reader, l *life, p *pulse) error {
	r := bufio.NewReaderSize(pipe, 64<<10)
	var burst []wire.Hint
	for {
		burst = burst[:0]
		for len(burst) == 0 || r.Buffered() > 0 && len(burst) < mostBurst { // What is there already takes no more waking.
			line, err := r.ReadSlice('\n')
			if err != nil {
				return fmt.Errorf("hear what changes: %w", err)
			}
			hint, err := wire.ParseHint(string(line[:len(line)-1]))
			if err != nil {
				return fmt.Errorf("hear what changes: %w", err)
			}
			burst = append(burst, hint)
		}
		p.beat()
		l.heard(burst, s.wantedNow().Config)
	}
}

// heard takes in hints, and wakes who has to do something about them.
func (l *life) heard(burst []wire.Hint, c Config) {
	l.mu.Lock()
	announced, news := false, false
	for _, h := range burst {
		l.changes.note(h)
		announced = announced || h.Peer.IsValid()
		news = news || h.All || h.Prefix.IsValid()
	}
	suspects := announced && l.changes.suspect(c)
	l.changes.suspects = l.changes.suspects || suspects
	l.mu.Unlock()
	if suspects {
		l.command.Send()
	}
	if news {
		l.look.Send()
	}
}

// takeChanges returns what is to be read.
func (l *life) takeChanges() (all, peers bool, prefixes map[netip.Prefix]struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changes.take()
}

// everything is to be read again.
func (l *life) everything() {
	l.mu.Lock()
	l.changes.all = true
	l.mu.Unlock()
	l.look.Send()
}

// sessions are to be read again.
func (l *life) sessions() {
	l.mu.Lock()
	l.changes.peers = true
	l.mu.Unlock()
	l.look.Send()
}
