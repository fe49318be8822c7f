package pod

import (
	"errors"
	"net/netip"
	"os"

	"netd/netd/internal/rtnl"
)

// defaultMetric6 is what the kernel gives to an IPv6 route without a metric.
const defaultMetric6 = 1024

// sysctls sets those of the host.
type sysctls interface {
	SetSysctl(key, value string) error
}

// hostSide6 lets the host side of a pair do IPv6 or not. Its only address is the
// pods' next hop, and it believes no router on the other side.
func hostSide6(k sysctls, link string, wanted bool) error {
	conf := "ipv6/conf/" + link + "/"
	if !wanted {
		err := k.SetSysctl(conf+"disable_ipv6", "1")
		if errors.Is(err, os.ErrNotExist) {
			return nil // A kernel without IPv6 has nothing to turn off.
		}
		return err
	}
	return setSysctls(k.SetSysctl, conf,
		"addr_gen_mode", "1", // none of the kernel's own
		"accept_ra", "0",
		"forwarding", "1",
		"disable_ipv6", "0",
	)
}

// podSide6 readies the inside of a pod, before its link is up: its addresses are
// in use at once, as nobody else can have them, and only we say which they are.
func podSide6(netns string) error {
	return rtnl.AtNetns(netns, func() error {
		return setSysctls(rtnl.SetSysctl, "ipv6/conf/"+inside+"/",
			"addr_gen_mode", "1", // as there: podLinkLocal gives it one
			"accept_dad", "0",
			"accept_ra", "0",
			"autoconf", "0",
			"disable_ipv6", "0",
		)
	})
}

// podLinkLocal gives the pod the one link-local address that the guard lets pass. It is
// on no subnet: whatever other one a program asks for goes to the gateway, and fills no table
// of neighbours, which would be that of all namespaces.
func podLinkLocal(in *rtnl.Conn, link int) error {
	have, err := in.LinkLocals(link)
	if err != nil {
		return err
	}
	only := netip.PrefixFrom(LinkLocal(), 128)
	if err := in.AddAddressAtOnce(link, only); err != nil {
		return err
	}
	for _, p := range have {
		if p != only { // one of an earlier release, or of a person's
			if err := in.DeleteAddress(link, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// setSysctls sets pairs of names and values under a path, in their order.
func setSysctls(set func(key, value string) error, path string, pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := set(path+pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}
