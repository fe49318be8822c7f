package pod

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"netd/netd/internal/rtnl"
)

// LinkPrefix begins the name of every pod's link on the host.
const LinkPrefix = "pod"

// Gateway is the pods' default next hop. It is on no link: the host side of the
// veth answers ARP for it.
func Gateway() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 1, 1}) }

// inside is the link's name in the pod.
const inside = "eth0"

// bootProtocol marks the routes inside of a pod (RTPROT_BOOT, as by hand).
const bootProtocol = 3

// Spec is a wanted pod.
type Spec struct {
	Name    string
	Address netip.Addr
	MTU     int
}

// Pod is a pod that is there.
type Pod struct {
	Name string
	// Link is the host side's name.
	Link string
	// Netns is the path of its namespace.
	Netns string
	// Address is invalid if the pod has none (yet).
	Address netip.Addr
}

// Manager makes pods in one host namespace.
type Manager struct {
	host *rtnl.Conn
	dir  string
}

// NewManager uses the host's connection and the folder of namespaces
// (/run/netns, where ip-netns(8) finds them).
func NewManager(host *rtnl.Conn, dir string) *Manager { return &Manager{host, dir} }

// LinkName is the host side's name for a pod: 13 octets, from its name.
func LinkName(pod string) string {
	sum := sha256.Sum256([]byte(pod))
	return LinkPrefix + hex.EncodeToString(sum[:5])
}

// Ensure makes the pod, or finds it as it should be and changes nothing.
func (m *Manager) Ensure(s Spec) (Pod, error) {
	p := Pod{Name: s.Name, Link: LinkName(s.Name), Netns: filepath.Join(m.dir, s.Name), Address: s.Address}
	if !rtnl.NetnsExists(p.Netns) {
		if err := rtnl.DeleteNetns(p.Netns); err != nil { // a file left by a power cut
			return p, err
		}
		if err := rtnl.CreateNetns(p.Netns); err != nil {
			return p, err
		}
	}
	in, err := rtnl.OpenAt(p.Netns)
	if err != nil {
		return p, err
	}
	defer in.Close()
	host, err := m.ensureVeth(p, s, in)
	if err != nil {
		return p, err
	}
	if err := m.hostSide(host, s); err != nil {
		return p, err
	}
	return p, podSide(in, host, s)
}

// ensureVeth returns the host side of the pair; a pair of which one side is not
// where it belongs is made anew.
func (m *Manager) ensureVeth(p Pod, s Spec, in *rtnl.Conn) (rtnl.Link, error) {
	host, err := m.host.LinkByName(p.Link)
	if err != nil && !rtnl.IsNotExist(err) {
		return host, err
	}
	_, errIn := in.LinkByName(inside)
	if errIn != nil && !rtnl.IsNotExist(errIn) {
		return host, errIn
	}
	if err == nil && errIn == nil && host.Alias == p.Name {
		return host, nil
	}
	if err := errors.Join(m.host.DeleteLink(p.Link), in.DeleteLink(inside)); err != nil {
		return host, err
	}
	if err := m.host.AddVeth(p.Link, p.Name, inside, p.Netns, s.MTU); err != nil {
		return host, err
	}
	return m.host.LinkByName(p.Link)
}

func (m *Manager) hostSide(host rtnl.Link, s Spec) error {
	for key, value := range map[string]string{
		"ipv4/conf/" + host.Name + "/proxy_arp":    "1",
		"ipv4/neigh/" + host.Name + "/proxy_delay": "0", // the default makes the first packet wait 0.8 s
		"ipv4/conf/" + host.Name + "/rp_filter":    "1", // strict: a pod sends from its own address only
		"ipv4/conf/" + host.Name + "/forwarding":   "1",
		"ipv6/conf/" + host.Name + "/disable_ipv6": "1",
	} {
		if err := rtnl.SetSysctl(key, value); err != nil && !(errors.Is(err, os.ErrNotExist) && strings.HasPrefix(key, "ipv6/")) {
			return err // (a kernel without IPv6 has nothing to turn off)
		}
	}
	if host.MTU != s.MTU {
		if err := m.host.SetMTU(host.Index, s.MTU); err != nil {
			return err
		}
	}
	if host.Up {
		return nil
	}
	return m.host.SetUp(host.Index)
}

func podSide(in *rtnl.Conn, host rtnl.Link, s Spec) error {
	lo, err := in.LinkByName("lo")
	if err != nil {
		return err
	}
	eth, err := in.LinkByName(inside)
	if err != nil {
		return err
	}
	for _, l := range []rtnl.Link{lo, eth} {
		if !l.Up {
			if err := in.SetUp(l.Index); err != nil {
				return err
			}
		}
	}
	if eth.MTU != s.MTU {
		if err := in.SetMTU(eth.Index, s.MTU); err != nil {
			return err
		}
	}
	if err := podAddress(in, eth.Index, netip.PrefixFrom(s.Address, s.Address.BitLen())); err != nil {
		return err
	}
	// The neighbour is permanent as well: proxy ARP answers only if the host
	// has a route to 169.254.1.1, and a gateway may be without a default route.
	if err := in.SetNeighbour(eth.Index, Gateway(), host.MAC); err != nil {
		return err
	}
	via := netip.PrefixFrom(Gateway(), 32)
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	return errors.Join(
		in.ReplaceRoute(rtnl.Route{Prefix: via, Link: eth.Index, Protocol: bootProtocol}),
		in.ReplaceRoute(rtnl.Route{Prefix: all, Gateway: Gateway(), Link: eth.Index, Protocol: bootProtocol}),
	)
}

// podAddress leaves the pod with exactly one address.
func podAddress(in *rtnl.Conn, link int, want netip.Prefix) error {
	have, err := in.Addresses(link)
	if err != nil {
		return err
	}
	if !slices.Contains(have, rtnl.Address{Prefix: want, Link: link}) {
		if err := in.ReplaceAddress(link, want); err != nil {
			return err
		}
	}
	for _, a := range have {
		if a.Prefix != want {
			if err := in.DeleteAddress(link, a.Prefix); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove takes the pod's link and namespace away; it succeeds for a pod that is
// not there, or only half.
func (m *Manager) Remove(name string) error {
	return errors.Join(m.host.DeleteLink(LinkName(name)), rtnl.DeleteNetns(filepath.Join(m.dir, name)))
}

// List returns the pods that have a link and a namespace, with the address that
// is in it. A link whose namespace is gone is half a pod: it is not listed, and
// the next Ensure makes it anew.
func (m *Manager) List() ([]Pod, error) {
	links, err := m.host.Links()
	if err != nil {
		return nil, err
	}
	var pods []Pod
	for _, l := range links {
		p := Pod{Name: l.Alias, Link: l.Name, Netns: filepath.Join(m.dir, l.Alias)}
		if l.Kind != "veth" || l.Alias == "" || l.Name != LinkName(l.Alias) || !rtnl.NetnsExists(p.Netns) {
			continue
		}
		if p.Address, err = addressIn(p.Netns); err != nil {
			return nil, fmt.Errorf("pod %s: %w", p.Name, err)
		}
		pods = append(pods, p)
	}
	return pods, nil
}

// addressIn reads a pod's address from its namespace.
func addressIn(netns string) (netip.Addr, error) {
	in, err := rtnl.OpenAt(netns)
	if err != nil {
		return netip.Addr{}, err
	}
	defer in.Close()
	eth, err := in.LinkByName(inside)
	if rtnl.IsNotExist(err) {
		return netip.Addr{}, nil
	}
	if err != nil {
		return netip.Addr{}, err
	}
	addresses, err := in.Addresses(eth.Index)
	if err != nil || len(addresses) == 0 {
		return netip.Addr{}, err
	}
	return addresses[0].Prefix.Addr(), nil
}
