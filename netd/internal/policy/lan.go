package policy

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"netd/netd/layout"
)

// LAN is a link toward devices.
type LAN struct {
	Name string
	// ForwardTo are the other LANs whose devices this one's may begin to talk to.
	ForwardTo []string
}

func (l LAN) equal(o LAN) bool { return l.Name == o.Name && slices.Equal(l.ForwardTo, o.ForwardTo) }

// chains are those of the table that begin at a hook.
type chains struct{ prerouting, input, forward *nftables.Chain }

// lans keeps LANs apart, and the gateway from them.
//
// What is forwarded from one to another has to be named, or be the answer to what was: the
// connection's direction tells, so that an order that is taken back ends what runs. Only
// then are connections tracked at all. A source that no route leads back to by the same
// link is forged (RFC 3704 section 2.2); 0.0.0.0 and :: of a device that asks for its
// address are none (nft_fib passes them). Packets in packets and the gateway's own
// services are for the uplinks.
func (b builder) lans(c chains, r Rules, tunnels *nftables.Set) error {
	if len(r.LANs) == 0 {
		return nil
	}
	var names, pairs [][]byte
	tracked := false
	for _, l := range r.LANs {
		names = append(names, linkName(l.Name))
		for _, to := range append([]string{l.Name}, l.ForwardTo...) { // A LAN may have two subnets.
			pairs = append(pairs, slices.Concat(linkName(l.Name), linkName(to)))
		}
		tracked = tracked || len(l.ForwardTo) > 0
	}
	lans, err := b.set("lans", nftables.TypeIFName, names...)
	if err != nil {
		return err
	}
	known := &nftables.Set{
		Table: b.table, Name: "lan-pairs", Concatenation: true,
		KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIFName),
	}
	if err := b.fill(known, pairs...); err != nil {
		return err
	}
	in, out := expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME
	from := member(lans, in)

	b.drop(c.prerouting, from, noWayBack())
	b.drop(c.input, from, oneOf(tunnels))
	for _, p := range []uint16{layout.BFDPort, layout.BFDMultihopPort, r.VXLANPort} {
		if p != 0 {
			b.drop(c.input, from, to(unix.IPPROTO_UDP, p))
		}
	}
	b.drop(c.input, from, to(unix.IPPROTO_TCP, r.BGPPort))
	if r.MetricsPort != 0 {
		scrape := b.AddChain(&nftables.Chain{Name: "scrape", Table: b.table})
		b.jump(c.input, scrape, from, to(unix.IPPROTO_TCP, r.MetricsPort))
		for _, link := range r.Scrapers {
			b.pass(scrape, named(link))
		}
		b.drop(scrape)
	}

	between := b.AddChain(&nftables.Chain{Name: "lans", Table: b.table})
	b.jump(c.forward, between, from, member(lans, out))
	b.pass(between, member(known, in, out))
	if tracked {
		b.pass(between, member(known, out, in), answers())
	}
	b.drop(between)
	return nil
}

// answers are packets of connections, or about them, that go to who has begun.
func answers() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4, Xor: make([]byte, 4),
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{1}}, // IP_CT_DIR_REPLY
	}
}

// member is a packet whose links, as the keys have them, are an element of the set.
func member(s *nftables.Set, keys ...expr.MetaKey) []expr.Any {
	var is []expr.Any
	for i, k := range keys {
		is = append(is, &expr.Meta{Key: k, Register: uint32(i + 1)}) // 16 octets each
	}
	return append(is, &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID})
}

// linkName is a name as the kernel compares it: whole.
func linkName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}
