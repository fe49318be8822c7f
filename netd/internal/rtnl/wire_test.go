package rtnl

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

// Golden octets are those of little-endian machines, as all of ours are.
func TestEncode(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Fatal("the golden octets are of a little-endian machine")
	}
	tests := []struct {
		change Change
		want   string // header and attributes, one a word
	}{
		{
			Change{Replace, &Route{Prefix: pfx("10.64.2.0/26"), NextHop: 120001, Source: ip("10.0.1.11"), Protocol: 120, Metric: 120}, nil},
			"021a0000fe780001 00000000 080001000a400200 0800060078000000 080007000a00010b 08001e00c1d40100",
		},
		{
			Change{Delete, &Route{Prefix: pfx("0.0.0.0/0"), Gateway: ip("10.0.1.1"), Link: 2, Onlink: true, Protocol: 120, Metric: 7}, nil},
			"02000000fe780001 04000000 0800060007000000 080005000a000101 0800040002000000",
		},
		{
			Change{Replace, &Route{Prefix: pfx("10.64.1.0/26"), Blackhole: true, Protocol: 120}, nil},
			"021a0000fe780006 00000000 080001000a400100 0800060000000000",
		},
		{
			Change{Replace, &Route{Prefix: pfx("10.64.1.3/32"), Link: 5, Protocol: 120}, nil},
			"02200000fe78fd01 00000000 080001000a400103 0800060000000000 0800040005000000",
		},
		{
			Change{Add, nil, &NextHop{ID: 120001, Gateway: ip("10.0.2.13"), Link: 3, Onlink: true, Protocol: 120}},
			"02007800 04000000 08000100c1d40100 0800050003000000 080006000a00020d",
		},
		{
			Change{Replace, nil, &NextHop{ID: 120002, Group: []uint32{1, 120001}, Protocol: 120}},
			"00007800 00000000 08000100c2d40100 140002000100000000000000c1d4010000000000",
		},
		{
			Change{Replace, &Route{Prefix: pfx("2001:db8:64::/64"), NextHop: 120001, Source: ip("2001:db8:1::11"), Protocol: 120, Metric: 120}, nil},
			"0a400000fe780001 00000000 1400010020010db8006400000000000000000000 0800060078000000 1400070020010db8000100000000000000000011 08001e00c1d40100",
		},
		{
			Change{Replace, &Route{Prefix: pfx("::/0"), Blackhole: true, Protocol: 120}, nil},
			"0a000000fe780006 00000000 0800060000000000",
		},
		{
			Change{Replace, &Route{Prefix: pfx("10.64.2.0/26"), Gateway: ip("fe80::1"), Link: 2, Protocol: 120}, nil},
			"021a0000fe780001 00000000 080001000a400200 0800060000000000 16001200 0a00fe800000000000000000000000000001 0000 0800040002000000",
		},
		{
			Change{Add, nil, &NextHop{ID: 120001, Gateway: ip("fe80::1"), Link: 3, Protocol: 120}},
			"0a007800 00000000 08000100c1d40100 0800050003000000 14000600fe800000000000000000000000000001",
		},
		{
			Change{Add, nil, &NextHop{ID: 120001, Outer: ip("2001:db8:2::13"), OuterSource: ip("2001:db8:1::11"), Link: 3, Protocol: 120}},
			"0a007800 00000000 08000100c1d40100 0800050003000000 34000880 1400020020010db8000200000000000000000013 1400030020010db8000100000000000000000011 0500040040000000 0600070004000000",
		},
		{
			Change{Add, nil, &NextHop{ID: 7, Blackhole: true, Protocol: 120}},
			"02007800 00000000 0800010007000000 04000400",
		},
		{
			Change{Delete, nil, &NextHop{ID: 120001, Link: 3}},
			"00000000 00000000 08000100c1d40100",
		},
	}
	for _, tt := range tests {
		m := tt.change.message()
		if got := hex.EncodeToString(m.body); got != strings.ReplaceAll(tt.want, " ", "") {
			t.Errorf("%s:\n got %s\nwant %s", tt.change, got, strings.ReplaceAll(tt.want, " ", ""))
		}
		same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
		switch {
		case tt.change.Do == Delete:
		case tt.change.NextHop != nil:
			if back, err := decodeNextHop(m.body); err != nil || !cmp.Equal(back, *tt.change.NextHop, same) {
				t.Errorf("%s comes back as %s, %v", tt.change, back, err)
			}
		default:
			if back, err := decodeRoute(m.body); err != nil || back.Route != *tt.change.Route {
				t.Errorf("%s comes back as %s, %v", tt.change, back, err)
			}
		}
	}
}

func TestMessageHeader(t *testing.T) {
	got := hex.EncodeToString(message{unix.RTM_NEWROUTE, unix.NLM_F_ACK, []byte{1, 2, 3, 4}}.appendTo(nil, 9, 77))
	if want := "14000000" + "1800" + "0500" + "09000000" + "4d000000" + "01020304"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRefusal(t *testing.T) {
	words := attr(nil, 1, []byte("Nexthop id does not exist\x00"))
	body := binary.NativeEndian.AppendUint32(nil, ^uint32(unix.EINVAL)+1)
	capped := append(append(body[:4:4], message{kind: unix.RTM_NEWROUTE, body: make([]byte, 40)}.appendTo(nil, 1, 1)[:16]...), words...)
	whole := append(append(body[:4:4], message{kind: unix.RTM_NEWROUTE, body: make([]byte, 40)}.appendTo(nil, 1, 1)...), words...)
	for name, tt := range map[string]struct {
		flags uint16
		body  []byte
	}{"capped": {unix.NLM_F_CAPPED | unix.NLM_F_ACK_TLVS, capped}, "whole": {unix.NLM_F_ACK_TLVS, whole}} {
		err := refusal(header{flags: tt.flags}, tt.body)
		if !errors.Is(err, unix.EINVAL) || !strings.HasSuffix(err.Error(), ": Nexthop id does not exist") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := refusal(header{}, whole[:8]); !errors.Is(err, errShort) {
		t.Errorf("short: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Route{Prefix: pfx("10.64.2.0/26"), NextHop: 1}.encode(nil))
	f.Add(NextHop{ID: 1, Group: []uint32{2, 3}}.encode(nil))
	f.Fuzz(func(_ *testing.T, b []byte) { // Only that it ends, without a panic.
		_, _ = decodeRoute(b)
		_, _ = decodeNextHop(b)
		_, _ = decodeNeighbour(b)
		_, _ = decodeAddress(b)
		_ = refusal(header{flags: unix.NLM_F_ACK_TLVS}, b)
	})
}
