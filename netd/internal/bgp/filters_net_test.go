//go:build net

package bgp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/osrg/gobgp/v4/api"

	"netd/firmware/lab"
	"netd/netd/internal/filter"
	"netd/netd/internal/ownnet"
)

// sent is a path as a ToR sends it; its own AS comes in front.
type sent struct {
	prefix      string // N stands for 100 at BIRD and 200 at FRR
	path        []uint32
	communities []string
	large       []string
	med         uint32
}

func (s sent) at(tor int) string { return strings.ReplaceAll(s.prefix, "N", fmt.Sprint(100*tor)) }

// inBIRD is the path as a part of an export filter.
func (s sent) inBIRD() string {
	b := fmt.Sprintf("if net = %s then { bgp_med = %d; ", s.at(birdToR), s.med)
	for _, as := range slices.Backward(s.path) {
		b += fmt.Sprintf("bgp_path.prepend(%d); ", as)
	}
	for _, c := range s.communities {
		b += fmt.Sprintf("bgp_community.add((%s)); ", strings.ReplaceAll(c, ":", ","))
	}
	for _, c := range s.large {
		b += fmt.Sprintf("bgp_large_community.add((%s)); ", strings.ReplaceAll(c, ":", ","))
	}
	return b + "accept; }\n"
}

// inFRR is the path as a part of a route map.
func (s sent) inFRR(seq int) string {
	b := fmt.Sprintf("ip prefix-list p%d seq 5 permit %s\nroute-map out permit %[1]d\n match ip address prefix-list p%[1]d\n set metric %[3]d\n", seq, s.at(frrToR), s.med)
	for name, words := range map[string][]string{"community": s.communities, "large-community": s.large} {
		if words != nil {
			b += fmt.Sprintf(" set %s %s\n", name, strings.Join(words, " "))
		}
	}
	if s.path != nil {
		b += " set as-path prepend " + strings.Trim(fmt.Sprint(s.path), "[]") + "\n"
	}
	return b + "!\n"
}

func parse[T any](t *testing.T, parse func(string) (T, error), texts ...string) []T {
	t.Helper()
	var list []T
	for _, s := range texts {
		v, err := parse(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

func communities(t *testing.T, texts ...string) []filter.Pattern {
	t.Helper()
	return parse(t, func(s string) (filter.Pattern, error) {
		if strings.Count(s, ":") == 2 {
			return filter.ParseLarge(s, true)
		}
		return filter.ParseCommunity(s, true)
	}, texts...)
}

func number(n uint32) *uint32 { return &n }

// mark is a rule with one condition, which sets the MED, by which it can be seen whom
// it matches and whom not.
func mark(med uint32, m filter.Match) filter.Rule {
	return filter.Rule{Name: fmt.Sprintf("in/mark-%d", med), Match: m, Set: filter.Set{MED: number(med)}}
}

// imported is a path that the ToRs send, the rule that is for it, and what is to become
// of it: AS is the ToR's.
type imported struct {
	name string
	sent sent
	rule filter.Rule
	want string // empty: refused
}

func imports(t *testing.T) []imported {
	t.Helper()
	ranges := func(texts ...string) []filter.Range { return parse(t, filter.ParseRange, texts...) }
	form := func(texts ...string) []filter.ASPattern { return parse(t, filter.ParseASPattern, texts...) }
	on := func(community string) filter.Match { return filter.Match{Communities: communities(t, community)} }
	list := []imported{
		{"no rule", sent{med: 1}, filter.Rule{}, "med 1, path AS"},
		{"prefix", sent{}, mark(11, filter.Match{Prefixes: ranges("10.64.102.0/26", "10.64.202.0/26")}), "med 11, path AS"},
		{"length", sent{prefix: "10.64.N.0/29"}, mark(12, filter.Match{Prefixes: ranges("10.64.0.0/16 ge 28 le 30")}), "med 12, path AS"},
		{"community", sent{communities: []string{"65000:13"}}, mark(13, on("65000:13")), "med 13, path AS, communities 65000:13"},
		{"any community of", sent{communities: []string{"65014:7"}}, mark(14, on("65014:*")), "med 14, path AS, communities 65014:7"},
		{"large community", sent{large: []string{"4200000000:1:15"}}, mark(15, filter.Match{Large: communities(t, "4200000000:1:15")}), "med 15, path AS, large 4200000000:1:15"},
		{"any large community of", sent{large: []string{"4200000016:1:2"}}, mark(16, filter.Match{Large: communities(t, "4200000016:*:2")}), "med 16, path AS, large 4200000016:1:2"},
		{"contains", sent{path: []uint32{65017, 65099}}, mark(17, filter.Match{ASPaths: form("* 65017 *")}), "med 17, path AS 65017 65099"},
		{"originates", sent{path: []uint32{65099, 65018}}, mark(18, filter.Match{ASPaths: form("* 65018")}), "med 18, path AS 65099 65018"},
		{"form", sent{path: []uint32{65099, 4200000019}}, mark(19, filter.Match{ASPaths: form("? ? 4200000019")}), "med 19, path AS 65099 4200000019"},
		{"AS path length", sent{path: []uint32{1, 2, 3, 4}}, mark(20, filter.Match{MinLength: 4, MaxLength: 5}), "med 20, path AS 1 2 3 4"},
		{"neighbour", sent{communities: []string{"65021:1"}}, mark(21, filter.Match{ASPaths: form("65001 *", "65002 *"), Communities: communities(t, "65021:1")}), "med 21, path AS, communities 65021:1"},
		{"reject", sent{communities: []string{"65022:1"}}, filter.Rule{Name: "in/reject", Match: on("65022:1"), Verdict: filter.Reject}, ""},
		{"accept what is named", sent{prefix: "172.16.N.0/24"}, filter.Rule{Name: "in/named", Match: filter.Match{Prefixes: ranges("172.16.0.0/12 le 24")}, Verdict: filter.Accept}, "med 0, path AS"},
		{"accept what is not a bogon", sent{prefix: "8.8.N.0/24", communities: []string{"65024:1"}}, filter.Rule{Name: "in/any", Match: on("65024:1"), Verdict: filter.Accept}, "med 0, path AS, communities 65024:1"},
		{"a bogon", sent{prefix: "192.168.N.0/24", communities: []string{"65024:1"}}, filter.Rule{}, ""},
		{"nobody asks for it", sent{prefix: "9.9.N.0/24"}, filter.Rule{}, ""},
		{"local preference", sent{communities: []string{"65027:1"}}, filter.Rule{Name: "in/pref", Match: on("65027:1"), Set: filter.Set{LocalPref: number(300)}}, "pref 300, med 0, path AS, communities 65027:1"},
		{"graceful shutdown", sent{communities: []string{"65027:1", "65535:0"}}, filter.Rule{}, "pref 1, med 0, path AS, communities 65027:1 graceful-shutdown"},
		{"MED", sent{med: 9, communities: []string{"65029:1"}}, filter.Rule{Name: "in/med", Match: on("65029:1"), Set: filter.Set{MED: number(0)}}, "med 0, path AS, communities 65029:1"},
		{"prepend", sent{path: []uint32{65099}, communities: []string{"65030:1"}}, filter.Rule{Name: "in/prepend", Match: on("65030:1"), Set: filter.Set{Prepend: 2}}, "med 0, path AS AS AS 65099, communities 65030:1"},
		{"only from BIRD", sent{communities: []string{"65031:1"}}, filter.Rule{Name: "in/bird", Peers: []string{"bird"}, Kinds: []filter.Kind{filter.ToR}, Session: filter.External, Match: on("65031:1"), Set: filter.Set{MED: number(31)}}, "med 31 or 0, path AS, communities 65031:1"},
		{"for others", sent{communities: []string{"65032:1"}}, filter.Rule{Name: "in/others", Kinds: []filter.Kind{filter.Gateway, filter.Reflector}, Match: on("65032:1"), Verdict: filter.Reject}, "med 0, path AS, communities 65032:1"},
	}
	change := func(community, large filter.Change) filter.Set {
		return filter.Set{Communities: community, Large: large}
	}
	for i, c := range []struct {
		name string
		op   filter.Op
		list []string
		want string
	}{
		{"add", filter.Add, []string{"1:9"}, "1:9 65000:7 65040:1"},
		{"remove", filter.Remove, []string{"65000:*"}, "65041:1"},
		{"set", filter.Replace, []string{"1:9"}, "1:9"},
		{"set none", filter.Replace, nil, ""},
	} {
		own := fmt.Sprintf("6504%d:1", i)
		want := "med 0, path AS"
		if c.want != "" {
			want += ", communities " + c.want
		}
		list = append(list, imported{c.name, sent{communities: []string{own, "65000:7"}}, filter.Rule{Name: "in/" + c.name, Match: on(own), Set: change(filter.Change{Op: c.op, List: communities(t, c.list...)}, filter.Change{})}, want})
	}
	for i, c := range []struct {
		name string
		op   filter.Op
		list []string
		want string
	}{
		{"add large", filter.Add, []string{"1:9:9"}, "1:2:3 1:9:9"},
		{"remove large", filter.Remove, []string{"1:*:3"}, ""},
		{"set large", filter.Replace, []string{"1:9:9"}, "1:9:9"},
	} {
		own := fmt.Sprintf("6505%d:1", i)
		want := "med 0, path AS, communities " + own
		if c.want != "" {
			want += ", large " + c.want
		}
		list = append(list, imported{c.name, sent{communities: []string{own}, large: []string{"1:2:3"}}, filter.Rule{Name: "in/" + c.name, Match: on(own), Set: change(filter.Change{}, filter.Change{Op: c.op, List: communities(t, c.list...)})}, want})
	}
	for i := range list {
		if list[i].sent.prefix == "" {
			list[i].sent.prefix = fmt.Sprintf("10.64.%s.%d/26", "N", 0)
		}
		list[i].sent.prefix = strings.Replace(list[i].sent.prefix, "N", fmt.Sprintf("N+%d", i), 1)
	}
	return list
}

// number the prefix: N+i.
func (s sent) numbered(tor int) sent {
	m := regexp.MustCompile(`N\+(\d+)`).FindStringSubmatch(s.prefix)
	var i int
	_, _ = fmt.Sscan(m[1], &i)
	s.prefix = strings.Replace(s.prefix, m[0], fmt.Sprint(100*tor+i+1), 1)
	return s
}

// text is a path in words; what is as always is left out, and communities are in their
// order, which the ToRs put them in.
func text(p filter.Path) string {
	var words []string
	p.Communities, p.Large = slices.Sorted(slices.Values(p.Communities)), slices.Clone(p.Large)
	slices.SortFunc(p.Large, func(a, b filter.LargeCommunity) int { return slices.Compare(a[:], b[:]) })
	if p.LocalPref != filter.DefaultLocalPref {
		words = append(words, fmt.Sprintf("pref %d", p.LocalPref))
	}
	if p.MED != nil {
		words = append(words, fmt.Sprintf("med %d", *p.MED))
	}
	words = append(words, strings.TrimSpace("path "+strings.Trim(fmt.Sprint(p.ASPath), "[]")))
	if len(p.Communities) > 0 {
		words = append(words, "communities "+strings.Trim(fmt.Sprint(p.Communities), "[]"))
	}
	if len(p.Large) > 0 {
		words = append(words, "large "+strings.Trim(fmt.Sprint(p.Large), "[]"))
	}
	return strings.Join(words, ", ")
}

func torAS(tor int) string { return fmt.Sprint(65000 + tor) }

// filterToRs starts a BIRD and an FRR that send all that imports has.
func filterToRs(t *testing.T, s *site, list []imported) (*lab.Bird, *lab.FRR) {
	t.Helper()
	birdText := birdHead + "protocol static { ipv4;\n"
	export := ""
	frrText := "router bgp 65002\n bgp router-id 10.0.2.1\n no bgp ebgp-requires-policy\n no bgp network import-check\n neighbor 10.0.2.2 remote-as 65101\n neighbor 10.0.2.2 timers connect 1\n address-family ipv4 unicast\n"
	maps := ""
	for i, c := range list {
		b, f := c.sent.numbered(birdToR), c.sent.numbered(frrToR)
		birdText += fmt.Sprintf("route %s blackhole;\n", b.prefix)
		export += b.inBIRD()
		frrText += fmt.Sprintf("  network %s\n", f.prefix)
		maps += f.inFRR(10 + i)
	}
	birdText += fmt.Sprintf(`}
protocol bgp netd {
	local 10.0.1.1 as 65001;
	neighbor 10.0.1.2 as 65101;
	connect delay time 1; connect retry time 1; error wait time 1, 2;
	ipv4 { import all; export filter { %s reject; }; next hop self; };
}
`, export)
	bird, err := s.hosts[0].Bird(t.Context(), birdText)
	if err != nil {
		t.Fatal(err)
	}
	frr, err := s.hosts[1].FRR(t.Context(), map[string]string{"bgpd": frrText + "  neighbor 10.0.2.2 route-map out out\n exit-address-family\n!\n" + maps})
	if err != nil {
		t.Fatal(err)
	}
	return bird, frr
}

// exported is what we originate, the rule for it, and what the ToR is to have.
type exported struct {
	name   string
	origin Origin
	rule   filter.Rule
	want   string // empty: not told
}

func exports(t *testing.T) []exported {
	t.Helper()
	on := func(n uint32) filter.Match {
		return filter.Match{Communities: []filter.Pattern{filter.Community(65101<<16 | n).Pattern()}}
	}
	origin := func(i int) Origin {
		return Origin{Prefix: pfx(fmt.Sprintf("10.65.%d.0/24", i)), Communities: []filter.Community{filter.Community(65101<<16 | uint32(i))}}
	}
	list := []exported{
		{"plain", Origin{}, filter.Rule{}, "path 65101"},
		{"its own attributes", Origin{Communities: []filter.Community{1<<16 | 2, 65101<<16 | 77}, Large: []filter.LargeCommunity{{1, 2, 3}}, MED: number(77)}, filter.Rule{}, "med 77, path 65101, communities 1:2 65101:77, large 1:2:3"},
		{"by prefix", Origin{}, filter.Rule{Match: filter.Match{Prefixes: parse(t, filter.ParseRange, "10.65.2.0/23 ge 24 le 24")}, Verdict: filter.Reject}, ""},
		{"by community", origin(3), filter.Rule{Match: on(3), Verdict: filter.Reject}, ""},
		{"by large community", Origin{Large: []filter.LargeCommunity{{4, 4, 4}}}, filter.Rule{Match: filter.Match{Large: communities(t, "4:*:4")}, Verdict: filter.Reject}, ""},
		{"by AS path, which is our AS", origin(5), filter.Rule{Match: filter.Match{ASPaths: parse(t, filter.ParseASPattern, "65101"), Communities: on(5).Communities, MinLength: 1, MaxLength: 1}, Verdict: filter.Reject}, ""},
		{"accept, before a rule that rejects", origin(6), filter.Rule{Match: on(6), Verdict: filter.Accept}, "path 65101, communities 65101:6"},
		{"MED", origin(7), filter.Rule{Match: on(7), Set: filter.Set{MED: number(5)}}, "med 5, path 65101, communities 65101:7"},
		{"prepend", origin(8), filter.Rule{Match: on(8), Set: filter.Set{Prepend: 3}}, "path 65101 65101 65101 65101, communities 65101:8"},
		{"add", origin(9), filter.Rule{Match: on(9), Set: filter.Set{Communities: filter.Change{Op: filter.Add, List: communities(t, "1:9")}, Large: filter.Change{Op: filter.Add, List: communities(t, "1:9:9")}}}, "path 65101, communities 1:9 65101:9, large 1:9:9"},
		{"remove", origin(10), filter.Rule{Match: on(10), Set: filter.Set{Communities: filter.Change{Op: filter.Remove, List: communities(t, "65101:*")}}}, "path 65101"},
		{"set", origin(11), filter.Rule{Match: on(11), Set: filter.Set{Communities: filter.Change{Op: filter.Replace, List: communities(t, "1:9")}}}, "path 65101, communities 1:9"},
		{"only to BIRD", origin(12), filter.Rule{Peers: []string{"frr"}, Match: on(12), Verdict: filter.Reject}, "path 65101, communities 65101:12, or not"},
		{"to others", origin(13), filter.Rule{Kinds: []filter.Kind{filter.Gateway}, Match: on(13), Verdict: filter.Reject}, "path 65101, communities 65101:13"},
		{"iBGP", origin(14), filter.Rule{Session: filter.Internal, Match: on(14), Verdict: filter.Reject}, "path 65101, communities 65101:14"},
	}
	for i := range list {
		list[i].origin.Prefix = pfx(fmt.Sprintf("10.65.%d.0/24", i))
		list[i].rule.Name = "out/" + list[i].name
	}
	return list
}

// has reads what a ToR has of our prefixes, as text.
func (s *site) has(t *testing.T, tor int, bird *lab.Bird, frr *lab.FRR, p netip.Prefix) (string, error) {
	t.Helper()
	path := filter.Path{LocalPref: filter.DefaultLocalPref}
	if tor == birdToR {
		out, err := bird.Ask(t.Context(), fmt.Sprintf("show route %s all protocol netd", p))
		if err != nil || !strings.Contains(out, "BGP.as_path") {
			return "", nil //nolint:nilerr // BIRD says so by an error
		}
		for line := range strings.Lines(out) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			value = strings.NewReplacer(") (", " ", "(", "", ")", "", ", ", ":", ",", ":").Replace(value)
			read(&path, strings.TrimPrefix(key, "BGP."), strings.Fields(value))
		}
		return text(path), nil
	}
	out, err := frr.Ask(t.Context(), fmt.Sprintf("show bgp ipv4 unicast %s json", p))
	if err != nil {
		return "", err
	}
	var table struct {
		Paths []struct {
			Metric                    *uint32
			ASPath                    struct{ String string }
			Community, LargeCommunity struct{ String string }
		}
	}
	if err := json.Unmarshal([]byte(out), &table); err != nil || len(table.Paths) == 0 {
		return "", err
	}
	got := table.Paths[0]
	path.MED = got.Metric
	read(&path, "as_path", strings.Fields(got.ASPath.String))
	read(&path, "community", strings.Fields(got.Community.String))
	read(&path, "large_community", strings.Fields(got.LargeCommunity.String))
	return text(path), nil
}

// read takes an attribute as BIRD calls it.
func read(p *filter.Path, key string, words []string) {
	for _, w := range words {
		var a, b, c uint32
		_, _ = fmt.Sscanf(w, "%d:%d:%d", &a, &b, &c)
		switch key {
		case "as_path":
			p.ASPath = append(p.ASPath, a)
		case "med":
			p.MED = &a
		case "community":
			if pattern, err := filter.ParseCommunity(w, false); err == nil { // FRR has names
				a, b = pattern[0].Value, pattern[1].Value
			}
			p.Communities = append(p.Communities, filter.Community(a<<16|b))
		case "large_community":
			p.Large = append(p.Large, filter.LargeCommunity{a, b, c})
		}
	}
}

// Each condition and each change, on what a BIRD and an FRR tell and on what they are
// told; then other rules, over the same sessions.
func TestFilters(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		s := newSite(t)
		in, out := imports(t), exports(t)
		c := Config{AS: 65101, RouterID: ip("10.0.1.2"), Port: 179, RestartTime: 120 * time.Second, Pools: []netip.Prefix{pfx("10.64.0.0/16")}}
		session := times(Session{MaxPrefixes: 200})
		for _, r := range in {
			if r.rule.Name != "" {
				session.Import = append(session.Import, r.rule)
			}
		}
		var origins []Origin
		for _, r := range out {
			origins = append(origins, r.origin)
			if r.rule.Verdict != filter.Next || !r.rule.Set.None() {
				session.Export = append(session.Export, r.rule)
			}
		}
		session.Export = append(session.Export, filter.Rule{Name: "out/last", Match: filter.Match{Communities: []filter.Pattern{filter.Community(65101<<16 | 6).Pattern()}}, Verdict: filter.Reject})
		for tor, name := range map[int]string{birdToR: "bird", frrToR: "frr"} {
			p := Peer{Name: name, Address: ip(fmt.Sprintf("10.0.%d.1", tor)), Local: ip(fmt.Sprintf("10.0.%d.2", tor)), Session: session}
			p.AS = uint32(65000 + tor)
			c.Peers = append(c.Peers, p)
		}
		slices.SortFunc(c.Peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
		bird, frr := filterToRs(t, s, in)
		s.speak(t, c)
		s.originate(origins...)
		before := s.established(t, "bird", "frr")
		for tor, name := range map[int]string{birdToR: "bird", frrToR: "frr"} {
			t.Run("from "+name, func(t *testing.T) { s.checkImports(t, tor, in) })
			t.Run("to "+name, func(t *testing.T) { s.checkExports(t, tor, bird, frr, out) })
		}
		s.otherRules(t, c, bird, frr, in, out)
		after := s.established(t, "bird", "frr")
		for _, name := range []string{"bird", "frr"} {
			if was, is := before.peer(name).Since, after.peer(name).Since; was != is {
				t.Errorf("the session with %s was up since %s, and is since %s", name, was, is)
			}
		}
	})
}

// checkImports compares what the speaker has with what the rules are to make of it.
func (s *site) checkImports(t *testing.T, tor int, list []imported) {
	t.Helper()
	want := map[string]string{}
	for _, c := range list {
		text := strings.ReplaceAll(c.want, "AS", torAS(tor))
		if before, alternative, ok := strings.Cut(text, " or 0"); ok {
			if text = before + alternative; tor == frrToR {
				text = "med 0" + alternative
			}
		}
		if c.want != "" {
			want[c.name] = text
		}
	}
	ownnet.Within(t, 30*time.Second, "the paths", func() error {
		got := map[string]string{}
		for prefix, p := range s.learnedPaths(t) {
			for _, c := range list {
				if c.sent.numbered(tor).prefix == prefix.String() {
					got[c.name] = text(p)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return errors.New("(-want +got)\n" + diff)
		}
		return nil
	})
}

func (s *site) learnedPaths(t *testing.T) map[netip.Prefix]filter.Path {
	t.Helper()
	s.mu.Lock()
	client := s.life.client
	s.mu.Unlock()
	return list(t, client, api.TableType_TABLE_TYPE_GLOBAL, "", filter.ByEBGP)
}

func (s *site) checkExports(t *testing.T, tor int, bird *lab.Bird, frr *lab.FRR, list []exported) {
	t.Helper()
	for _, c := range list {
		want, maybe := strings.CutSuffix(c.want, ", or not")
		if maybe && tor == frrToR {
			want = ""
		}
		ownnet.Within(t, 20*time.Second, c.name, func() error {
			got, err := s.has(t, tor, bird, frr, c.origin.Prefix)
			if err == nil && got != want {
				err = fmt.Errorf("%s: the ToR has %q, want %q", c.origin.Prefix, got, want)
			}
			return err
		})
	}
}

// otherRules changes the rules while sessions are up, and holds that both directions
// follow.
func (s *site) otherRules(t *testing.T, c Config, bird *lab.Bird, frr *lab.FRR, in []imported, out []exported) {
	t.Helper()
	all := filter.Rule{Name: "other/all", Match: filter.Match{Family: filter.IPv4}, Set: filter.Set{MED: number(99)}}
	none := filter.Rule{Name: "other/none", Match: filter.Match{MinLength: 1}, Verdict: filter.Reject}
	c = c.Clone()
	for i := range c.Peers {
		c.Peers[i].Import, c.Peers[i].Export = []filter.Rule{all}, []filter.Rule{all}
		if c.Peers[i].Name == "frr" {
			c.Peers[i].Import, c.Peers[i].Export = []filter.Rule{none}, []filter.Rule{none}
		}
	}
	s.configure(c)
	s.until(t, "the other rules", func(snap Snapshot) error {
		pooled := 0
		for _, i := range in {
			if strings.HasPrefix(i.sent.prefix, "10.64.") {
				pooled++
			}
		}
		if bird, frr := len(snap.from("bird")), len(snap.from("frr")); bird != pooled || frr != 0 {
			return fmt.Errorf("%d paths from BIRD, want %d; %d from FRR, want none", bird, pooled, frr)
		}
		return nil
	})
	for prefix, p := range s.learnedPaths(t) {
		if p.MED == nil || *p.MED != 99 {
			t.Errorf("%s: %s", prefix, text(p))
		}
	}
	for _, o := range out {
		ownnet.Within(t, 20*time.Second, "the ToRs", func() error {
			at, err := s.has(t, birdToR, bird, frr, o.origin.Prefix)
			gone, errFRR := s.has(t, frrToR, bird, frr, o.origin.Prefix)
			if !strings.HasPrefix(at, "med 99, path 65101") || gone != "" {
				err = fmt.Errorf("%s: BIRD has %q, FRR %q", o.origin.Prefix, at, gone)
			}
			return errors.Join(err, errFRR)
		})
	}
}
