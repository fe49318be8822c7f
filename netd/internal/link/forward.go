package link

// Forward turns IPv4 forwarding on, and the reverse path filter of "all" off:
// the kernel uses the larger of "all" and the link's own, and the uplinks need
// loose (2) where pods need strict (1) (kernel ip-sysctl, rp_filter).
func Forward(k Sysctls) error {
	for key, value := range map[string]string{
		"ipv4/ip_forward":         "1",
		"ipv4/conf/all/rp_filter": "0",
		// A redirect is sent if "all" or the link says so: the uplinks say it too (sysctl.go),
		// and what comes later begins with the default.
		"ipv4/conf/all/send_redirects":     "0",
		"ipv4/conf/default/send_redirects": "0",
		// A flow is addresses and ports, so that two pods use both of two ToRs.
		"ipv4/fib_multipath_hash_policy": "1",
		// ip route shows gateways and links (rtnl.MoveNextHops turns it off for a moment).
		"ipv4/nexthop_compat_mode": "1",
	} {
		if err := k.SetSysctl(key, value); err != nil {
			return err
		}
	}
	return nil
}
