package daemon

import (
	"encoding/binary"

	"netd/netd/internal/bgp"
	"netd/netd/internal/rib"
)

// learned says in package rib's words what the speaker has told: the prefixes of which
// the same is told share their paths, also over time.
type learned map[string]*rib.Paths

// update is all that was told. The paths of a prefix stand together.
func (l *learned) update(paths []bgp.Path) rib.Update {
	u := rib.Update{Whole: true}
	now := learned{}
	for begin, i := 0, 1; i <= len(paths); i++ {
		if i < len(paths) && paths[i].Prefix == paths[begin].Prefix {
			continue
		}
		key, list := entry(paths[begin:i])
		if now[key] == nil {
			if now[key] = (*l)[key]; now[key] == nil {
				now[key] = list
			}
		}
		u.Entries, begin = append(u.Entries, rib.Entry{Prefix: paths[begin].Prefix, Paths: now[key]}), i
	}
	*l = now
	return u
}

// entry is what is told of one prefix, and a key that is the same for those of which the
// same is.
func entry(paths []bgp.Path) (string, *rib.Paths) {
	list := &rib.Paths{Rule: rib.Rule(paths[0].Rule)}
	var key []byte // By hand: there may be 100,000.
	for _, p := range paths {
		if p.Rule == bgp.ByFilter {
			list.Rule = rib.ByFilter
		}
		r := rib.Path{NextHop: p.NextHop, Peer: p.Peer, Rank: p.Rank, ASPath: p.ASPath, Stale: p.Stale}
		list.List = append(list.List, r)
		key = append(append(r.NextHop.AppendTo(key), '|'), r.Peer...)
		key = binary.AppendUvarint(append(key, '|'), uint64(r.Rank))
		if r.Stale {
			key = append(key, '*')
		}
		key = binary.AppendUvarint(append(key, '|'), uint64(len(r.ASPath)))
		for _, as := range r.ASPath {
			key = binary.NativeEndian.AppendUint32(key, as)
		}
	}
	return string(key) + string(list.Rule), list
}
