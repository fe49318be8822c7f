package link

import (
	"errors"
	"net/netip"
	"os"
	"slices"

	"netd/netd/internal/rtnl"
)

// setSysctls says how the kernel is to use a link; what someone changes there is mended
// in the next round (kernel ip-sysctl).
func (u Wanted) setSysctls(k Sysctls, wanted []netip.Prefix) error {
	is4 := func(p netip.Prefix) bool { return p.Addr().Is4() }
	own4, six := "0", u.Router6.IsValid()
	// Loose, not strict: what comes back by the tunnel may have left natively. Devices have
	// one way (RFC 3704 section 2.2; package policy does the same for IPv6).
	reverse := "2"
	if u.LAN {
		reverse = "1"
	}
	for _, p := range wanted {
		if six = six || !is4(p); is4(p) {
			own4 = "1"
		}
	}
	var errs []error
	for _, s := range [][2]string{
		// Routes live and die with the carrier, not with the administrative state: what goes by
		// a link without carrier takes another way, and addresses stay.
		{"ignore_routes_with_linkdown", "1"},
		// Without this the kernel takes the new address away along with a former one of the
		// same subnet (it is then a secondary of that).
		{"promote_secondaries", "1"},
		{"rp_filter", reverse},
		// What comes in by a link is forwarded if the link says so, whatever ip_forward says.
		{"forwarding", "1"},
		// Of two uplinks on one wire each answers for its own addresses and asks from them,
		// and neither for the gateway's own on the loopback, which ToRs reach by routes. An
		// uplink without an address has none but that to answer for.
		{"arp_ignore", own4},
		{"arp_announce", "2"},
		// A router that tells its ToR of a shorter way is not what a ToR expects.
		{"send_redirects", "0"},
		{"accept_redirects", "0"},
		{"secure_redirects", "0"},
	} {
		errs = append(errs, k.SetSysctl("ipv4/conf/"+u.Name+"/"+s[0], s[1]))
	}
	switch {
	case u.LAN && !six:
		errs = append(errs, noIPv6(k, u.Name))
	case six:
		for _, s := range [][2]string{{"disable_ipv6", "0"}, {"keep_addr_on_down", "1"}, {"ignore_routes_with_linkdown", "1"}} {
			errs = append(errs, k.SetSysctl("ipv6/conf/"+u.Name+"/"+s[0], s[1]))
		}
	}
	if u.Forward6 {
		errs = append(errs, forward6(k, u.Name))
	}
	return errors.Join(errs...)
}

// forward6 makes a link a router's, if it has IPv6: of one that is none hosts take no default
// route (RFC 4861 section 7.2.5), and it would believe other routers.
func forward6(k Sysctls, link string) error {
	err := k.SetSysctl("ipv6/conf/"+link+"/forwarding", "1")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// distrustRouters has the kernel believe no advertisement and no redirect of IPv6 routers on
// a link: addresses and routers are the configuration's, DHCP's and BGP's. What it has made
// of advertisements before goes. Unnumbered peers are heard by package radv, which asks
// nobody's leave.
func distrustRouters(k Kernel, name string, index int, keep []netip.Prefix) error {
	set := func(key string) error {
		err := k.SetSysctl("ipv6/conf/"+name+"/"+key, "0")
		if errors.Is(err, os.ErrNotExist) {
			return nil // There is no IPv6 on this link.
		}
		return err
	}
	believes := slices.ContainsFunc([]string{"accept_ra", "autoconf"}, func(key string) bool {
		v, err := rtnl.Sysctl("ipv6/conf/" + name + "/" + key)
		return err == nil && v != "0"
	})
	errs := []error{set("accept_redirects"), set("accept_ra")}
	if believes {
		errs = append(errs, k.SweepAdvertised(index, keep))
	}
	// It is the last, so that a sweep that a power cut has ended is done again.
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return set("autoconf")
}
