package policy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"netd/netd/layout"
)

// table is ours as the kernel tells it, without what is another one at each reading:
// handles, counts, and what packets have put into sets.
type table struct {
	chains   map[string]string // by name: what it says of itself
	rules    map[string][]rule // by chain, in order
	sets     map[string]string
	elements map[string]map[string]bool // by set, by key
}

// rule is what a rule says, and what it has counted.
type rule struct {
	text  string
	count count
}

// count is a counter.
type count struct{ packets, bytes uint64 }

// reading is one of nftables' lists, of which our table's part is asked for.
type reading struct {
	c *netlink.Conn
}

// read reads our table; one that is not there is empty.
func read() (table, error) {
	t := table{map[string]string{}, map[string][]rule{}, map[string]string{}, map[string]map[string]bool{}}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return t, fmt.Errorf("open nftables: %w", err)
	}
	defer func() { _ = c.Close() }()
	r := reading{c}
	err = r.each(unix.NFT_MSG_GETCHAIN, unix.NFTA_CHAIN_TABLE, nil, func(a map[uint16][]byte) {
		t.chains[text(a[unix.NFTA_CHAIN_NAME])] = said(a, unix.NFTA_CHAIN_HOOK, unix.NFTA_CHAIN_POLICY, unix.NFTA_CHAIN_TYPE)
	})
	if err != nil {
		return t, err
	}
	err = r.each(unix.NFT_MSG_GETRULE, unix.NFTA_RULE_TABLE, nil, func(a map[uint16][]byte) {
		chain := text(a[unix.NFTA_RULE_CHAIN])
		t.rules[chain] = append(t.rules[chain], newRule(a[unix.NFTA_RULE_EXPRESSIONS]))
	})
	if err != nil {
		return t, err
	}
	dynamic := map[string]bool{}
	err = r.each(unix.NFT_MSG_GETSET, unix.NFTA_SET_TABLE, nil, func(a map[uint16][]byte) {
		name := text(a[unix.NFTA_SET_NAME])
		t.sets[name] = said(a, unix.NFTA_SET_FLAGS, unix.NFTA_SET_KEY_TYPE, unix.NFTA_SET_KEY_LEN, unix.NFTA_SET_TIMEOUT, unix.NFTA_SET_DESC)
		if flags := a[unix.NFTA_SET_FLAGS]; len(flags) == 4 {
			dynamic[name] = binary.BigEndian.Uint32(flags)&unix.NFT_SET_EVAL != 0
		}
	})
	if err != nil {
		return t, err
	}
	for name := range t.sets {
		if dynamic[name] {
			continue
		}
		t.elements[name] = map[string]bool{}
		of := []netlink.Attribute{{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: append([]byte(name), 0)}}
		err := r.each(unix.NFT_MSG_GETSETELEM, unix.NFTA_SET_ELEM_LIST_TABLE, of, func(a map[uint16][]byte) {
			for _, e := range list(a[unix.NFTA_SET_ELEM_LIST_ELEMENTS]) {
				key := attributes(attributes(e.Data)[unix.NFTA_SET_ELEM_KEY])[unix.NFTA_DATA_VALUE]
				t.elements[name][string(key)] = true
			}
		})
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

// each asks for a list, and gives f what each answer of our table says.
func (r reading) each(kind, at uint16, of []netlink.Attribute, f func(map[uint16][]byte)) error {
	body, err := netlink.MarshalAttributes(append([]netlink.Attribute{{Type: at, Data: append([]byte(layout.Table), 0)}}, of...))
	if err != nil {
		return err
	}
	request := netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}, body...),
	}
	answers, err := r.c.Execute(request)
	if missing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read nftables table inet %s: %w", layout.Table, err)
	}
	for _, m := range answers {
		if len(m.Data) < nfgenmsg {
			continue
		}
		if a := attributes(m.Data[nfgenmsg:]); text(a[at]) == layout.Table {
			f(a)
		}
	}
	return nil
}

// nfgenmsg is the size of what each of nfnetlink's messages begins with.
const nfgenmsg = 4

// generation is the kernel's number of all that nftables says: each change is a new one.
func (r reading) generation() (uint32, error) {
	answers, err := r.c.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN), Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil {
		return 0, fmt.Errorf("read nftables' generation: %w", err)
	}
	for _, m := range answers {
		if id := attributes(m.Data[min(nfgenmsg, len(m.Data)):])[unix.NFTA_GEN_ID]; len(id) == 4 {
			return binary.BigEndian.Uint32(id), nil
		}
	}
	return 0, fmt.Errorf("read nftables' generation: no number in %d answers", len(answers))
}

// list are the attributes of a message, in order; what can not be read is none.
func list(b []byte) []netlink.Attribute {
	all, err := netlink.UnmarshalAttributes(b)
	if err != nil {
		return nil
	}
	return all
}

// attributes are those of a message by their type.
func attributes(b []byte) map[uint16][]byte {
	all := map[uint16][]byte{}
	for _, a := range list(b) {
		all[a.Type&^(netlink.Nested|netlink.NetByteOrder)] = a.Data
	}
	return all
}

func text(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

// said is what some of the attributes say.
func said(a map[uint16][]byte, kinds ...uint16) string {
	var b []byte
	for _, k := range kinds {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(a[k]))), a[k]...)
	}
	return string(b)
}

// newRule takes a rule's expressions apart from what they have counted.
func newRule(expressions []byte) rule {
	var r rule
	var b []byte
	for _, e := range list(expressions) {
		a := attributes(e.Data)
		if text(a[unix.NFTA_EXPR_NAME]) != "counter" {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(e.Data))), e.Data...)
			continue
		}
		b = append(b, "counter"...)
		counted := attributes(a[unix.NFTA_EXPR_DATA])
		if p, n := counted[unix.NFTA_COUNTER_PACKETS], counted[unix.NFTA_COUNTER_BYTES]; len(p) == 8 && len(n) == 8 {
			r.count = count{binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(n)}
		}
	}
	r.text = string(b)
	return r
}

// differences are what is not as in want, for a person.
func (t table) differences(want table) []string {
	if len(t.chains)+len(t.sets) == 0 && len(want.chains) > 0 {
		return []string{"the table"}
	}
	var all []string
	both := func(kind string, have, want map[string]string) {
		for name, says := range want {
			if have[name] != says {
				all = append(all, kind+" "+name)
			}
		}
		for name := range have {
			if _, ours := want[name]; !ours {
				all = append(all, kind+" "+name+", which is not ours,")
			}
		}
	}
	both("chain", t.chains, want.chains)
	both("set", t.sets, want.sets)
	for chain, rules := range want.rules {
		if _, there := t.chains[chain]; there && !slices.EqualFunc(t.rules[chain], rules, rule.equal) {
			all = append(all, fmt.Sprintf("the rules of chain %s (%d for %d)", chain, len(t.rules[chain]), len(rules)))
		}
	}
	for chain, rules := range t.rules {
		if _, ours := want.chains[chain]; ours && len(want.rules[chain]) == 0 {
			all = append(all, fmt.Sprintf("the rules of chain %s (%d for 0)", chain, len(rules)))
		}
	}
	for set, keys := range want.elements {
		have, there := t.elements[set]
		for key := range keys {
			if there && !have[key] {
				all = append(all, fmt.Sprintf("element %s of set %s", keyText(key), set))
			}
		}
		for key := range have {
			if !keys[key] {
				all = append(all, fmt.Sprintf("element %s of set %s, which is not ours,", keyText(key), set))
			}
		}
	}
	slices.Sort(all)
	return all
}

func (r rule) equal(o rule) bool { return r.text == o.text }

// keyText is an element's key as nft(8) has it.
func keyText(key string) string {
	if a, ok := netip.AddrFromSlice([]byte(key)); ok {
		return a.String()
	}
	return fmt.Sprintf("%x", key)
}

// counted are what the rules of want have counted as far as t has them still, by chain
// and in want's order.
func (t table) counted(want table) map[string][]count {
	all := map[string][]count{}
	for chain, rules := range want.rules {
		left := slices.Clone(t.rules[chain])
		for _, r := range rules {
			var c count
			if i := slices.IndexFunc(left, r.equal); i >= 0 {
				c = left[i].count
				left = slices.Delete(left, i, i+1)
			}
			all[chain] = append(all[chain], c)
		}
	}
	return all
}
