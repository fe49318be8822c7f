package filter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func num(n uint32) *uint32      { return &n }

func ranges(t *testing.T, texts ...string) []Range {
	t.Helper()
	var rs []Range
	for _, s := range texts {
		r, err := ParseRange(s)
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, r)
	}
	return rs
}

func patterns(t *testing.T, texts ...string) []Pattern {
	t.Helper()
	var ps []Pattern
	for _, s := range texts {
		p, err := ParseCommunity(s, true)
		if strings.Count(s, ":") == 2 {
			p, err = ParseLarge(s, true)
		}
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	return ps
}

func asPatterns(t *testing.T, text string) []ASPattern {
	t.Helper()
	p, err := ParseASPattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return []ASPattern{p}
}

// show is an outcome on one line.
func show(o Outcome) string {
	verdict := "refused"
	if o.Accepted {
		verdict = "accepted"
	}
	s := fmt.Sprintf("%s by %s", verdict, o.Rule)
	for _, c := range o.Changes {
		s += fmt.Sprintf("; %s: %s", c.Rule, c.Set)
	}
	return s
}

func TestImport(t *testing.T) {
	tor := Peer{Name: "tor1", Kind: ToR, Session: External, LocalAS: 65101}
	gateway := Peer{Name: "gw-b", Kind: Gateway, Session: External, LocalAS: 65101}
	other := Peer{Name: "tor2", Kind: ToR, Session: External, LocalAS: 65201, OwnAS: 65101, AllowOwnAS: 1}
	pools := []netip.Prefix{pfx("10.64.0.0/16"), pfx("2001:db8:64::/48")}
	own := []Range{Within(pfx("10.64.1.0/26")), Exactly(pfx("192.0.2.0/24"))}
	all := Rule{Name: "f/all", Verdict: Accept}
	tests := []struct {
		name  string
		peer  Peer
		rules []Rule
		path  Path
		want  string
	}{
		{"a pool's prefix", tor, nil, Path{Prefix: pfx("10.64.3.0/26")}, "accepted by pools"},
		{"a whole pool", gateway, nil, Path{Prefix: pfx("2001:db8:64::/48")}, "accepted by pools"},
		{"more than a pool", tor, nil, Path{Prefix: pfx("10.0.0.0/8")}, "refused by the-rest"},
		{"the default from a ToR", tor, nil, Path{Prefix: pfx("0.0.0.0/0")}, "accepted by default"},
		{"the other default", tor, nil, Path{Prefix: pfx("::/0")}, "accepted by default"},
		{"the default from a gateway", gateway, nil, Path{Prefix: pfx("0.0.0.0/0")}, "refused by the-rest"},
		{"a loop", tor, []Rule{all}, Path{Prefix: pfx("10.64.3.0/26"), ASPath: []uint32{65001, 65101}}, "refused by loop"},
		{"a loop by our other AS", other, nil, Path{Prefix: pfx("10.64.3.0/26"), ASPath: []uint32{65001, 65201}}, "accepted by pools"},
		{"twice by our other AS", other, nil, Path{Prefix: pfx("10.64.3.0/26"), ASPath: []uint32{65001, 65101, 7, 65101}}, "refused by loop"},
		{"AS 0", tor, nil, Path{Prefix: pfx("10.64.3.0/26"), ASPath: []uint32{65001, 0}}, "refused by as-path"},
		{"an AS_SET, before all rules", tor, []Rule{all}, Path{Prefix: pfx("8.0.0.0/8"), NoSequence: true}, "refused by as-path"},
		{
			"graceful shutdown", tor, nil,
			Path{Prefix: pfx("10.64.3.0/26"), Communities: []Community{GracefulShutdown}},
			"accepted by pools; graceful-shutdown: local-preference 1",
		},
		{
			"a preference does not outlast it", tor,
			[]Rule{{Name: "f/prefer", Set: Set{LocalPref: num(200)}}},
			Path{Prefix: pfx("10.64.3.0/26"), Communities: []Community{GracefulShutdown}},
			"accepted by pools; graceful-shutdown: local-preference 1; f/prefer: local-preference 200; graceful-shutdown: local-preference 1",
		},
		{
			"a preference", tor,
			[]Rule{{Name: "f/prefer", Set: Set{LocalPref: num(200)}}},
			Path{Prefix: pfx("0.0.0.0/0")},
			"accepted by default; f/prefer: local-preference 200",
		},
		{"accepting all is not accepting bogons", tor, []Rule{all}, Path{Prefix: pfx("192.168.7.0/24")}, "refused by bogons"},
		{"nor inside of them", tor, []Rule{all}, Path{Prefix: pfx("fd00:1::/64")}, "refused by bogons"},
		{"but others", tor, []Rule{all}, Path{Prefix: pfx("8.8.8.0/24")}, "accepted by f/all"},
		{"and the default", gateway, []Rule{all}, Path{Prefix: pfx("::/0")}, "accepted by f/all"},
		{"and pools", tor, []Rule{all}, Path{Prefix: pfx("10.64.3.0/26")}, "accepted by f/all"},
		{
			"a bogon that is named", tor,
			[]Rule{{Name: "f/lan", Match: Match{Prefixes: ranges(t, "192.168.0.0/16 le 24")}, Verdict: Accept}},
			Path{Prefix: pfx("192.168.7.0/24")},
			"accepted by f/lan",
		},
		{
			"one that is not", tor,
			[]Rule{{Name: "f/lan", Match: Match{Prefixes: ranges(t, "192.168.0.0/16 le 24", "0.0.0.0/0 le 24")}, Verdict: Accept}},
			Path{Prefix: pfx("172.16.0.0/16")},
			"refused by bogons",
		},
		{
			"only of the rule's family", tor,
			[]Rule{{Name: "f/six", Match: Match{Family: IPv6}, Verdict: Accept}},
			Path{Prefix: pfx("192.168.7.0/24")},
			"refused by the-rest",
		},
		{
			"a rule may refuse a pool", tor,
			[]Rule{{Name: "f/no", Match: Match{Prefixes: ranges(t, "10.64.9.0/24 ge 24")}, Verdict: Reject}},
			Path{Prefix: pfx("10.64.9.64/26")},
			"refused by f/no",
		},
		{"our block, whatever a rule says", gateway, []Rule{all}, Path{Prefix: pfx("10.64.1.0/26")}, "refused by own-prefix"},
		{"a part of it", gateway, []Rule{all}, Path{Prefix: pfx("10.64.1.32/27")}, "refused by own-prefix"},
		{"more than it", tor, nil, Path{Prefix: pfx("10.64.0.0/16")}, "accepted by pools"},
		{"what we announce", tor, []Rule{all}, Path{Prefix: pfx("192.0.2.0/24")}, "refused by own-prefix"},
		{"a rule for others", tor, []Rule{
			{Name: "f/a", Peers: []string{"tor2"}, Verdict: Reject},
			{Name: "f/b", Kinds: []Kind{Gateway, Reflector}, Verdict: Reject},
			{Name: "f/c", Session: Internal, Verdict: Reject},
			{Name: "f/d", Peers: []string{"tor1", "tor2"}, Kinds: []Kind{ToR}, Session: External, Verdict: Reject},
		}, Path{Prefix: pfx("0.0.0.0/0")}, "refused by f/d"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.path.Source == 0 {
				tt.path.Source = ByEBGP
			}
			if diff := cmp.Diff(tt.want, show(Evaluate(Import(tt.peer, own, pools, tt.rules), tt.path))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What bogons are refused by a rule is exactly what is in a bogon, in no pool, and in
// no range of the rule's own within a bogon.
func TestBogonsByBruteForce(t *testing.T) {
	pools := []netip.Prefix{pfx("10.64.0.0/16"), pfx("100.0.0.0/8")}
	lists := [][]Range{
		nil, ranges(t, "0.0.0.0/0 le 32"), ranges(t, "8.0.0.0/5 ge 9 le 17"), ranges(t, "10.0.0.0/8", "0.0.0.0/0 ge 12 le 24"),
		ranges(t, "172.0.0.0/8 le 16"), ranges(t, "1.0.0.0/8 le 24"), ranges(t, "96.0.0.0/4 ge 8"),
	}
	inside := func(p netip.Prefix, of []netip.Prefix) bool {
		return slices.ContainsFunc(of, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) })
	}
	for _, list := range lists {
		steps := Import(Peer{Kind: Gateway}, nil, nil, nil)
		steps = append(steps[:len(steps):len(steps)], apart(Rule{Name: "f/x", Match: Match{Prefixes: list}, Verdict: Accept}, pools)...)
		for _, text := range []string{"0.0.0.0", "8.8.8.0", "10.0.0.0", "10.64.0.0", "10.64.3.0", "96.0.0.0", "100.64.0.0", "100.128.0.0", "172.16.0.0", "172.128.0.0", "224.0.0.0"} {
			for bits := range 33 {
				p := netip.PrefixFrom(netip.MustParseAddr(text), bits).Masked()
				matched := list == nil
				named := false
				for _, r := range list {
					if r.Matches(p) {
						matched = true
						named = named || inside(r.Prefix, bogons())
					}
				}
				want := NoRule
				switch {
				case matched && inside(p, bogons()) && !named && !inside(p, pools):
					want = Bogons
				case matched:
					want = "f/x"
				}
				if got := Evaluate(steps, Path{Prefix: p, Source: ByEBGP}).Rule; got != want {
					t.Errorf("%s through %v: %s, want %s", p, list, got, want)
				}
			}
		}
	}
}

func TestExport(t *testing.T) {
	tor := Peer{Name: "tor1", Kind: ToR, Session: External, LocalAS: 65101}
	client := Peer{Name: "gw-b", Kind: Gateway, Session: Internal, LocalAS: 65101, Reflect: true}
	drained := Peer{Name: "gw-b", Kind: Gateway, Session: Internal, LocalAS: 65101, Drain: true}
	mark := Rule{Name: "f/mark", Match: Match{Communities: patterns(t, "65000:*")}, Set: Set{
		MED: num(7), Large: Change{Add, patterns(t, "65000:1:2")}, Prepend: 2,
	}}
	none := Rule{Name: "f/none", Match: Match{Prefixes: ranges(t, "10.64.1.0/26")}, Verdict: Reject}
	yes := Rule{Name: "f/yes", Verdict: Accept}
	tests := []struct {
		name  string
		peer  Peer
		rules []Rule
		path  Path
		want  string
	}{
		{"our own", tor, nil, Path{Source: Own}, "accepted by own-only"},
		{"learned", tor, nil, Path{Source: ByEBGP}, "refused by own-only"},
		{"learned, whatever a rule says", tor, []Rule{yes}, Path{Source: ByIBGP}, "refused by own-only"},
		{"reflected", client, nil, Path{Source: ByIBGP}, "accepted by own-only"},
		{"learned outside", client, []Rule{yes}, Path{Source: ByEBGP}, "refused by own-only"},
		{"refused", tor, []Rule{none}, Path{Source: Own}, "refused by f/none"},
		{
			"marked", tor,
			[]Rule{mark, yes},
			Path{Source: Own, ASPath: []uint32{65101}, Communities: []Community{65000<<16 | 5}},
			"accepted by f/yes; f/mark: med 7, add-large-communities 65000:1:2, prepend 2",
		},
		{
			"drained", drained,
			[]Rule{{Name: "f/strip", Set: Set{Communities: Change{Op: Replace}, LocalPref: num(200)}}},
			Path{Source: Own},
			"accepted by own-only; drain: local-preference 1, add-communities graceful-shutdown; f/strip: set-communities graceful-shutdown",
		},
		{
			"not prepended inside of an AS", client,
			[]Rule{mark},
			Path{Source: Own, Communities: []Community{65000<<16 | 5}},
			"accepted by own-only; f/mark: med 7, add-large-communities 65000:1:2",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.path.Prefix = pfx("10.64.1.0/26")
			if diff := cmp.Diff(tt.want, show(Evaluate(Export(tt.peer, tt.rules), tt.path))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestChanges(t *testing.T) {
	path := Path{
		Prefix: pfx("10.64.1.0/26"), ASPath: []uint32{65001, 65002}, LocalPref: 100,
		Communities: []Community{65000<<16 | 1, 65000<<16 | 2, 65001<<16 | 1}, Large: []LargeCommunity{{65000, 1, 2}},
	}
	tests := []struct {
		name string
		set  Set
		want func(*Path)
	}{
		{"preference", Set{LocalPref: num(200)}, func(p *Path) { p.LocalPref = 200 }},
		{"MED", Set{MED: num(0)}, func(p *Path) { p.MED = num(0) }},
		{"add", Set{Communities: Change{Add, patterns(t, "no-export")}, Large: Change{Add, patterns(t, "1:2:3")}}, func(p *Path) {
			p.Communities = []Community{65000<<16 | 1, 65000<<16 | 2, 65001<<16 | 1, 0xffffff01}
			p.Large = []LargeCommunity{{65000, 1, 2}, {1, 2, 3}}
		}},
		{"remove", Set{Communities: Change{Remove, patterns(t, "65000:*")}, Large: Change{Remove, patterns(t, "65000:*:2")}}, func(p *Path) {
			p.Communities, p.Large = []Community{65001<<16 | 1}, []LargeCommunity{}
		}},
		{"replace", Set{Communities: Change{Replace, patterns(t, "1:1")}, Large: Change{Op: Replace}}, func(p *Path) {
			p.Communities, p.Large = []Community{1<<16 | 1}, nil
		}},
		{"prepend what is first", Set{Prepend: 2}, func(p *Path) { p.ASPath = []uint32{65001, 65001, 65001, 65002} }},
		{"prepend our own", Set{Prepend: 1, PrependAS: 65101}, func(p *Path) { p.ASPath = []uint32{65101, 65001, 65002} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := path
			tt.want(&want)
			got := tt.set.apply(path)
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMatch(t *testing.T) {
	path := Path{
		Prefix: pfx("10.64.1.0/26"), Source: ByEBGP, ASPath: []uint32{65001, 65103},
		Communities: []Community{65000<<16 | 1}, Large: []LargeCommunity{{65000, 1, 2}},
	}
	tests := []struct {
		name string
		m    Match
		want bool
	}{
		{"nothing asked", Match{}, true},
		{"family", Match{Family: IPv4}, true},
		{"the other family", Match{Family: IPv6}, false},
		{"one of two prefixes", Match{Prefixes: ranges(t, "1.0.0.0/8", "10.0.0.0/8 ge 24 le 26")}, true},
		{"too long", Match{Prefixes: ranges(t, "10.0.0.0/8 ge 24 le 25")}, false},
		{"community", Match{Communities: patterns(t, "65000:2", "65000:*")}, true},
		{"no such community", Match{Communities: patterns(t, "65000:2")}, false},
		{"large community", Match{Large: patterns(t, "65000:*:2")}, true},
		{"no such large community", Match{Large: patterns(t, "65000:*:1")}, false},
		{"neighbour and origin", Match{ASPaths: asPatterns(t, "65001 * 65103")}, true},
		{"other origin", Match{ASPaths: asPatterns(t, "* 65001")}, false},
		{"length", Match{MinLength: 2, MaxLength: 2}, true},
		{"shorter", Match{MinLength: 3}, false},
		{"longer", Match{MaxLength: 1}, false},
		{"source", Match{From: []Source{Own, ByIBGP}}, false},
		{"all but one", Match{Family: IPv4, Communities: patterns(t, "65000:1"), MaxLength: 1}, false},
	}
	for _, tt := range tests {
		if got := tt.m.holds(path); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
