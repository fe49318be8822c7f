package store

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

const metaBucket = "meta"

// family says where one family's addresses are. IPv4's are where they were before
// there was IPv6: an older release, to which a box may fall back, reads them there,
// and does not look at the others.
type family struct {
	bits       int // of an address
	pods, last string
}

func families() []family {
	return []family{{32, "pods", "last-address"}, {128, "pods6", "last-address6"}}
}

// of returns the family's address, invalid if there is none.
func (f family) of(addresses []netip.Addr) netip.Addr {
	for _, a := range addresses {
		if a.BitLen() == f.bits {
			return a
		}
	}
	return netip.Addr{}
}

// parse reads an address of the family that a pod can have.
func (f family) parse(value []byte) (netip.Addr, error) {
	a, err := netip.ParseAddr(string(value))
	switch {
	case err != nil:
		return a, err
	case a.BitLen() != f.bits || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast():
		return a, fmt.Errorf("%s is no pod's address of %d bits", a, f.bits)
	}
	return a, nil
}

func buckets() []string {
	names := []string{metaBucket}
	for _, f := range families() {
		names = append(names, f.pods)
	}
	return names
}

// state is what the file says, or is to say. The slices are never changed in place.
type state struct {
	pods map[string][]netip.Addr // at most one address of a family, IPv4 first
	last []netip.Addr            // as pods'
}

func (s state) clone() state { return state{maps.Clone(s.pods), s.last} }

// set gives a pod these addresses and no others, and takes them from any other.
func (s *state) set(pod string, addresses []netip.Addr) {
	for other, has := range s.pods {
		if other != pod && slices.ContainsFunc(has, func(a netip.Addr) bool { return slices.Contains(addresses, a) }) {
			s.pods[other] = slices.DeleteFunc(slices.Clone(has), func(a netip.Addr) bool { return slices.Contains(addresses, a) })
			if len(s.pods[other]) == 0 {
				delete(s.pods, other)
			}
		}
	}
	if s.pods[pod] = addresses; len(addresses) == 0 {
		delete(s.pods, pod)
	}
}

// stateOf makes sense of records, and says which ones have none. All that claim one
// address are among these: nobody knows which of the pods has it.
func stateOf(records []record, name func(string) bool) (s state, bad []string) {
	s.pods = map[string][]netip.Addr{}
	type entry struct {
		record
		pod  string
		addr netip.Addr
	}
	holders := map[netip.Addr][]string{}
	var entries []entry
	seen := map[string]bool{}
	for _, f := range families() {
		for _, r := range records {
			switch key := string(r.key); {
			case r.bucket == metaBucket && key == f.last:
				if a, err := f.parse(r.value); err != nil {
					bad = append(bad, fmt.Sprintf("%s: %v", r, err))
				} else if !slices.ContainsFunc(s.last, func(b netip.Addr) bool { return b.BitLen() == f.bits }) {
					s.last = append(s.last, a)
				}
			case r.bucket == f.pods:
				a, err := f.parse(r.value)
				if err == nil && !name(key) {
					err = fmt.Errorf("no pod is called so")
				}
				if err == nil && seen[f.pods+"/"+key] {
					err = fmt.Errorf("the pod is there twice")
				}
				if err != nil {
					bad = append(bad, fmt.Sprintf("%s: %v", r, err))
					continue
				}
				seen[f.pods+"/"+key] = true
				entries, holders[a] = append(entries, entry{r, key, a}), append(holders[a], key)
			}
		}
	}
	for _, e := range entries {
		if pods := holders[e.addr]; len(pods) > 1 {
			bad = append(bad, fmt.Sprintf("%s: the address is that of %s", e.record, strings.Join(pods[:min(len(pods), 8)], " and ")))
			continue
		}
		s.pods[e.pod] = append(s.pods[e.pod], e.addr)
	}
	return s, append(bad, strangers(records)...)
}

// strangers are the records of the meta bucket that no release wrote.
func strangers(records []record) (bad []string) {
	for _, r := range records {
		if r.bucket == metaBucket && !slices.ContainsFunc(families(), func(f family) bool { return f.last == string(r.key) }) {
			bad = append(bad, fmt.Sprintf("%s: nobody wrote that", r))
		}
	}
	return bad
}
