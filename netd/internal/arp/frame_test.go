package arp

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
)

// What is sent is read as it was, what is no ARP for IPv4 on Ethernet is not, and the filter
// lets through only what is by one of the addresses, or with probing for one.
func TestFrames(t *testing.T) {
	a, b, c := netip.MustParseAddr("10.0.1.11"), netip.MustParseAddr("10.0.1.12"), netip.MustParseAddr("10.0.1.13")
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	for _, f := range []frame{{request, a, b, mac}, {2, c, a, mac}, {request, netip.IPv4Unspecified(), a, mac}} {
		got, ok := decode(f.encode())
		if diff := cmp.Diff(f.mac.String(), got.mac.String()); !ok || diff != "" || got.sender != f.sender || got.target != f.target || got.operation != f.operation {
			t.Errorf("%+v is read as %+v, %v", f, got, ok)
		}
	}
	whole := frame{request, a, b, mac}.encode()
	for i := range whole {
		if _, ok := decode(whole[:i]); ok {
			t.Errorf("%d octets are a frame", i)
		}
	}
	for i := range 6 { // hardware, protocol, and their addresses' lengths
		other := append([]byte{}, whole...)
		other[i]++
		if _, ok := decode(other); ok {
			t.Errorf("with another octet %d it is a frame", i)
		}
	}
	for _, probing := range []bool{false, true} {
		vm, err := bpf.NewVM(accept([]netip.Addr{a, b}, probing))
		if err != nil {
			t.Fatal(err)
		}
		for f, want := range map[*frame]bool{
			{request, a, c, mac}: true, {2, b, c, mac}: true, {request, c, a, mac}: probing, {request, netip.IPv4Unspecified(), b, mac}: probing,
			{request, c, c, mac}: false, {2, netip.IPv4Unspecified(), c, mac}: false,
		} {
			n, err := vm.Run(f.encode())
			if err != nil || (n > 0) != want {
				t.Errorf("probing %v: %s asks for %s: %d octets pass (%v), want any: %v", probing, f.sender, f.target, n, err, want)
			}
		}
	}
}
