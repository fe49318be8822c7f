package link

import (
	"errors"
	"os"

	"netd/netd/internal/rtnl"
)

// noIPv6 has a link without IPv6, if the kernel has any: devices have no business with
// addresses that nobody has given.
func noIPv6(k Sysctls, link string) error {
	err := k.SetSysctl("ipv6/conf/"+link+"/disable_ipv6", "1")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// setPort makes a link what a bridge's port has to be: as wide as the bridge, and no host
// of its own.
func (u Wanted) setPort(k LinkTuner, l rtnl.Link) error {
	var err error
	if l.MTU != u.MTU {
		err = k.SetMTU(l.Index, u.MTU)
	}
	return errors.Join(err, noIPv6(k, l.Name))
}
