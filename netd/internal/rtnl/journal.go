package rtnl

import (
	"fmt"
	"maps"
	"strings"
	"sync"
)

// mostWritten bounds what is noted while nobody asks.
const mostWritten = 100

// journal is what a connection has changed, and the sysctls that it was asked for: for most
// of them the kernel tells nobody when somebody else sets them.
type journal struct {
	mu      sync.Mutex // guards what follows, and is held for an assignment
	notes   []string
	sysctls map[string]string
}

// note takes down a change, in words, unless it failed.
func (c *Conn) note(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	if len(c.journal.notes) < mostWritten {
		c.journal.notes = append(c.journal.notes, fmt.Sprintf(format, args...))
	}
	return nil
}

// name is that of a link, for a note.
func (c *Conn) name(link int) string {
	l, err := c.h.LinkByIndex(link)
	if err != nil {
		return fmt.Sprintf("#%d", link)
	}
	return l.Attrs().Name
}

// Written is what c has changed since the last call, in words; but for routes and next-hop
// objects, of which there are many. Where nothing else was wanted than before, somebody else
// had changed it.
func (c *Conn) Written() []string {
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	notes := c.journal.notes
	c.journal.notes = nil
	return notes
}

// SetSysctl sets a key of /proc/sys/net in the namespace of the process, if it has another
// value, and remembers it for ChangedSysctls.
func (c *Conn) SetSysctl(key, value string) error {
	c.journal.mu.Lock()
	c.journal.sysctls[key] = value
	c.journal.mu.Unlock()
	if have, err := Sysctl(key); err == nil && have == value {
		return nil
	}
	return c.note(SetSysctl(key, value), "sysctl net.%s = %s", strings.ReplaceAll(key, "/", "."), value)
}

// ChangedSysctls returns the keys that have not the value any more that was asked for last.
// Each is told once: who still wants it asks for it again. What is gone was a link's that is
// gone.
func (c *Conn) ChangedSysctls() []string {
	c.journal.mu.Lock()
	wanted := maps.Clone(c.journal.sysctls)
	c.journal.mu.Unlock()
	var changed, forget []string
	for key, value := range wanted {
		have, err := Sysctl(key)
		if err == nil && have == value {
			continue
		}
		if forget = append(forget, key); err == nil {
			changed = append(changed, key)
		}
	}
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	for _, key := range forget {
		if c.journal.sysctls[key] == wanted[key] {
			delete(c.journal.sysctls, key)
		}
	}
	return changed
}
