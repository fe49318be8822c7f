package child

import (
	"bufio"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// told are the hints that the agent would be told now, sorted.
func told(t *testing.T, h *hints) []string {
	t.Helper()
	var b strings.Builder
	w := bufio.NewWriter(&b)
	h.write(w)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	all := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if b.Len() == 0 {
		all = nil
	}
	slices.Sort(all)
	return all
}

func TestHints(t *testing.T) {
	path := func(p string, withdrawal bool) *apiutil.Path {
		nlri, err := bgp.NewIPAddrPrefix(netip.MustParsePrefix(p))
		if err != nil {
			t.Fatal(err)
		}
		return &apiutil.Path{Nlri: nlri, PeerAddress: netip.MustParseAddr("10.0.1.1"), Withdrawal: withdrawal}
	}
	h := newHints()
	h.paths([]*apiutil.Path{path("10.64.3.0/26", false), path("2001:db8::/64", false)})
	h.paths([]*apiutil.Path{path("10.64.3.0/26", true)})
	if diff := cmp.Diff([]string{"10.64.3.0/26", "2001:db8::/64", "peer 10.0.1.1 2"}, told(t, h)); diff != "" {
		t.Errorf("hints (-want +got):\n%s", diff)
	}
	h.everything()
	if diff := cmp.Diff([]string{"all"}, told(t, h)); diff != "" {
		t.Errorf("after everything (-want +got):\n%s", diff)
	}
	if again := told(t, h); len(again) > 0 {
		t.Errorf("told again: %q", again)
	}
}
