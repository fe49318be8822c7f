//go:build net

package bgp

import (
	"path"
	"slices"
	"testing"
)

// deviation is where GoBGP does not do what the RFCs say, and why that is borne.
type deviation struct {
	cases  []string // of path.Match
	but    []string
	got    action
	reason string
}

// deviations are all that are known. netd/DESIGN.md tells of them too.
func deviations() []deviation {
	return []deviation{
		{
			[]string{"*: 0xffff", "MP_*: optional bit", "MP_*: transitive bit", "attributes end within one"},
			[]string{"MP_*: 0xffff"},
			ignore,
			"GoBGP treats as withdraw what it has read, and it has not read the prefixes: the former route stays. Only the neighbour itself can send this.",
		},
		{[]string{"LOCAL_PREF: length 0", "LOCAL_PREF: one *"}, nil, withdraw, "harder than asked for: the route is lost, the session is not"},
		{[]string{"ORIGINATOR_ID: length 0", "ORIGINATOR_ID: one *", "CLUSTER_LIST: one *"}, nil, withdraw, "harder than asked for"},
		{[]string{"AS4_PATH: one *"}, nil, withdraw, "harder than asked for"},
		{[]string{"AS4_AGGREGATOR: *"}, []string{"*: 0xffff"}, reset, "the session is lost; an attribute that crosses networks, but peers of the last twenty years do not pass it on"},
		{[]string{"ORIGINATOR_ID: good", "ORIGINATOR_ID: twice", "ORIGINATOR_ID: first"}, nil, accepted, "kept and without effect: nothing learned from an external peer is reflected"},
		{[]string{"CLUSTER_LIST: good", "CLUSTER_LIST: twice", "CLUSTER_LIST: first", "CLUSTER_LIST: length 0"}, nil, accepted, "kept and without effect"},
		{[]string{"COMMUNITIES: length 0", "EXTENDED_COMMUNITIES: length 0", "IPV6_EXT_COMMUNITIES: length 0", "LARGE_COMMUNITY: length 0"}, nil, accepted, "an empty list is a list of nothing"},
		{[]string{"PMSI_TUNNEL: one *", "TUNNEL_ENCAP: length 0", "TUNNEL_ENCAP: one more", "PREFIX_SID: one more"}, nil, accepted, "nobody here reads these attributes"},
		{[]string{"announced and withdrawn in one"}, nil, withdraw, "a SHOULD"},
		{[]string{"a KEEPALIVE with a body", "a second OPEN"}, nil, ignore, "without effect"},
	}
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		if err != nil {
			panic(err)
		}
		return ok
	})
}

// judge holds what became of the cases against the RFCs and the list of
// deviations, of which each must be seen.
func judge(t *testing.T, cases []robustCase, got []action) {
	t.Helper()
	list := deviations()
	for i, c := range cases {
		known := slices.IndexFunc(list, func(d deviation) bool { return matchesAny(d.cases, c.name) && !matchesAny(d.but, c.name) })
		switch deviates := got[i]&c.want == 0; {
		case known >= 0 && !deviates:
			t.Errorf("%s: %v, as %s wants it: no deviation any more", c.name, got[i], c.source)
		case known >= 0 && got[i] != list[known].got:
			t.Errorf("%s: %v, a deviation from %v (%s), but not the known one, %v", c.name, got[i], c.want, c.source, list[known].got)
		case known < 0 && deviates:
			t.Errorf("%s: %v, want %v (%s)", c.name, got[i], c.want, c.source)
		}
	}
}
