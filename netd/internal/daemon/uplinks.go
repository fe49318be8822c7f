package daemon

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"netd/netd/internal/dhcp"
	"netd/netd/internal/intent"
	"netd/netd/internal/link"
	"netd/netd/internal/pod"
	"netd/netd/internal/radv"
	"netd/netd/internal/rtnl"
	"netd/netd/layout"
)

// uplinks are the links toward ToRs: their addresses and leases, their carriers, the
// routers that are heard there; and the LANs, and all ways that lead elsewhere.
type uplinks struct {
	log     *slog.Logger
	kernel  *rtnl.Conn
	start   func(func(context.Context) error) context.CancelFunc
	loop    *loop
	runDir  string
	ports   ports // of the board
	radv    *radv.Monitor
	states  []link.State
	lans    []link.State         // of the LANs
	dark    map[string]time.Time // by uplink without carrier: since when
	leases  map[string]dhcp.Lease
	leasing map[string]*leasing
	// guarding are those who look after the addresses.
	guarding map[string]*guarding
	// By link: the router that was heard there, and our own link-local address.
	routers, linkLocals map[string]netip.Addr
	ways                []netip.Prefix
	noRoom              link.Neighbours // what was said that could not be
	asked               asked           // of the last apply
	mended              []string        // what somebody else had changed, as the last apply found it
	ownWork             bool            // the last apply has changed what nobody had
}

// look takes in what was found beside the links' own states, as far as the configuration
// needs it: routers, own link-local addresses, ways that lead elsewhere.
func (u *uplinks) look(want intent.Intent, pods map[string]pod.Pod) error {
	u.radv.Set(want.Heard)
	u.routers, u.linkLocals = map[string]netip.Addr{}, map[string]netip.Addr{}
	for link, a := range u.radv.Routers() {
		u.routers[link] = a.WithZone(link)
	}
	for _, link := range want.LinkLocals {
		if own := linkLocal(link); own.IsValid() {
			u.linkLocals[link] = own
		}
	}
	if !want.AskWays {
		u.ways = nil
		return nil
	}
	// If the kernel can not be read all stays as it is.
	ways, err := u.localWays(want, pods)
	if err == nil {
		u.ways = ways
	}
	return err
}

// apply makes the uplinks and LANs so, and tells whether the uplinks' states are others
// than before. A link that is not there, or has no lease, is in its State; the error is for
// what stops everything.
func (u *uplinks) apply(want intent.Intent) (changed bool, err error) {
	wanted := make([]link.Wanted, len(want.Uplinks))
	for i, w := range want.Uplinks {
		wanted[i] = w.Wanted
	}
	u.mended, u.ownWork = nil, false
	if err := u.makeRoom(want.Neighbours); err != nil {
		return false, err
	}
	wanted = append(wanted, want.LANs...)
	all, err := link.Apply(u.kernel, wanted, want.Leased, want.Own)
	if err != nil {
		return false, err
	}
	u.mended = u.kernel.Written()
	now := asked{wanted, want.Own, maps.Clone(u.leases)}
	if !reflect.DeepEqual(u.asked, now) || !slices.EqualFunc(slices.Concat(u.states, u.lans), all, stood) {
		u.mended, u.ownWork = nil, len(u.mended) > 0 // It was not wanted, or could not be, before.
	}
	u.asked = now
	u.guard(want, all)
	states, lans := all[:len(want.Uplinks):len(want.Uplinks)], all[len(want.Uplinks):]
	for _, s := range changes(u.lans, lans) {
		u.log.Info("LAN", "link", s.Name, "carrier", s.Carrier, "addresses", s.Addresses, "problem", s.Problem)
		if s.Carrier {
			u.returned(s.Name)
		}
	}
	u.lans = lans
	u.noteCarriers(states)
	same := slices.EqualFunc(u.states, states, link.State.Equal)
	u.states = states
	return !same, nil
}

// asked is all that was wanted of links.
type asked struct {
	uplinks []link.Wanted
	own     []netip.Addr
	leases  map[string]dhcp.Lease
}

// stood tells whether a link was all right before, and is the same now.
func stood(was, is link.State) bool { return was.Problem == "" && was.Index == is.Index }

// makeRoom sizes the kernel's neighbour tables.
func (u *uplinks) makeRoom(n link.Neighbours) error {
	is, err := n.Apply()
	if !is && n != u.noRoom {
		u.noRoom = n
		u.log.Info("the neighbour tables stay as the first network namespace has them: only there they have sizes", "ipv4", n.V4, "ipv6", n.V6)
	}
	return err
}

// linkLocal is a link's own IPv6 address there; invalid if it has none (yet).
func linkLocal(link string) netip.Addr {
	i, err := net.InterfaceByName(link)
	if err != nil {
		return netip.Addr{}
	}
	all, err := i.Addrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// localProtocols are those of routes that lead away from the fabric: of addresses, of
// hand-made routes, of router advertisements, of DHCP.
func localProtocols() []int {
	return []int{unix.RTPROT_KERNEL, unix.RTPROT_BOOT, unix.RTPROT_STATIC, unix.RTPROT_RA, unix.RTPROT_DHCP}
}

// localWays are the prefixes that this gateway has its own way to: pods, addresses, and
// routes of others than netd that leave by no uplink, by links that packets can pass.
func (u *uplinks) localWays(want intent.Intent, pods map[string]pod.Pod) ([]netip.Prefix, error) {
	var ways []netip.Prefix
	for _, p := range pods {
		for _, a := range p.Addresses {
			ways = append(ways, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	links, err := u.kernel.Links()
	if err != nil {
		return nil, err
	}
	usable := map[int]bool{}
	for _, l := range links {
		usable[l.Index] = isLocal(l, want.Uplinks)
	}
	addresses, err := u.kernel.Addresses(0)
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if usable[a.Link] {
			ways = append(ways, netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Addr().BitLen()))
		}
	}
	for _, protocol := range localProtocols() {
		routes, err := u.kernel.Routes(protocol)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if usable[r.Link] {
				ways = append(ways, r.Prefix)
			}
		}
	}
	return ways, nil
}

// isLocal tells whether a link leads elsewhere than to the fabric and to pods.
func isLocal(l rtnl.Link, uplinks []intent.Uplink) bool {
	return l.Up && l.Carrier && !strings.HasPrefix(l.Name, layout.OwnLinks) && !strings.HasPrefix(l.Name, layout.PodLinks) &&
		!slices.ContainsFunc(uplinks, func(u intent.Uplink) bool { return u.Name == l.Name })
}
