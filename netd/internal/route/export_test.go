package route

import (
	"net/netip"
	"slices"
)

// Planned is a plan that is applied as a whole, whatever was before.
func Planned(list []Decision) Delta {
	edits := make([]edit, 0, len(list))
	for _, d := range list {
		d.layer = learnedLayer
		edits = append(edits, edit{d.Prefix, learnedLayer, d.Outcome})
	}
	slices.SortStableFunc(edits, compareEdits)
	none := &Decisions{kinds: map[Kind]int{}}
	return Delta{was: none, now: none.edited(edits, func(netip.Prefix, *Outcome, *Outcome) {})}
}

// All is a whole plan as such a delta.
func All(all *Decisions) Delta { return Delta{was: &Decisions{}, now: all} }
