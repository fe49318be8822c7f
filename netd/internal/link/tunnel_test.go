package link

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"netd/netd/internal/rtnl"
)

// noIPIP is a kernel without the module.
type noIPIP struct{ TunnelKernel }

func (noIPIP) LinkByName(name string) (rtnl.Link, error) {
	return rtnl.Link{}, fmt.Errorf("find link %s: %w", name, unix.ENODEV)
}

func (noIPIP) AddIPIP(name string, _ netip.Addr, _ int) error {
	return fmt.Errorf("add ipip link %s: %w", name, unix.EOPNOTSUPP)
}

func TestTunnelWithoutIPIP(t *testing.T) {
	err := ApplyTunnel(noIPIP{}, netip.MustParseAddr("10.0.1.11"), 1480)
	want := `this kernel has no ipip (module "ipip"): expected it for encapsulation "cross-subnet" or "always"; load it, or set encapsulation = "never"`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error: %v, want: %s", err, want)
	}
}
