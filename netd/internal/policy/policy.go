package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Table is the name of our table, family ip.
const Table = "netd"

// Rules is the wanted policy.
type Rules struct {
	// Gateways may send IP-in-IP to us.
	Gateways []netip.Addr
	// PodLinks begins the name of every pod's link.
	PodLinks string
}

// Equal tells whether two policies are the same.
func (r Rules) Equal(o Rules) bool {
	return r.PodLinks == o.PodLinks && slices.Equal(r.Gateways, o.Gateways)
}

// Apply replaces our table by one that says r, in one transaction: there is no
// moment without it.
func Apply(r Rules) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: Table}
	// Adding a table that exists is no error, so that deleting one always works.
	c.AddTable(table)
	c.DelTable(table)
	c.AddTable(table)
	gateways := &nftables.Set{Table: table, Name: "gateways", KeyType: nftables.TypeIPAddr}
	elements := make([]nftables.SetElement, 0, len(r.Gateways))
	for _, g := range r.Gateways {
		elements = append(elements, nftables.SetElement{Key: g.AsSlice()})
	}
	if err := c.AddSet(gateways, elements); err != nil {
		return fmt.Errorf("add nftables set %s %s: %w", Table, gateways.Name, err)
	}
	input := c.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: slices.Concat(
		protocol(unix.IPPROTO_IPIP),
		[]expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, // source address
			&expr.Lookup{SourceRegister: 1, SetName: gateways.Name, SetID: gateways.ID, Invert: true},
			&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop},
		},
	)})
	forward := c.AddChain(&nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	for _, chain := range []*nftables.Chain{input, forward} {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(
			[]expr.Any{
				&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(r.PodLinks)}, // no NUL: a prefix
			},
			protocol(unix.IPPROTO_IPIP),
			[]expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}},
		)})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("replace nftables table ip %s: %w", Table, err)
	}
	return nil
}

// Present tells whether our table is there: others may have flushed the ruleset.
func Present() (bool, error) {
	c, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("open nftables: %w", err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return false, fmt.Errorf("list nftables tables: %w", err)
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == Table }), nil
}

func protocol(number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}},
	}
}
