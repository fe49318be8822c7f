//go:build net

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/netd/config"
	"netd/netd/internal/api"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/randconf"
)

// number is a number that the environment may say.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestRandomConfigurations: what netd check passes runs. Good files are changed at random,
// and whatever passes is run by an agent in a namespace that has the links that the file
// speaks of. All that may be wrong then is what the file does not promise: a peer, a
// server, containerd or a password's file that are not there.
//
// CONFIGURATIONS and SEED in the environment are for many (make prove-configs).
func TestRandomConfigurations(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		m, err := randconf.New(root(t) + "/configs")
		if err != nil {
			t.Fatal(err)
		}
		have, wanted := kernelHas(t), number(t, "CONFIGURATIONS", 10)
		seed := number(t, "SEED", 0)
		for ran, last := uint64(0), seed+20*(wanted+10); ran < wanted; seed++ {
			if seed == last {
				t.Fatalf("only %d could be run", ran)
			}
			devices, err := config.ParseAll("random.toml", []byte(m.Text(seed)))
			if err != nil {
				continue
			}
			if c := devices[int(seed)%len(devices)].Config; have.all(c) {
				ran++
				t.Run(fmt.Sprint(seed), func(t *testing.T) { runRandom(t, c) })
			}
		}
	})
}

// kernel is what the kernel of the test can make.
type kernel struct{ vlans, bonds, ipip bool }

func kernelHas(t *testing.T) kernel {
	t.Helper()
	n := newNet(t.Context(), t)
	h, err := n.Host(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	can := func(line string) bool {
		_, err := h.Run(t.Context(), strings.Fields("ip link add "+line)...)
		return err == nil
	}
	return kernel{
		vlans: can("d9 type bridge") && can("link d9 name v9 type vlan id 9"),
		bonds: can("b9 type bond"), ipip: can("i9 type ipip local 10.9.9.9"),
	}
}

// all tells whether the kernel has all that a configuration needs.
func (k kernel) all(c *config.Config) bool {
	tunnels := slices.ContainsFunc(c.Pools, func(p config.Pool) bool { return p.Encapsulation != config.EncapsulateNever })
	return (k.ipip || c.Tunnel.Type != config.TunnelIPIP || !tunnels) && !slices.ContainsFunc(links(c), func(l config.Link) bool {
		return !k.vlans && l.VLAN != nil || !k.bonds && l.Bond != nil
	})
}

// links are those that a configuration describes.
func links(c *config.Config) []config.Link {
	var all []config.Link
	for _, u := range c.Uplinks {
		all = append(all, u.Link)
	}
	for _, l := range c.LANs {
		all = append(all, l.Link)
	}
	return all
}

// rawLinks are the links that a box for the configuration has.
func rawLinks(c *config.Config) (names []string, macs map[string]string) {
	macs = map[string]string{}
	add := func(name string) {
		own := slices.ContainsFunc(links(c), func(l config.Link) bool { return l.Name == name })
		if name != "" && !own && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for i, u := range links(c) {
		switch {
		case u.VLAN != nil:
			add(u.VLAN.Parent)
		case u.Bond != nil:
			for _, m := range u.Bond.Members {
				add(m)
			}
		case u.Bridge != nil:
			for _, m := range u.Bridge.Members {
				add(m)
			}
		case u.Match.MAC != nil:
			name := fmt.Sprintf("nic%d", i)
			names, macs[name] = append(names, name), u.Match.MAC.String()
		case u.Match.Name == u.Name:
			names = append(names, u.Name)
		default:
			add(u.Match.Name)
		}
	}
	return names, macs
}

// notPromised are problems of what is not in the file.
var notPromised = regexp.MustCompile(`no DHCP lease|without its password|containerd|router advertisement|tell the metrics on .*cannot assign`)

func runRandom(t *testing.T, c *config.Config) {
	ctx := t.Context()
	n := newNet(ctx, t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the configuration:\n%s", c.TOML())
		}
	})
	gw, err := n.Host(ctx, "gw")
	if err != nil {
		t.Fatal(err)
	}
	tor, err := n.Host(ctx, "tor")
	if err != nil {
		t.Fatal(err)
	}
	names, macs := rawLinks(c)
	for i, name := range names {
		// A kernel's name has 15 octets; a longer one is a name beside it.
		short := name
		if len(name) > 15 {
			short = fmt.Sprintf("long%d", i)
		}
		err := n.Wire(ctx, gw, short, tor, fmt.Sprintf("tor%d", i))
		if err == nil && short != name {
			_, err = gw.Run(ctx, "ip", "link", "property", "add", "dev", short, "altname", name)
		}
		if mac := macs[name]; err == nil && mac != "" {
			_, err = gw.Run(ctx, "ip", "link", "set", short, "address", mac)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	file := gw.Path("netd.toml")
	if err := os.WriteFile(file, c.TOML(), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := gw.Netd(ctx, binary(t), file, lab.Gateway{Name: "gw"})
	if err != nil {
		t.Fatalf("the agent does not start: %v", err)
	}
	within(t, 10*time.Second, "a round without a problem", func(ctx context.Context) error {
		var s api.Status
		if err := g.JSON(ctx, &s, "status"); err != nil {
			return err
		}
		if s.Work.Rounds < 2 {
			return fmt.Errorf("%d rounds", s.Work.Rounds)
		}
		var bad []string
		for _, p := range s.Problems {
			if !notPromised.MatchString(p) {
				bad = append(bad, p)
			}
		}
		if s.ConfigFile != file {
			bad = append(bad, "runs with "+s.ConfigFile)
		}
		if bad != nil {
			return errors.New(strings.Join(bad, "; "))
		}
		return nil
	})
}
