package bgp

import (
	"net/netip"

	"github.com/osrg/gobgp/v4/api"
)

const (
	// gracefulShutdown is the community of paths that are about to go (RFC 8326).
	gracefulShutdown = "65535:0"
	// lastChoice is their local preference. The RFC's is 0, which GoBGP's API takes
	// for none.
	lastChoice = 1
)

// filters says what may come in and go out. GoBGP's own defaults accept and send
// everything. Names are global in GoBGP: generation is made part of each, so that
// a new set can be built beside the one in force.
func (c Config) filters(generation string) filters {
	f := filters{generation: generation}
	statements := f.drained()
	statements = append(statements, f.learn(c)...)
	f.imports = []*api.Policy{{Name: f.name("import"), Statements: statements}}
	f.exports = []*api.Policy{
		{Name: f.name("nexthop"), Statements: f.nextHops(c)},
		{Name: f.name("export"), Statements: append(f.drain(c), f.tell(c)...)},
	}
	return f
}

// drained takes a path that its sender is about to withdraw for the last choice.
func (f *filters) drained() []*api.Statement {
	set := f.set(&api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_COMMUNITY, Name: "graceful-shutdown", List: []string{gracefulShutdown}})
	return []*api.Statement{{
		Name:       f.name("graceful-shutdown"),
		Conditions: &api.Conditions{CommunitySet: set},
		Actions:    &api.Actions{LocalPref: &api.LocalPrefAction{Value: lastChoice}},
	}}
}

// learn accepts the pools from all peers, and the default route from ToRs.
func (f *filters) learn(c Config) []*api.Statement {
	var statements []*api.Statement
	for _, v6 := range []bool{false, true} {
		var pools []*api.Prefix
		for _, p := range c.Pools {
			if p.Addr().Is6() == v6 {
				pools = append(pools, &api.Prefix{IpPrefix: p.String(), MaskLengthMin: uint32(p.Bits()), MaskLengthMax: uint32(p.Addr().BitLen())})
			}
		}
		if name := "pools" + suffix(v6); len(pools) > 0 {
			statements = append(statements, &api.Statement{
				Name:       f.name(name),
				Conditions: &api.Conditions{PrefixSet: f.set(&api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX, Name: name, Prefixes: pools})},
				Actions:    accept(),
			})
		}
	}
	tors := c.neighbours(Session.ToR)
	if len(tors) == 0 {
		return statements
	}
	set := f.set(&api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, Name: "tors", List: tors})
	for _, v6 := range []bool{false, true} {
		all := map[bool]string{false: "0.0.0.0/0", true: "::/0"}[v6]
		name := "default" + suffix(v6)
		statements = append(statements, &api.Statement{
			Name: f.name(name),
			Conditions: &api.Conditions{
				NeighborSet: set,
				PrefixSet:   f.set(&api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX, Name: name, Prefixes: []*api.Prefix{{IpPrefix: all}}}),
			},
			Actions: accept(),
		})
	}
	return statements
}

// drain asks for other ways.
func (f *filters) drain(c Config) []*api.Statement {
	if !c.Drain {
		return nil
	}
	return []*api.Statement{{
		Name:       f.name("drain"),
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    &api.Actions{Community: &api.CommunityAction{Type: api.CommunityAction_TYPE_ADD, Communities: []string{gracefulShutdown}}},
	}}
}

// tell sends what we originate, and to iBGP peers what they reflect through us:
// RFC 4456's rules on who gets what are GoBGP's own.
func (f *filters) tell(c Config) []*api.Statement {
	statements := []*api.Statement{{
		Name:       f.name("own"),
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    accept(),
	}}
	if len(c.neighbours(func(s Session) bool { return s.ReflectorClient })) == 0 {
		return statements
	}
	internal := c.neighbours(func(s Session) bool { return s.AS == c.localAS(s) })
	return append(statements, &api.Statement{
		Name: f.name("reflect"),
		Conditions: &api.Conditions{
			RouteType:   api.Conditions_ROUTE_TYPE_INTERNAL,
			NeighborSet: f.set(&api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, Name: "internal", List: internal}),
		},
		Actions: accept(),
	})
}

// nextHops names our own address in the family that a session is not of.
func (f *filters) nextHops(c Config) []*api.Statement {
	var statements []*api.Statement
	for _, p := range c.Peers {
		if !p.NextHop.IsValid() {
			continue
		}
		family := ipv4()
		if p.NextHop.Is6() {
			family = ipv6()
		}
		name := "nexthop-" + p.Name
		statements = append(statements, &api.Statement{
			Name: f.name(name),
			Conditions: &api.Conditions{
				RouteType: api.Conditions_ROUTE_TYPE_LOCAL, AfiSafiIn: []*api.Family{family},
				NeighborSet: f.set(&api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, Name: name, List: []string{hostPrefix(p.Address)}}),
			},
			Actions: &api.Actions{Nexthop: &api.NexthopAction{Address: p.NextHop.String()}},
		})
	}
	return statements
}

// neighbours are the sessions of a kind, as GoBGP's neighbour sets take them.
func (c Config) neighbours(kind func(Session) bool) []string {
	var list []string
	for _, p := range c.Peers {
		if kind(p.Session) {
			list = append(list, hostPrefix(p.Address))
		}
	}
	for _, r := range c.Ranges {
		if kind(r.Session) {
			list = append(list, r.Prefix.String())
		}
	}
	return list
}

// hostPrefix is one address as a prefix, which has no zone: of link-local peers
// GoBGP compares the address alone.
func hostPrefix(a netip.Addr) string { return netip.PrefixFrom(a.WithZone(""), a.BitLen()).String() }

func suffix(v6 bool) string {
	if v6 {
		return "-ipv6"
	}
	return ""
}

func accept() *api.Actions {
	return &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT}
}
