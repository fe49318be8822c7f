package pod

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

// Gateway is the pods' default next hop. It is on no link: the host side of the
// veth answers ARP for it.
func Gateway() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 1, 1}) }

// Gateway6 is the pods' default next hop for IPv6. The host side of every veth has it.
func Gateway6() netip.Addr { return netip.MustParseAddr(layout.PodGateway6) }

// LinkLocal is the address that every pod has on its link, where only the gateway is
// beside it.
func LinkLocal() netip.Addr { return netip.MustParseAddr(layout.PodLinkLocal) }

// inside is the link's name in the pod.
const inside = "eth0"

// bootProtocol marks the routes inside of a pod (RTPROT_BOOT, as by hand).
const bootProtocol = 3

// leastMTU6 is the least MTU in octets at which the kernel does IPv6 (RFC 8200
// section 5).
const leastMTU6 = 1280

// Owner is who asked for a pod.
type Owner string

// The owners.
const (
	ByWorkload Owner = "workload" // of the configuration
	ByHand     Owner = "hand"     // netd pod add
)

// Spec is a wanted pod.
type Spec struct {
	Name  string
	Owner Owner
	// Addresses are at most one of each family, IPv4 first.
	Addresses []netip.Addr
	// MTU in octets, at least 1280 with an IPv6 address.
	MTU int
}

// has tells whether the pod has an address of the family.
func (s Spec) has(is func(netip.Addr) bool) bool { return slices.ContainsFunc(s.Addresses, is) }

// Pod is the record of a pod that is there.
type Pod struct {
	Name  string
	Owner Owner
	// Link is the host side's name, Index its number in the kernel.
	Link  string
	Index int
	// Netns is the path of its namespace, MAC its link's address there, as octets.
	Netns string
	MAC   string
	// Addresses are at most one of each family, IPv4 first; none if the pod has none (yet).
	Addresses []netip.Addr
}

// Equal tells whether two pods are the same in everything.
func (p Pod) Equal(o Pod) bool {
	return p.Name == o.Name && p.Owner == o.Owner && p.Link == o.Link && p.Index == o.Index && p.Netns == o.Netns && p.MAC == o.MAC && slices.Equal(p.Addresses, o.Addresses)
}

// Manager makes pods in one host namespace.
type Manager struct {
	host *rtnl.Conn
	dir  string
	done []string
}

// NewManager uses the host's connection and the folder of namespaces
// (/run/netns, where ip-netns(8) finds them).
func NewManager(host *rtnl.Conn, dir string) *Manager { return &Manager{host: host, dir: dir} }

// Done is what was to do in the last Ensure, in words: nothing for a pod that was whole.
func (m *Manager) Done() []string { return m.done }

// LinkName is the host side's name for a pod: 13 octets, from its name.
func LinkName(pod string) string {
	sum := sha256.Sum256([]byte(pod))
	return layout.PodLinks + hex.EncodeToString(sum[:5])
}

// Ensure makes the pod, or finds it as it should be and changes nothing.
func (m *Manager) Ensure(s Spec) (Pod, error) {
	m.done = nil
	_ = m.host.Written() // Others'.
	p := Pod{Name: s.Name, Owner: s.Owner, Link: LinkName(s.Name), Netns: filepath.Join(m.dir, s.Name), Addresses: slices.Clone(s.Addresses)}
	if s.has(netip.Addr.Is6) && s.MTU < leastMTU6 {
		return p, fmt.Errorf("MTU %d: expected at least %d, without which there is no IPv6", s.MTU, leastMTU6)
	}
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
	p.Index = host.Index
	if err := m.hostSide(host, s); err != nil {
		return p, err
	}
	if p.MAC, err = podSide(in, host, p, s.MTU); err != nil {
		return p, err
	}
	err = m.hostNeighbours(p)
	m.done = m.host.Written()
	for _, d := range in.Written() {
		m.done = append(m.done, "inside: "+d)
	}
	return p, err
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
	} {
		if err := m.host.SetSysctl(key, value); err != nil {
			return err
		}
	}
	if host.MTU != s.MTU { // First: a link with too little knows no IPv6.
		if err := m.host.SetMTU(host.Index, s.MTU); err != nil {
			return err
		}
	}
	if err := hostSide6(m.host, host.Name, s.has(netip.Addr.Is6)); err != nil {
		return err
	}
	if !host.Up {
		if err := m.host.SetUp(host.Index); err != nil {
			return err
		}
	}
	if !s.has(netip.Addr.Is6) {
		return nil
	}
	return m.host.AddAddressAtOnce(host.Index, netip.PrefixFrom(Gateway6(), 64))
}

// neighbours are what the host has of a pod in its tables, for good: nothing is asked for
// on a pod's link. What is asked for can be lost, with a table that others have filled.
func (p Pod) neighbours() []rtnl.Neighbour {
	var all []rtnl.Neighbour
	for _, a := range p.Addresses {
		all = append(all, rtnl.Neighbour{Address: a, MAC: p.MAC})
		if a.Is6() {
			all = append(all, rtnl.Neighbour{Address: LinkLocal(), MAC: p.MAC})
		}
	}
	return all
}

// hostNeighbours leaves the host with exactly these.
func (m *Manager) hostNeighbours(p Pod) error {
	have, err := m.host.Neighbours(p.Index)
	if err != nil {
		return err
	}
	wanted := p.neighbours()
	for _, n := range have {
		if n.Address.IsValid() && !slices.ContainsFunc(wanted, func(w rtnl.Neighbour) bool { return w.Address == n.Address }) {
			if err := m.host.DeleteNeighbour(p.Index, n); err != nil {
				return err
			}
		}
	}
	for _, n := range wanted {
		if !slices.Contains(have, n) {
			if err := m.host.PutNeighbour(p.Index, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// podSide makes the inside of the pod so, and returns its MAC address.
func podSide(in *rtnl.Conn, host rtnl.Link, p Pod, mtu int) (mac string, err error) {
	lo, err := in.LinkByName("lo")
	if err != nil {
		return "", err
	}
	eth, err := in.LinkByName(inside)
	if err != nil {
		return "", err
	}
	mac = string(eth.MAC)
	if eth.MTU != mtu { // First, as on the host side.
		if err := in.SetMTU(eth.Index, mtu); err != nil {
			return mac, err
		}
	}
	if slices.ContainsFunc(p.Addresses, netip.Addr.Is6) {
		if err := podSide6(p.Netns); err != nil {
			return mac, err
		}
	}
	for _, l := range []rtnl.Link{lo, eth} {
		if !l.Up {
			if err := in.SetUp(l.Index); err != nil {
				return mac, err
			}
		}
	}
	if err := podAddresses(in, eth.Index, p.Addresses); err != nil {
		return mac, err
	}
	return mac, podRoutes(in, eth.Index, host.MAC, p.Addresses)
}

// podAddresses leaves the pod with exactly these, and with its link-local one.
func podAddresses(in *rtnl.Conn, link int, wanted []netip.Addr) error {
	if slices.ContainsFunc(wanted, netip.Addr.Is6) {
		if err := podLinkLocal(in, link); err != nil {
			return err
		}
	}
	have, err := in.Addresses(link)
	if err != nil {
		return err
	}
	for _, a := range wanted {
		prefix := netip.PrefixFrom(a, a.BitLen())
		if slices.Contains(have, rtnl.Address{Prefix: prefix, Link: link}) {
			continue
		}
		add := in.ReplaceAddress
		if a.Is6() {
			add = in.AddAddressAtOnce
		}
		if err := add(link, prefix); err != nil {
			return err
		}
	}
	for _, a := range have {
		if !slices.Contains(wanted, a.Prefix.Addr()) || !a.Prefix.IsSingleIP() {
			if err := in.DeleteAddress(link, a.Prefix); err != nil {
				return err
			}
		}
	}
	return nil
}

// podRoutes gives the pod a default route for each family that it has.
func podRoutes(in *rtnl.Conn, link int, gateway net.HardwareAddr, addresses []netip.Addr) error {
	have, err := in.Routes(bootProtocol)
	if err != nil {
		return err
	}
	neighbours, err := in.Neighbours(link)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		via, wanted := Gateway(), []rtnl.Route{
			{Prefix: netip.PrefixFrom(Gateway(), 32), Link: link, Protocol: bootProtocol},
			{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: Gateway(), Link: link, Protocol: bootProtocol},
		}
		if a.Is6() {
			via, wanted = Gateway6(), []rtnl.Route{{
				Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Gateway: Gateway6(), Link: link, Protocol: bootProtocol,
				Metric: defaultMetric6,
			}}
		}
		// Permanent: proxy ARP answers only if the host has a route to 169.254.1.1,
		// and a gateway may be without a default route; and nothing is to be asked.
		if n := (rtnl.Neighbour{Address: via, MAC: string(gateway)}); !slices.Contains(neighbours, n) {
			if err := in.PutNeighbour(link, n); err != nil {
				return err
			}
		}
		for _, r := range wanted {
			if slices.Contains(have, r) { // IPv6 tells of a replacement by the same.
				continue
			}
			if err := in.ReplaceRoute(r); err != nil {
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
		p := Pod{Name: l.Alias, Owner: ByWorkload, Link: l.Name, Index: l.Index, Netns: filepath.Join(m.dir, l.Alias)}
		if l.Kind != "veth" || l.Alias == "" || l.Name != LinkName(l.Alias) || !rtnl.NetnsExists(p.Netns) {
			continue
		}
		if err := p.read(); err != nil {
			return nil, fmt.Errorf("pod %s: %w", p.Name, err)
		}
		pods = append(pods, p)
	}
	return pods, nil
}

// Damaged returns those of the pods whose link on the host is not as Ensure leaves
// it: who takes a link down takes its IPv6 address away for good, say. All are to have
// the MTU.
func (m *Manager) Damaged(pods []Pod, mtu int) ([]Pod, error) {
	links, err := m.host.Links()
	if err != nil {
		return nil, err
	}
	gateways, err := m.host.Holders(Gateway6())
	if err != nil {
		return nil, err
	}
	neighbours, err := m.host.AllNeighbours()
	if err != nil {
		return nil, err
	}
	changed := map[string]bool{}
	for _, key := range m.host.ChangedSysctls() {
		if at := strings.Split(key, "/"); len(at) > 2 { // as in ipv4/conf/LINK/rp_filter
			changed[at[2]] = true
		}
	}
	up := map[string]rtnl.Link{}
	for _, l := range links {
		if l.Up {
			up[l.Name] = l
		}
	}
	return slices.DeleteFunc(slices.Clone(pods), func(p Pod) bool {
		l, ok := up[p.Link]
		return ok && l.MTU == mtu && !changed[p.Link] && (gateways[l.Index] || !slices.ContainsFunc(p.Addresses, netip.Addr.Is6)) &&
			!slices.ContainsFunc(p.neighbours(), func(n rtnl.Neighbour) bool { return !slices.Contains(neighbours[l.Index], n) })
	}), nil
}

// read fills in what is in a pod's namespace.
func (p *Pod) read() error {
	in, err := rtnl.OpenAt(p.Netns)
	if err != nil {
		return err
	}
	defer in.Close()
	eth, err := in.LinkByName(inside)
	if rtnl.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	have, err := in.Addresses(eth.Index)
	if err != nil {
		return err
	}
	p.MAC = string(eth.MAC)
	for _, a := range have {
		same := func(b netip.Addr) bool { return b.BitLen() == a.Prefix.Addr().BitLen() }
		if !slices.ContainsFunc(p.Addresses, same) {
			p.Addresses = append(p.Addresses, a.Prefix.Addr())
		}
	}
	slices.SortFunc(p.Addresses, netip.Addr.Compare)
	return nil
}
