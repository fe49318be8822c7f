package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The speaker process tells the agent which prefixes to read again, by lines on a
// pipe: GoBGP's own events, which have all of a path, cost as much as the path
// itself. What is told is only a hint of what to read; the order is safe, since
// GoBGP tells of an UPDATE while it holds what every reader of its tables waits for.
//
//	10.64.3.0/26       the paths of this prefix may have changed
//	peer ADDRESS N     so many prefixes has the peer announced so far, again or new
//	all                anything may have changed
//	beat               nothing, but the process lives
const (
	hintBeat = "beat"
	hintAll  = "all"
	hintPeer = "peer"
)

// Hint is one line, of which one kind is set.
type Hint struct {
	Beat   bool
	All    bool
	Prefix netip.Prefix
	// Peer has announced so many prefixes.
	Peer      netip.Addr
	Announced uint64
}

// Append appends the line.
func (h Hint) Append(b []byte) []byte {
	switch {
	case h.Beat:
		b = append(b, hintBeat...)
	case h.All:
		b = append(b, hintAll...)
	case h.Peer.IsValid():
		b = h.Peer.AppendTo(append(b, hintPeer+" "...))
		b = strconv.AppendUint(append(b, ' '), h.Announced, 10)
	default:
		b = h.Prefix.AppendTo(b)
	}
	return append(b, '\n')
}

// ParseHint understands a line without its end.
func ParseHint(line string) (Hint, error) {
	switch kind, rest, _ := strings.Cut(line, " "); kind {
	case hintBeat:
		return Hint{Beat: true}, nil
	case hintAll:
		return Hint{All: true}, nil
	case hintPeer:
		address, count, _ := strings.Cut(rest, " ")
		a, errA := netip.ParseAddr(address)
		n, errN := strconv.ParseUint(count, 10, 64)
		if err := errors.Join(errA, errN); err != nil {
			return Hint{}, fmt.Errorf("hint %q: %w", line, err)
		}
		return Hint{Peer: a, Announced: n}, nil
	}
	p, err := netip.ParsePrefix(line)
	if err != nil {
		return Hint{}, fmt.Errorf("hint %q: %w", line, err)
	}
	return Hint{Prefix: p}, nil
}
