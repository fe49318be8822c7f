package policy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"netd/netd/layout"
)

// What one pod may have of the gateway, in packets a second and at once.
const (
	icmpRate, icmpBurst         = 100, 200
	strangerRate, strangerBurst = 10, 40
)

// mostStrangers is how many neighbours the gateway looks for at a time, of each family,
// for all pods together: the kernel's table has room for 1024 by default, is all
// namespaces', and in IPv6 takes two for each, with the group that is asked. metFor is how
// long one that nobody sends to counts.
const (
	mostStrangers = 256
	metFor        = 5 * time.Second
)

// firstFree is the first port that the kernel gives to who asks for any (ip-sysctl,
// ip_local_port_range): what listens has one below.
const firstFree = 32768

// links keeps pods to their own addresses, and to the gateway's on their link. Neighbours
// there are permanent, and nobody is a router but the gateway: who would ask for one, or
// be one, only fills tables.
func (b builder) links(prerouting *nftables.Chain) {
	six := func(is ...[]expr.Any) {
		b.drop(prerouting, append([][]expr.Any{b.fromPods(), family(unix.NFPROTO_IPV6)}, is...)...)
	}
	six(noWayBack())
	for _, f := range []struct {
		offset uint32
		only   string
	}{{source6, layout.PodLinkLocal}, {to6, layout.PodGateway6}} {
		address := []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: f.offset, Len: 16}}
		six(address, within(netip.MustParsePrefix("fe80::/10"), expr.CmpOpEq), address,
			within(netip.PrefixFrom(netip.MustParseAddr(f.only), 128), expr.CmpOpNeq))
	}
	for _, kind := range []byte{solicitRouter, advertiseRouter, redirect} {
		six(is(expr.MetaKeyL4PROTO, unix.IPPROTO_ICMPV6), []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}},
		})
	}
}

// Kinds of ICMPv6 messages (RFC 4861 section 4).
const solicitRouter, advertiseRouter, redirect = 133, 134, 137

// Where the headers have their addresses.
const source6, to6, to4 = 8, 24, 16

// ours keeps pods from what listens on the gateway itself. They may ask for a sign of
// life, and answer: TCP by what does not open a connection, UDP to a port that the gateway has
// asked from.
func (b builder) ours(input *nftables.Chain, r Rules) error {
	pings, err := b.dynamic("pings", nftables.TypeIFIndex)
	if err != nil {
		return err
	}
	chain := b.AddChain(&nftables.Chain{Name: "ours", Table: b.table})
	b.jump(input, chain, b.fromPods())
	for _, protocol := range []byte{unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6} {
		b.drop(chain, is(expr.MetaKeyL4PROTO, protocol), over(pings, expr.MetaKeyIIF, icmpRate, icmpBurst))
		b.pass(chain, is(expr.MetaKeyL4PROTO, protocol))
	}
	for _, link := range r.Scrapers {
		if r.MetricsPort != 0 {
			b.pass(chain, named(link), to(unix.IPPROTO_TCP, r.MetricsPort))
		}
	}
	const synAck = 0x12
	b.pass(chain, is(expr.MetaKeyL4PROTO, unix.IPPROTO_TCP), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{synAck}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{2}}, // SYN alone opens
	})
	b.pass(chain, is(expr.MetaKeyL4PROTO, unix.IPPROTO_UDP), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: binary.BigEndian.AppendUint16(nil, firstFree)},
	})
	b.drop(chain)
	return nil
}

// resolve bounds how many neighbours the gateway looks for on behalf of pods: those that
// were met lately go on, others are few at a time for each pod and for all.
func (b builder) resolve(forward *nftables.Chain, onLink []netip.Prefix) error {
	strangers, err := b.dynamic("strangers", nftables.TypeIFIndex)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name       string
		kind       nftables.SetDatatype
		protocol   byte
		at, length uint32
	}{
		{"met", nftables.TypeIPAddr, unix.NFPROTO_IPV4, to4, 4},
		{"met6", nftables.TypeIP6Addr, unix.NFPROTO_IPV6, to6, 16},
	} {
		met := &nftables.Set{Table: b.table, Name: f.name, KeyType: f.kind, Dynamic: true, HasTimeout: true, Timeout: metFor, Size: mostStrangers}
		if err := b.AddSet(met, nil); err != nil {
			return fmt.Errorf("add nftables set %s %s: %w", layout.Table, f.name, err)
		}
		address := []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: f.at, Len: f.length}}
		note := func(operation uint32) []expr.Any {
			return append(address, &expr.Dynset{SrcRegKey: 1, SetName: met.Name, SetID: met.ID, Operation: operation, Timeout: metFor})
		}
		chain := b.AddChain(&nftables.Chain{Name: "resolve-" + f.name, Table: b.table})
		b.pass(chain, address, []expr.Any{&expr.Lookup{SourceRegister: 1, SetName: met.Name, SetID: met.ID}}, note(unix.NFT_DYNSET_OP_UPDATE))
		b.drop(chain, over(strangers, expr.MetaKeyIIF, strangerRate, strangerBurst))
		b.pass(chain, note(unix.NFT_DYNSET_OP_ADD)) // which does not match while the set is full
		b.drop(chain)
		for _, p := range onLink {
			if p.Addr().Is4() == (f.protocol == unix.NFPROTO_IPV4) {
				b.jump(forward, chain, b.fromPods(), family(f.protocol), address, within(p, expr.CmpOpEq))
			}
		}
	}
	return nil
}

// dynamic is a set whose elements, which packets add, have a rate each.
func (b builder) dynamic(name string, kind nftables.SetDatatype) (*nftables.Set, error) {
	s := &nftables.Set{Table: b.table, Name: name, KeyType: kind, Dynamic: true, HasTimeout: true, Timeout: time.Minute, Size: 4096}
	if err := b.AddSet(s, nil); err != nil {
		return nil, fmt.Errorf("add nftables set %s %s: %w", layout.Table, name, err)
	}
	return s, nil
}

// over matches what is more than a rate for its key.
func over(set *nftables.Set, key expr.MetaKey, rate uint64, burst uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Dynset{SrcRegKey: 1, SetName: set.Name, SetID: set.ID, Operation: unix.NFT_DYNSET_OP_UPDATE, Exprs: []expr.Any{
			&expr.Limit{Type: expr.LimitTypePkts, Rate: rate, Burst: burst, Unit: expr.LimitTimeSecond, Over: true},
		}},
	}
}

// named is what comes in by a link.
func named(link string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: linkName(link)},
	}
}
