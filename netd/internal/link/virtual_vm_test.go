//go:build vm

package link_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"netd/firmware/lab/patience"
	"netd/netd/internal/link"
	"netd/netd/internal/rtnl"
)

func command(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", line).CombinedOutput() // also after the test
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// A VLAN on a bond of two links: made as the switch at the other end has it, mended,
// with a member lost, and gone when it is not wanted any more. This is the guest's own
// network namespace.
func TestVLANOnBond(t *testing.T) {
	for mode, other := range map[string]string{
		// The switch knows nothing of it: two bonds of this mode may each listen to the link
		// that the other does not send on.
		"active-backup": "bridge forward_delay 0",
		"802.3ad":       "bond mode 802.3ad miimon 100",
		"balance-xor":   "bond mode balance-xor miimon 100",
	} {
		t.Run(mode, func(t *testing.T) {
			t.Cleanup(func() { command(t, "ip netns del switch; ip link del eth0; ip link del eth1; true") })
			command(t, `set -e
				ip netns add switch
				for i in 0 1; do ip link add eth$i type veth peer name port$i netns switch; done
				ip -n switch link add bond9 type `+other+`
				ip -n switch link set port0 master bond9
				ip -n switch link set port1 master bond9
				ip -n switch link set port0 up
				ip -n switch link set port1 up
				ip -n switch link set bond9 up
				ip -n switch link add link bond9 name bond9.100 type vlan id 100
				ip -n switch link set bond9.100 up
				ip -n switch addr add 10.0.9.1/24 dev bond9.100
				ip -n switch addr add 2001:db8:9::1/64 dev bond9.100 nodad`)
			c, err := rtnl.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			uplinks := []link.Wanted{
				{
					Name: "storage", MTU: 1400, VLAN: &link.VLAN{ID: 100, Parent: link.Match{Name: "bond0"}},
					Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.9.11/24"), netip.MustParsePrefix("2001:db8:9::11/64")},
				},
				{Name: "bond0", MTU: 1500, Bond: &link.Bond{Mode: mode, Members: []link.Match{{Name: "eth0"}, {Name: "eth1"}}}},
			}
			apply := func() error {
				states, err := link.Apply(c, uplinks, nil, nil)
				for _, s := range states {
					if err == nil && (s.Problem != "" || !s.Carrier) {
						err = fmt.Errorf("%+v", s)
					}
				}
				return err
			}
			reaches := func(what string) {
				t.Helper()
				ctx, cancel := patience.Context(t.Context(), 20*time.Second)
				defer cancel()
				for {
					err := apply()
					if err == nil {
						err = exec.CommandContext(t.Context(), "sh", "-c", "ping -c 1 -W 1 10.0.9.1 && ping -6 -c 1 -W 1 2001:db8:9::1").Run()
					}
					if err == nil {
						return
					}
					if ctx.Err() != nil {
						t.Fatalf("%s: %v\n%s", what, err, command(t, "ip -d addr; cat /proc/net/bonding/bond0"))
					}
				}
			}
			reaches("the switch")
			before := command(t, "ip -d link show type vlan; ip -d link show type bond")
			if err := apply(); err != nil || command(t, "ip -d link show type vlan; ip -d link show type bond") != before {
				t.Errorf("the second time: %v", err)
			}
			command(t, "ip link set eth0 down; ip -n switch link set port0 down")
			reaches("the switch by one member")
			command(t, "ip -n switch link set port0 up; ip link set eth1 nomaster")
			reaches("the switch after a member was taken away")
			if out := command(t, "ip link show eth1"); !strings.Contains(out, "master bond0") {
				t.Errorf("a member that was taken away: %s", out)
			}
			uplinks[0].VLAN.ID = 101
			if err := apply(); err != nil || !strings.Contains(command(t, "ip -d link show storage"), "id 101 ") {
				t.Errorf("another id: %v", err)
			}
			uplinks = nil
			if err := apply(); err != nil {
				t.Error(err)
			}
			if out := command(t, "ip link"); strings.Contains(out, "storage") || strings.Contains(out, "bond0:") {
				t.Errorf("left: %s", out)
			}
		})
	}
}

// A trunk has room for its VLANs, whatever its own MTU is to be: the two uplinks do not set
// it in turn.
func TestTrunkMTU(t *testing.T) {
	t.Cleanup(func() { command(t, "ip link del uplink0; true") })
	command(t, "ip link add eth8 mtu 1500 type veth peer name eth9; ip link set eth9 mtu 9200; ip link set eth9 up")
	c, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	uplinks := []link.Wanted{
		{Name: "uplink0", MatchName: "eth8", MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.8.11/24")}},
		{Name: "storage", MTU: 9000, VLAN: &link.VLAN{ID: 100, Parent: link.Match{Name: "uplink0"}}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.9.11/24")}},
	}
	for i := range 3 {
		states, err := link.Apply(c, uplinks, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			if i > 0 && (s.MTU != 9000 || s.Problem != "") {
				t.Errorf("round %d: %s has MTU %d, problem %q; want 9000 on both", i, s.Name, s.MTU, s.Problem)
			}
		}
	}
}

// The neighbour tables have the sizes that are asked for, within bounds: this is the first
// network namespace, where they are.
func TestNeighbourTables(t *testing.T) {
	for n, want := range map[link.Neighbours]string{
		{V4: 300, V6: 0}:      "1024 2048 4096 1024 2048 4096",
		{V4: 4160, V6: 4096}:  "4160 8320 16640 4096 8192 16384",
		{V4: 1 << 20, V6: 20}: "16384 32768 65536 1024 2048 4096",
	} {
		if is, err := n.Apply(); !is || err != nil {
			t.Fatalf("%+v: %v, %v", n, is, err)
		}
		got := ""
		for _, family := range []string{"ipv4", "ipv6"} {
			for i := range 3 {
				v, err := rtnl.Sysctl(fmt.Sprintf("%s/neigh/default/gc_thresh%d", family, i+1))
				if err != nil {
					t.Fatal(err)
				}
				got += " " + v
			}
		}
		if got = strings.TrimSpace(got); got != want {
			t.Errorf("%+v: %s, want %s", n, got, want)
		}
	}
}
