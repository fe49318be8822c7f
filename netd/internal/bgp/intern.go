package bgp

import (
	"encoding/binary"

	"netd/netd/internal/rib"
)

// interned are the lists of paths by what they say: prefixes of which peers tell the
// same have one. What is not told any more is forgotten when everything is read.
type interned struct {
	now, before map[string]*rib.Paths
	whole       int // how many there were when everything was read last
	scratch     []byte
}

// sparePaths is how many lists there may be beyond twice those of the last whole
// reading. With more, all is read anew, and what nobody tells any more is forgotten.
const sparePaths = 10_000

// crowded tells whether there are more.
func (in *interned) crowded() bool { return len(in.now) > 2*in.whole+sparePaths }

// begin is called before everything is read, end after that.
func (in *interned) begin() {
	if in.before == nil {
		in.before = in.now
	}
	in.now = map[string]*rib.Paths{}
}

// end forgets what was not told again, unless the reading has failed.
func (in *interned) end(err error) {
	if err != nil {
		for key, p := range in.now {
			in.before[key] = p
		}
		in.now = in.before
	}
	in.before, in.whole = nil, len(in.now)
}

// one returns the one Paths that says this.
func (in *interned) one(p rib.Paths) *rib.Paths {
	in.scratch = appendPaths(in.scratch[:0], p)
	if known, ok := in.now[string(in.scratch)]; ok {
		return known
	}
	key := string(in.scratch)
	known, ok := in.before[key]
	if !ok {
		known = &p
	}
	in.now[key] = known
	return known
}

// appendPaths writes all that there is of paths, such that different ones differ.
func appendPaths(b []byte, p rib.Paths) []byte {
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text(string(p.Rule))
	for _, path := range p.List {
		text(path.NextHop.String())
		text(path.Peer)
		stale := uint64(0)
		if path.Stale {
			stale = 1
		}
		for _, n := range []uint64{uint64(path.Rank), stale, uint64(len(path.ASPath))} {
			b = binary.AppendUvarint(b, n)
		}
		for _, as := range path.ASPath {
			b = binary.AppendUvarint(b, uint64(as))
		}
	}
	return b
}
