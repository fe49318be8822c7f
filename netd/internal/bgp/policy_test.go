package bgp

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"netd/firmware/lab/patience"
	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/filter"
)

// gobgpd starts a GoBGP in this process, to be spoken to as the agent does.
func gobgpd(t *testing.T, global *api.Global) api.GoBgpServiceClient {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "sock")
	level := new(slog.LevelVar)
	level.Set(slog.LevelError)
	s := server.NewBgpServer(server.GrpcListenAddress("unix://"+socket), server.LoggerOption(slog.New(slog.DiscardHandler), level))
	go s.Serve()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
	})
	client := api.NewGoBgpServiceClient(conn)
	global.Families = []uint32{0, 1} // IPv4 and IPv6 unicast, as GoBGP counts them here
	if _, err := client.StartBgp(t.Context(), &api.StartBgpRequest{Global: global}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	return client
}

// couple is the speaker under test and one that it talks to, over one session.
type couple struct {
	t      *testing.T
	config Config
	a, b   api.GoBgpServiceClient
	run    *life

	accepted, refused, changed int
	chains                     gobgp.Neighbors
}

func freePort(t *testing.T) uint32 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return uint32(port)
}

func newCouple(t *testing.T, peerAS uint32) *couple {
	t.Helper()
	port := freePort(t)
	c := &couple{t: t, config: Config{AS: 65101, Pools: []netip.Prefix{pfx("10.64.0.0/16"), pfx("2001:db8:64::/48")}}}
	c.config.Peers = []Peer{{Name: "tor1", Address: ip("127.0.0.2"), NextHop: ip("2001:db8::1"), Session: Session{AS: peerAS}}}
	if peerAS != c.config.AS {
		c.config.Peers[0].LocalAS = 65012 // for loops: GoBGP tells nobody paths that have his own AS
	}
	c.a = gobgpd(t, &api.Global{Asn: 65101, RouterId: "10.0.0.1", ListenPort: int32(port), ListenAddresses: []string{"127.0.0.1"}})
	c.b = gobgpd(t, &api.Global{Asn: peerAS, RouterId: "10.0.0.2", ListenPort: -1})
	c.run = newLife(c.a, false)
	c.filter(nil, nil)
	families := []*api.AfiSafi{
		{Config: &api.AfiSafiConfig{Family: gobgp.APIFamily(filter.IPv4), Enabled: true}}, {Config: &api.AfiSafiConfig{Family: gobgp.APIFamily(filter.IPv6), Enabled: true}},
	}
	for client, p := range map[api.GoBgpServiceClient]*api.Peer{
		c.a: {Conf: &api.PeerConf{NeighborAddress: "127.0.0.2", PeerAsn: peerAS, AllowOwnAsn: 255}, Transport: &api.Transport{PassiveMode: true, LocalAddress: "127.0.0.1"}},
		c.b: {Conf: &api.PeerConf{NeighborAddress: "127.0.0.1", PeerAsn: 65101}, Transport: &api.Transport{LocalAddress: "127.0.0.2", RemotePort: port}},
	} {
		p.AfiSafis = families
		p.Timers = &api.Timers{Config: &api.TimersConfig{ConnectRetry: 1}}
		if _, err := client.AddPeer(t.Context(), &api.AddPeerRequest{Peer: p}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// filter gives the speaker under test other rules, while it runs.
func (c *couple) filter(imports, exports []filter.Rule) {
	c.t.Helper()
	c.config.Peers[0].Import, c.config.Peers[0].Export = imports, exports
	if err := c.run.filter(c.t.Context(), c.config); err != nil {
		c.t.Fatal(err)
	}
	c.chains = c.run.filters.All[0]
}

func announce(t *testing.T, client api.GoBgpServiceClient, p filter.Path) {
	t.Helper()
	nlri := &api.IPAddressPrefix{Prefix: p.Prefix.Addr().String(), PrefixLen: uint32(p.Prefix.Bits())}
	path := &api.Path{Family: gobgp.APIFamily(filter.FamilyOf(p.Prefix)), Nlri: &api.NLRI{Nlri: &api.NLRI_Prefix{Prefix: nlri}}}
	hop := "0.0.0.0"
	if p.Prefix.Addr().Is6() {
		hop = "::ffff:127.0.0.2"
	}
	as := &api.AsPathAttribute{}
	if p.ASPath != nil {
		kind := api.AsSegment_TYPE_AS_SEQUENCE
		if p.NoSequence {
			kind = api.AsSegment_TYPE_AS_SET
		}
		as.Segments = []*api.AsSegment{{Type: kind, Numbers: p.ASPath}}
	}
	path.Pattrs = []*api.Attribute{
		{Attr: &api.Attribute_Origin{Origin: &api.OriginAttribute{}}},
		{Attr: &api.Attribute_AsPath{AsPath: as}},
		{Attr: &api.Attribute_NextHop{NextHop: &api.NextHopAttribute{NextHop: hop}}},
	}
	if p.MED != nil {
		path.Pattrs = append(path.Pattrs, &api.Attribute{Attr: &api.Attribute_MultiExitDisc{MultiExitDisc: &api.MultiExitDiscAttribute{Med: *p.MED}}})
	}
	if p.LocalPref != 0 {
		path.Pattrs = append(path.Pattrs, &api.Attribute{Attr: &api.Attribute_LocalPref{LocalPref: &api.LocalPrefAttribute{LocalPref: p.LocalPref}}})
	}
	path.Pattrs = append(path.Pattrs, gobgp.CommunityAttributes(p.Communities, p.Large)...)
	if _, err := client.AddPath(t.Context(), &api.AddPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Path: path}); err != nil {
		t.Fatal(err)
	}
}

// list reads a table, without paths that the speaker originates itself.
func list(t *testing.T, client api.GoBgpServiceClient, table api.TableType, peer string, from filter.Source) map[netip.Prefix]filter.Path {
	t.Helper()
	all := map[netip.Prefix]filter.Path{}
	for _, f := range []filter.Family{filter.IPv4, filter.IPv6} {
		err := receive(func() (grpc.ServerStreamingClient[api.ListPathResponse], error) {
			return client.ListPath(t.Context(), &api.ListPathRequest{TableType: table, Name: peer, Family: gobgp.APIFamily(f)})
		}, func(r *api.ListPathResponse) {
			for _, p := range r.GetDestination().GetPaths() {
				if _, err := netip.ParseAddr(p.GetNeighborIp()); err == nil {
					prefix := pfx(r.GetDestination().GetPrefix())
					all[prefix] = gobgp.Facts(prefix, from, p.GetPattrs())
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// dice makes random paths and rules of few values, so that many match.
type dice struct{ *rand.Rand }

func pick[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

func (d dice) some(least, most int) int { return least + d.IntN(most-least+1) }

func (d dice) prefix() netip.Prefix {
	if d.IntN(4) == 0 {
		a := netip.MustParseAddr(pick(d, "2001:db8:64::", "2001:db8:65:1::", "fd00:1::", "2a00:1::", "::"))
		return netip.PrefixFrom(a, pick(d, 0, 32, 48, 56, 64)).Masked()
	}
	a := netip.AddrFrom4([4]byte{pick[byte](d, 0, 8, 10, 100, 192, 203), pick[byte](d, 64, 168, 0), byte(d.IntN(4)), byte(d.IntN(4) * 64)})
	return netip.PrefixFrom(a, pick(d, 0, 8, 16, 18, 24, 26, 32)).Masked()
}

func (d dice) community() filter.Community {
	if d.IntN(8) == 0 {
		return filter.GracefulShutdown
	}
	return filter.Community(pick[uint32](d, 65000, 65001, 1)<<16 | uint32(d.IntN(3)))
}

func (d dice) large() filter.LargeCommunity {
	return filter.LargeCommunity{pick[uint32](d, 65000, 4200000000), uint32(d.IntN(2)), uint32(d.IntN(3))}
}

func (d dice) asPath() []uint32 {
	var as []uint32
	for range d.IntN(5) {
		as = append(as, pick[uint32](d, 65010, 65011, 65012, 6501, 4200000000))
	}
	if d.IntN(40) == 0 {
		as = append(as, 0)
	}
	return as
}

func (d dice) path() filter.Path {
	p := filter.Path{Prefix: d.prefix(), ASPath: d.asPath()}
	p.NoSequence = p.ASPath != nil && d.IntN(20) == 0
	for range d.IntN(4) {
		p.Communities = append(p.Communities, d.community())
	}
	for range d.IntN(3) {
		p.Large = append(p.Large, d.large())
	}
	if d.IntN(2) == 0 {
		med := uint32(d.IntN(3))
		p.MED = &med
	}
	return p
}

func (d dice) ranges() []filter.Range {
	var rs []filter.Range
	for range d.some(1, 3) {
		r := filter.Within(d.prefix())
		r.Min = d.some(r.Min, r.Max)
		r.Max = d.some(r.Min, r.Max)
		rs = append(rs, r)
	}
	return rs
}

func (d dice) patterns(large, wild bool) []filter.Pattern {
	var ps []filter.Pattern
	for range d.some(1, 3) {
		p := d.community().Pattern()
		if large {
			p = d.large().Pattern()
		}
		if wild && d.IntN(2) == 0 {
			p[d.IntN(len(p))] = filter.Part{Any: true}
		}
		ps = append(ps, p)
	}
	return ps
}

func (d dice) asPatterns() []filter.ASPattern {
	var ps []filter.ASPattern
	for range d.some(1, 2) {
		p := filter.ASPattern{}
		for range d.IntN(4) {
			p = append(p, filter.ASToken{AS: pick[uint32](d, 0, 65010, 65011, 6501, 65001, 65101)})
		}
		for i := range p {
			if d.IntN(3) == 0 && (i == 0 || !p[i-1].Many) {
				p[i] = filter.ASToken{Many: true}
			}
		}
		ps = append(ps, p)
	}
	return ps
}

func (d dice) match() filter.Match {
	var m filter.Match
	if d.IntN(2) == 0 {
		m.Prefixes = d.ranges()
	}
	switch d.IntN(6) {
	case 0:
		m.Communities = d.patterns(false, true)
	case 1:
		m.Large = d.patterns(true, true)
	case 2:
		m.ASPaths = d.asPatterns()
	case 3:
		m.MinLength = d.IntN(3)
		m.MaxLength = pick(d, 0, m.MinLength+1)
	case 4:
		m.Family = pick(d, filter.IPv4, filter.IPv6)
	case 5:
		m.Communities, m.ASPaths, m.MaxLength = d.patterns(false, true), d.asPatterns(), 4
	}
	return m
}

func (d dice) change(large bool) filter.Change {
	c := filter.Change{Op: pick(d, filter.Keep, filter.Keep, filter.Add, filter.Remove, filter.Replace)}
	if c.Op != filter.Keep {
		c.List = d.patterns(large, c.Op == filter.Remove)
	}
	if c.Op == filter.Replace && d.IntN(3) == 0 {
		c.List = nil
	}
	return c
}

func (d dice) rules() []filter.Rule {
	var rules []filter.Rule
	for i := range d.some(0, 5) {
		r := filter.Rule{Name: fmt.Sprintf("f/%d", i), Match: d.match(), Verdict: pick(d, filter.Next, filter.Next, filter.Accept, filter.Reject)}
		if d.IntN(3) == 0 {
			n := uint32(d.some(1, 300))
			r.LocalPref = &n
		}
		if d.IntN(3) == 0 {
			n := uint32(d.IntN(10))
			r.MED = &n
		}
		r.Set.Communities, r.Set.Large = d.change(false), d.change(true)
		r.Prepend = pick(d, 0, 0, 0, 1, 3)
		rules = append(rules, r)
	}
	return rules
}

// different compares paths. Twice the same community is once: GoBGP adds without
// looking.
func different(want, got map[netip.Prefix]filter.Path) string {
	for _, paths := range []map[netip.Prefix]filter.Path{want, got} {
		for prefix, p := range paths {
			p.Communities, p.Large = once(p.Communities), once(p.Large)
			paths[prefix] = p
		}
	}
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }))
}

func once[T comparable](list []T) []T {
	var first []T
	for _, v := range list {
		if !slices.Contains(first, v) {
			first = append(first, v)
		}
	}
	return first
}

// GoBGP does with random paths through random rules what Evaluate says, to those that
// come in and to those that go out, over a session that stays up while the rules
// change.
func TestGoBGPAgrees(t *testing.T) {
	const rounds, paths = 25, 250
	for peerAS, from := range map[uint32]filter.Source{65001: filter.ByEBGP, 65101: filter.ByIBGP} {
		t.Run(fmt.Sprintf("AS %d", peerAS), func(t *testing.T) {
			seed := rand.Uint64()
			d := dice{rand.New(rand.NewPCG(seed, 0))}
			t.Logf("seed %d", seed)
			c := newCouple(t, peerAS)
			own, theirs := map[netip.Prefix]filter.Path{}, map[netip.Prefix]bool{}
			for range paths {
				p := d.path()
				p.ASPath, p.NoSequence = nil, false
				announce(t, c.a, p)
				own[p.Prefix] = p
			}
			for range paths {
				p := d.path()
				if from == filter.ByIBGP {
					p.LocalPref = uint32(d.some(1, 200))
				}
				if _, both := own[p.Prefix]; both {
					continue // neither would tell the other
				}
				if theirs[p.Prefix] = true; d.IntN(20) == 0 {
					c.run.own = append(c.run.own, filter.Exactly(p.Prefix))
				}
				announce(t, c.b, p)
			}
			within(t, time.Minute, func() error {
				// What has come, as it is before any filter.
				if told := list(t, c.a, api.TableType_TABLE_TYPE_ADJ_IN, "127.0.0.2", from); len(told) != len(theirs) {
					return fmt.Errorf("%d of %d paths are there", len(told), len(theirs))
				}
				return nil
			})
			for round := range rounds {
				imports, exports := d.rules(), d.rules()
				c.config.Peers[0].AllowOwnAS = round % 2
				c.filter(imports, exports)
				c.compareImports(round, from, imports)
				c.compareExports(round, own, exports)
			}
			if c.accepted < rounds || c.refused < rounds || c.changed < rounds {
				t.Errorf("%d paths accepted, %d refused, %d changed: too few to tell", c.accepted, c.refused, c.changed)
			}
			c.clean()
		})
	}
}

// compareImports compares what is accepted with what Evaluate makes of what came.
func (c *couple) compareImports(round int, from filter.Source, rules []filter.Rule) {
	c.t.Helper()
	within(c.t, time.Minute, func() error {
		want := map[netip.Prefix]filter.Path{}
		for prefix, p := range list(c.t, c.a, api.TableType_TABLE_TYPE_ADJ_IN, "127.0.0.2", from) {
			o := filter.Evaluate(c.chains.Imports, p)
			if o.Accepted {
				c.accepted++
				want[prefix] = o.Path
			} else {
				c.refused++
			}
			c.changed += len(o.Changes)
		}
		if diff := different(want, list(c.t, c.a, api.TableType_TABLE_TYPE_GLOBAL, "", from)); diff != "" {
			return fmt.Errorf("round %d, rules %+v: accepted (-want +got):\n%s", round, rules, diff)
		}
		return nil
	})
}

// compareExports compares what the other end hears with what Evaluate makes of what
// we originate.
func (c *couple) compareExports(round int, own map[netip.Prefix]filter.Path, rules []filter.Rule) {
	c.t.Helper()
	external := c.config.Peers[0].AS != c.config.AS
	want := map[netip.Prefix]filter.Path{}
	for prefix, p := range own {
		p.Source, p.LocalPref = filter.Own, filter.DefaultLocalPref
		if external {
			p.ASPath = []uint32{c.config.AS}
		}
		if o := filter.Evaluate(c.chains.Exports, p); o.Accepted {
			if o.Path.Source = filter.ByIBGP; external {
				o.Path.Source, o.Path.LocalPref = filter.ByEBGP, filter.DefaultLocalPref
			}
			want[prefix] = o.Path
		}
	}
	source := filter.ByIBGP
	if external {
		source = filter.ByEBGP
	}
	within(c.t, time.Minute, func() error {
		got := list(c.t, c.b, api.TableType_TABLE_TYPE_ADJ_IN, "127.0.0.1", source)
		if diff := different(want, got); diff != "" {
			return fmt.Errorf("round %d, rules %+v: told (-want +got):\n%s", round, rules, diff)
		}
		return nil
	})
}

// clean holds that nothing is left of all the policies that ran, and that the session
// was never reset.
func (c *couple) clean() {
	c.t.Helper()
	sets := 0
	for _, kind := range []api.DefinedType{
		api.DefinedType_DEFINED_TYPE_PREFIX, api.DefinedType_DEFINED_TYPE_NEIGHBOR, api.DefinedType_DEFINED_TYPE_AS_PATH,
		api.DefinedType_DEFINED_TYPE_COMMUNITY, api.DefinedType_DEFINED_TYPE_LARGE_COMMUNITY,
	} {
		err := receive(func() (grpc.ServerStreamingClient[api.ListDefinedSetResponse], error) {
			return c.a.ListDefinedSet(c.t.Context(), &api.ListDefinedSetRequest{DefinedType: kind})
		}, func(*api.ListDefinedSetResponse) { sets++ })
		if err != nil {
			c.t.Fatal(err)
		}
	}
	statements, policies := 0, 0
	err := errors.Join(receive(func() (grpc.ServerStreamingClient[api.ListStatementResponse], error) {
		return c.a.ListStatement(c.t.Context(), &api.ListStatementRequest{})
	}, func(*api.ListStatementResponse) { statements++ }), receive(func() (grpc.ServerStreamingClient[api.ListPolicyResponse], error) {
		return c.a.ListPolicy(c.t.Context(), &api.ListPolicyRequest{})
	}, func(*api.ListPolicyResponse) { policies++ }))
	if err != nil {
		c.t.Fatal(err)
	}
	want := []int{len(c.run.filters.Sets), 0, 0}
	for _, p := range slices.Concat(c.run.filters.Imports, c.run.filters.Exports) {
		want[1], want[2] = want[1]+len(p.Statements), want[2]+1
	}
	if diff := cmp.Diff(want, []int{sets, statements, policies}); diff != "" {
		c.t.Errorf("sets, statements, policies (-want +got):\n%s", diff)
	}
	err = receive(func() (grpc.ServerStreamingClient[api.ListPeerResponse], error) {
		return c.a.ListPeer(c.t.Context(), &api.ListPeerRequest{})
	}, func(r *api.ListPeerResponse) {
		if s := r.GetPeer().GetState(); s.GetFlops() != 0 || s.GetSessionState() != api.PeerState_SESSION_STATE_ESTABLISHED {
			c.t.Errorf("the session was lost: %v", s)
		}
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// within waits for a condition.
func within(t *testing.T, limit time.Duration, cond func() error) {
	t.Helper()
	ctx, cancel := patience.Context(t.Context(), limit)
	defer cancel()
	for {
		err := cond()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
