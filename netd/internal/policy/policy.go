package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"netd/netd/layout"
)

// Rules is the wanted policy.
type Rules struct {
	// Gateways may send packets in packets to us, over the family of the address.
	Gateways []netip.Addr
	// Ranges hold gateways that are not known one by one; there are few.
	Ranges []netip.Prefix
	// PodLinks begins the name of every pod's link.
	PodLinks string
	// VXLANPort is the UDP port to guard, too; 0 if there is no VXLAN.
	VXLANPort uint16
	// BGPPort is the TCP port that Near peers are kept to their TTL at.
	BGPPort uint16
	Near    []Near
	// OnLink are the subnets in which this gateway looks for neighbours.
	OnLink []netip.Prefix
	// MetricsPort is the gateway's TCP port that the links of Scrapers, which are pods' or
	// LANs, may open; 0 if there is none.
	MetricsPort uint16
	Scrapers    []string
	LANs        []LAN
}

// Equal tells whether two policies are the same.
func (r Rules) Equal(o Rules) bool {
	return r.PodLinks == o.PodLinks && r.VXLANPort == o.VXLANPort && r.BGPPort == o.BGPPort &&
		slices.Equal(r.Gateways, o.Gateways) && slices.Equal(r.Ranges, o.Ranges) && slices.Equal(r.Near, o.Near) &&
		slices.Equal(r.OnLink, o.OnLink) && r.MetricsPort == o.MetricsPort && slices.Equal(r.Scrapers, o.Scrapers) &&
		slices.EqualFunc(r.LANs, o.LANs, LAN.equal)
}

// apply replaces our table by one that says r, in one transaction: there is no
// moment without it. Its rules go on counting from counted, by chain and in order.
func apply(r Rules, counted map[string][]count) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	// Until there was IPv6 the table's family was ip. Adding a table that exists is
	// no error, so that deleting one always works.
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet} {
		c.DelTable(c.AddTable(&nftables.Table{Family: family, Name: layout.Table}))
	}
	b := builder{Conn: c, table: c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: layout.Table}), pods: r.PodLinks, counted: counted, made: map[string]int{}}
	if err := b.rules(r); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("replace nftables table inet %s: %w", layout.Table, err)
	}
	return nil
}

// builder writes one transaction.
type builder struct {
	*nftables.Conn
	table   *nftables.Table
	pods    string
	counted map[string][]count
	made    map[string]int // rules, by chain
}

func (b builder) rules(r Rules) error {
	// IPv4 and IPv6, in either (RFC 2003, RFC 4213, RFC 2473).
	tunnels, err := b.set("tunnels", nftables.TypeInetProto, []byte{unix.IPPROTO_IPIP}, []byte{unix.IPPROTO_IPV6})
	if err != nil {
		return err
	}
	input := b.chain("input", nftables.ChainHookInput, nftables.ChainPriorityFilter)
	for _, f := range []struct {
		set            string
		kind           nftables.SetDatatype
		is             func(netip.Addr) bool
		protocol       byte
		source, length uint32 // of the source address in the header
	}{
		{"gateways", nftables.TypeIPAddr, netip.Addr.Is4, unix.NFPROTO_IPV4, 12, 4},
		{"gateways6", nftables.TypeIP6Addr, netip.Addr.Is6, unix.NFPROTO_IPV6, 8, 16},
	} {
		var keys [][]byte
		for _, g := range r.Gateways {
			if f.is(g) {
				keys = append(keys, g.AsSlice())
			}
		}
		gateways, err := b.set(f.set, f.kind, keys...)
		if err != nil {
			return err
		}
		source := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: f.source, Len: f.length}
		unknown := append(family(f.protocol), source,
			&expr.Lookup{SourceRegister: 1, SetName: gateways.Name, SetID: gateways.ID, Invert: true})
		for _, p := range r.Ranges {
			if f.is(p.Addr()) {
				unknown = slices.Concat(unknown, []expr.Any{source}, within(p, expr.CmpOpNeq))
			}
		}
		b.drop(input, unknown, oneOf(tunnels))
		if r.VXLANPort != 0 {
			b.drop(input, unknown, to(unix.IPPROTO_UDP, r.VXLANPort))
		}
	}
	b.drop(input, b.fromPods(), oneOf(tunnels))
	b.near(input, r.BGPPort, r.Near)
	forward := b.chain("forward", nftables.ChainHookForward, nftables.ChainPriorityFilter)
	b.drop(forward, b.fromPods(), oneOf(tunnels))
	prerouting := b.chain("prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	b.links(prerouting)
	return errors.Join(b.ours(input, r), b.resolve(forward, r.OnLink), b.lans(chains{prerouting, input, forward}, r, tunnels))
}

// noWayBack is a source that no route of the packet's link leads to.
func noWayBack() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagSADDR: true, FlagIIF: true, ResultOIF: true, FlagPRESENT: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
	}
}

func (b builder) set(name string, kind nftables.SetDatatype, keys ...[]byte) (*nftables.Set, error) {
	s := &nftables.Set{Table: b.table, Name: name, KeyType: kind}
	if kind == nftables.TypeIFName {
		s.KeyByteOrder = binaryutil.NativeEndian // Without it nft shows no name.
	}
	return s, b.fill(s, keys...)
}

// fill adds a set with its elements.
func (b builder) fill(s *nftables.Set, keys ...[]byte) error {
	elements := make([]nftables.SetElement, 0, len(keys))
	for _, k := range keys {
		elements = append(elements, nftables.SetElement{Key: k})
	}
	if err := b.AddSet(s, elements); err != nil {
		return fmt.Errorf("add nftables set %s %s: %w", layout.Table, s.Name, err)
	}
	return nil
}

func (b builder) chain(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	return b.AddChain(&nftables.Chain{
		Name: name, Table: b.table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: priority,
	})
}

// drop adds a rule that drops what is all of these, and counts it.
func (b builder) drop(chain *nftables.Chain, is ...[]expr.Any) {
	var c count
	if before := b.counted[chain.Name]; b.made[chain.Name] < len(before) {
		c = before[b.made[chain.Name]]
	}
	b.rule(chain, slices.Concat(is...), &expr.Counter{Packets: c.packets, Bytes: c.bytes}, &expr.Verdict{Kind: expr.VerdictDrop})
}

// pass adds a rule that ends a chain that was jumped to, for what is all of these.
func (b builder) pass(chain *nftables.Chain, is ...[]expr.Any) {
	b.rule(chain, slices.Concat(is...), &expr.Verdict{Kind: expr.VerdictReturn})
}

// jump adds a rule that goes on elsewhere with what is all of these.
func (b builder) jump(chain, next *nftables.Chain, is ...[]expr.Any) {
	b.rule(chain, slices.Concat(is...), &expr.Verdict{Kind: expr.VerdictJump, Chain: next.Name})
}

func (b builder) rule(chain *nftables.Chain, is []expr.Any, do ...expr.Any) {
	b.AddRule(&nftables.Rule{Table: b.table, Chain: chain, Exprs: append(is, do...)})
	b.made[chain.Name]++
}

func (b builder) fromPods() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(b.pods)}, // no NUL: a prefix
	}
}

func family(number byte) []expr.Any { return is(expr.MetaKeyNFPROTO, number) }

func is(key expr.MetaKey, value byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{value}},
	}
}

// oneOf is a protocol of the set, behind whatever extension headers IPv6 has.
func oneOf(protocols *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: protocols.Name, SetID: protocols.ID},
	}
}
