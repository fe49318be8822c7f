package bgp

import (
	"bufio"
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// noted is what the agent makes of hints.
func noted(t *testing.T, h *hints) *changes {
	t.Helper()
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	h.write(w)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	c := newChanges()
	c.take()
	for line := range strings.Lines(b.String()) {
		if err := c.note(strings.TrimSuffix(line, "\n")); err != nil {
			t.Error(err)
		}
	}
	return c
}

func TestHints(t *testing.T) {
	path := func(p string, withdrawal bool) *apiutil.Path {
		nlri, err := bgp.NewIPAddrPrefix(pfx(p))
		if err != nil {
			t.Fatal(err)
		}
		return &apiutil.Path{Nlri: nlri, PeerAddress: ip("10.0.1.1"), Withdrawal: withdrawal}
	}
	h := newHints()
	h.paths([]*apiutil.Path{path("10.64.3.0/26", false), path("2001:db8::/64", false)})
	h.paths([]*apiutil.Path{path("10.64.3.0/26", true)})
	c := noted(t, h)
	want := map[netip.Prefix]struct{}{pfx("10.64.3.0/26"): {}, pfx("2001:db8::/64"): {}}
	if diff := cmp.Diff(want, c.prefixes, addresses()); diff != "" || c.all || c.announced[ip("10.0.1.1")] != 2 {
		t.Errorf("all %t, announced %v, prefixes (-want +got):\n%s", c.all, c.announced, diff)
	}
	h.everything()
	if c := noted(t, h); !c.all || len(c.prefixes) > 0 || len(c.announced) > 0 {
		t.Errorf("after everything, which is told once: %+v", c)
	}
	if c := noted(t, h); c.all {
		t.Error("everything is told again")
	}
	for _, line := range []string{"", "10.0.0.0", "10.0.0.0/33", "peer", "peer 10.0.1.1", "peer x 1", "peer 10.0.1.1 -1"} {
		if err := c.note(line); err == nil {
			t.Errorf("%q is no error", line)
		}
	}
}

// A peer is suspected by what it has announced since it was counted.
func TestMayHave(t *testing.T) {
	c, tor := newChanges(), ip("10.0.1.1")
	c.announced[tor] = 120
	if got := c.mayHave(tor); got != 120 {
		t.Errorf("it may have %d", got)
	}
	c.count(tor, 120, 40)
	c.announced[tor] = 125
	if got := c.mayHave(tor); got != 45 {
		t.Errorf("it may have %d, want 40 and 5", got)
	}
}

func FuzzHint(f *testing.F) {
	for _, line := range []string{"all", "peer 10.0.1.1 7", "10.64.3.0/26", "2001:db8::/64", "peer fe80::1%eth0 1"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c := newChanges()
		if err := c.note(line); err != nil && (len(c.prefixes) > 0 || len(c.announced) > 0) {
			t.Errorf("%q is an error and noted", line)
		}
	})
}
