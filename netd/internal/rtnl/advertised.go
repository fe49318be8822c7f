package rtnl

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// byAdvertisement is IFAPROT_KERNEL_RA of linux/if_addr.h: the kernel has made the address
// of a router's advertisement.
const byAdvertisement = 2

// SweepAdvertised removes what the kernel has made on a link of routers' advertisements:
// addresses, their subnets' routes, and routes by these routers. A subnet of an address in
// keep stays.
func (c *Conn) SweepAdvertised(link int, keep []netip.Prefix) error {
	addresses, err := c.addresses()
	if err != nil {
		return err
	}
	var errs []error
	var gone []netip.Prefix
	for _, a := range addresses {
		p := a.Prefix
		if a.Link == link && p.Addr().Is6() && (a.protocol == byAdvertisement || a.flags&unix.IFA_F_TEMPORARY != 0) {
			gone = append(gone, p.Masked())
			errs = append(errs, c.DeleteAddress(link, p))
		}
	}
	routes, err := c.advertisedRoutes(link)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, r := range routes {
		kept := slices.ContainsFunc(keep, func(k netip.Prefix) bool { return k.Masked() == r.Prefix })
		if r.Protocol == unix.RTPROT_RA || !kept && (r.expires || slices.Contains(gone, r.Prefix)) {
			errs = append(errs, c.DeleteRoute(r.Route))
		}
	}
	return errors.Join(errs...)
}

// advertised is a route that may have come by an advertisement.
type advertised struct {
	Route
	expires bool // what a person or netd adds does not
}

// advertisedRoutes are a link's IPv6 routes of the kernel's own and of advertisements.
func (c *Conn) advertisedRoutes(link int) ([]advertised, error) {
	request := make([]byte, unix.SizeofRtMsg)
	request[0], request[4] = unix.AF_INET6, unix.RT_TABLE_MAIN
	all, err := dump("routes", func() ([]advertised, error) {
		return dumpAll(c.fib, unix.RTM_GETROUTE, attr32(request, unix.RTA_TABLE, unix.RT_TABLE_MAIN), decodeAdvertised)
	})
	return slices.DeleteFunc(all, func(r advertised) bool {
		return r.Link != link || r.Protocol != unix.RTPROT_RA && r.Protocol != unix.RTPROT_KERNEL || r.Prefix.Addr().IsLinkLocalUnicast() || r.Prefix.Addr().IsMulticast()
	}), err
}

func decodeAdvertised(b []byte) (advertised, error) {
	r, err := decodeRoute(b)
	if err != nil || r.family != unix.AF_INET6 || r.table != unix.RT_TABLE_MAIN {
		return advertised{}, err
	}
	a := advertised{Route: r.Route}
	err = eachAttr(b[unix.SizeofRtMsg:], func(kind uint16, v []byte) error {
		const expiresAt = 8 // in struct rta_cacheinfo
		if kind == unix.RTA_CACHEINFO && len(v) >= expiresAt+4 {
			a.expires = binary.NativeEndian.Uint32(v[expiresAt:]) != 0
		}
		return nil
	})
	return a, err
}
