package link

import (
	"errors"
	"fmt"
	"os"
)

// Forward6 turns IPv6 forwarding on. From then on the kernel does not take its
// routers from their advertisements (ip-sysctl, accept_ra): they come from the
// configuration and by BGP. Uplinks keep addresses that they got so.
func Forward6(k Sysctls) error {
	for _, s := range [][2]string{
		{"ipv6/conf/all/forwarding", "1"},
		{"ipv6/fib_multipath_hash_policy", "1"}, // as for IPv4
	} {
		err := k.SetSysctl(s[0], s[1])
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("this kernel has no IPv6: expected it for the IPv6 addresses of a pool or a LAN; build it in, or do not start it with ipv6.disable=1: %w", err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
