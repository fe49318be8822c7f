package link

import (
	"crypto/sha256"
	"errors"
	"net"
	"net/netip"
	"slices"

	"netd/netd/internal/rtnl"
)

// VXLAN is what all gateways of a fleet must agree on.
type VXLAN struct{ VNI, Port int }

// slowChecksums tells whether the kernel leaves a VXLAN link's checksums to hardware
// that can not do them inside of UDP: since 6.12 some send 50 to 300 Mbit/s so, and
// their 9 Gbit/s without (calico #11435).
func slowChecksums() bool { return rtnl.KernelAtLeast(6, 12) }

// macOf is the MAC address that a gateway has in a VXLAN. Each knows the others' from
// their addresses, so that none has to be asked for. An IPv4 address is in it;
// of an IPv6 address it has a hash.
func macOf(a netip.Addr) net.HardwareAddr {
	if a.Is4() {
		four := a.As4()
		return append(net.HardwareAddr{0x02, 0x6e}, four[:]...)
	}
	hash := sha256.Sum256(a.AsSlice())
	return append(net.HardwareAddr{0x06}, hash[:5]...)
}

// neighbours are a gateway's entries in the VXLAN link's tables: who has its address,
// and where that is.
func neighbours(gateway netip.Addr) []rtnl.Neighbour {
	mac := macOf(gateway)
	return []rtnl.Neighbour{{Address: linkLocal(mac), MAC: string(mac)}, {MAC: string(mac), Remote: gateway}}
}

// linkLocal is the address that goes with a MAC address (RFC 4291 appendix A).
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

// applyNeighbours makes a link's permanent neighbours the wanted ones.
func applyNeighbours(k NeighbourTable, index int, wanted []rtnl.Neighbour) error {
	have, err := k.Neighbours(index)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range wanted {
		if !slices.Contains(have, n) {
			errs = append(errs, k.PutNeighbour(index, n))
		}
	}
	for _, n := range have {
		if !slices.Contains(wanted, n) {
			errs = append(errs, k.DeleteNeighbour(index, n))
		}
	}
	return errors.Join(errs...)
}
