package rtnl

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Change is one thing to do to the FIB: to a route, or to a next-hop object.
type Change struct {
	Do      Verb
	Route   *Route
	NextHop *NextHop
}

// Verb is what a Change does.
type Verb int

// Replace adds too what is not there. Add is for next-hop objects: it refuses a
// number that is taken. Delete is no error if the thing is gone already.
const (
	Replace Verb = iota
	Add
	Delete
)

// String is what was attempted.
func (c Change) String() string {
	verb := [...]string{"replace", "add", "delete"}[c.Do]
	if c.Route != nil {
		return fmt.Sprintf("%s route %s", verb, c.Route)
	}
	return fmt.Sprintf("%s next hop %s", verb, c.NextHop)
}

func (c Change) message() message {
	m := message{flags: [...]uint16{
		Replace: unix.NLM_F_CREATE | unix.NLM_F_REPLACE, Add: unix.NLM_F_CREATE | unix.NLM_F_EXCL, Delete: 0,
	}[c.Do]}
	switch {
	case c.Route != nil:
		m.kind, m.body = unix.RTM_NEWROUTE, c.Route.encode(nil)
		if c.Do == Delete {
			m.kind = unix.RTM_DELROUTE
		}
	case c.Do == Delete:
		m.kind = unix.RTM_DELNEXTHOP
		m.body = attr32(make([]byte, sizeofNhmsg), unix.NHA_ID, c.NextHop.ID)
	default:
		m.kind, m.body = unix.RTM_NEWNEXTHOP, c.NextHop.encode(nil)
	}
	return m
}

// Write does the changes in their order, in chunks with one acknowledgement
// each. One that the kernel refuses does not stop those behind it. The result is
// nil if all was done, otherwise it has the error of each change, or nil, at the
// change's index.
func (c *Conn) Write(changes []Change) []error {
	var all []error
	silent := false
	for begin := 0; begin < len(changes); begin += chunkSize {
		part := changes[begin:min(begin+chunkSize, len(changes))]
		var errs []error
		if !silent {
			errs = c.write(part)
		}
		for i := range part {
			err := errSilent // Of what is not tried any more: each chunk would take as long.
			if !silent {
				err = errs[i]
			}
			if err == nil || part[i].Do == Delete && IsNotExist(err) {
				continue
			}
			if all == nil {
				all = make([]error, len(changes))
			}
			all[begin+i] = fmt.Errorf("%s: %w", part[i], err)
		}
		silent = silent || len(errs) > 0 && errors.Is(errs[len(errs)-1], errSilent)
	}
	return all
}

// write sends one chunk. If answers were lost, it is sent again one by one: each
// change can be done twice, but for an Add, which then errs: the caller's next look
// finds what it has made. If then one is not answered either, the kernel is silent, and
// the rest is not tried: each would take as long.
func (c *Conn) write(part []Change) []error {
	messages := make([]message, len(part))
	for i, change := range part {
		messages[i] = change.message()
	}
	errs, err := c.fib.chunk(messages)
	if err == nil {
		return errs
	}
	c.fib.drain()
	errs = make([]error, len(part))
	for i := range messages {
		if errors.Is(err, errSilent) && i > 0 {
			errs[i] = err
			continue
		}
		var one []error
		if one, err = c.fib.chunk(messages[i : i+1]); err == nil {
			errs[i] = one[0]
		} else {
			errs[i] = err
		}
	}
	return errs
}

// compatMode is the sysctl that lets routes with a next-hop object show their
// gateways and links too, as old tools expect; it makes the kernel tell every
// route when such an object changes.
const compatMode = "ipv4/nexthop_compat_mode"

// MoveNextHops replaces next-hop objects in use, in the namespace of the process,
// without a notification for each of their routes: a group under 50,000 routes
// takes less than a millisecond so, and tens of them with. Only for that moment
// ip route shows nothing but the objects' numbers.
func (c *Conn) MoveNextHops(changes []Change) []error {
	if len(changes) == 0 {
		return nil
	}
	quiet := SetSysctl(compatMode, "0")
	errs := c.Write(changes)
	if loud := SetSysctl(compatMode, "1"); quiet != nil || loud != nil {
		errs = append(errs, quiet, loud)
	}
	return errs
}
