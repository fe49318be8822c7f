package bgp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/filter"
	"netd/netd/wake"
)

// life is a speaker process that answers, and what it has been told.
type life struct {
	client     api.GoBgpServiceClient
	conn       grpc.ClientConnInterface // of client, for questions of our own
	started    time.Time
	restarting bool // its first peers may be told that our routes were kept
	retained   bool // they were; it never changes

	// Who commands owns these.
	config     Config // that is in force, but for what is postponed
	postponed  bool   // a change that waits for the end of a session
	filters    *gobgp.Filters
	generation int // of filters
	peers      map[netip.Addr]*api.Peer
	ranges     map[string]rangeOf
	returned   []ranged // peers of ranges that are peers of their own after a restart

	command wake.Signal // there may be something to say
	look    wake.Signal // there may be something to read

	mu      sync.Mutex               // guards what follows; it is never held over a call
	sent    []Origin                 // what it originates
	own     []filter.Range           // the same, as filters have it
	retries map[netip.Addr]time.Time // of sessions that were ended by max-prefixes; zero: never by themselves
	changes *changes
	stand   standing
}

// rangeOf is a range as GoBGP has it.
type rangeOf struct {
	prefix netip.Prefix
	group  *api.PeerGroup
}

// standing is how the sessions stand.
type standing struct {
	ended map[netip.Addr]time.Time // since when sessions are up that have had End-of-RIB
	up    map[netip.Addr]bool      // whose session is up, or whose paths are kept
	hold  time.Duration            // the shortest of the sessions that are up; 0: none is
}

func newLife(client api.GoBgpServiceClient, restarting bool) *life {
	return &life{
		client: client, started: time.Now(), restarting: restarting, retained: restarting,
		peers: map[netip.Addr]*api.Peer{}, ranges: map[string]rangeOf{}, retries: map[netip.Addr]time.Time{}, stand: standing{ended: map[netip.Addr]time.Time{}},
		changes: newChanges(), command: wake.New(), look: wake.New(),
	}
}

// begin tells a new process all it needs. What we originate comes before the
// peers: one that gets our End-of-RIB without it would drop what it kept over our
// restart.
func (l *life) begin(ctx context.Context, w Wanted) error {
	c, origins := w.Config, w.Origins
	if err := c.Start(ctx, l.client, l.restarting); err != nil {
		return err
	}
	l.setOwn(gobgp.OwnRanges(origins))
	if err := l.filter(ctx, c); err != nil {
		return err
	}
	if err := l.originate(ctx, origins); err != nil {
		return err
	}
	if err := l.setSessions(ctx, c); err != nil {
		return err
	}
	l.restarting = false
	return nil
}

// configure makes the process do what c says, by difference: a session that stays
// the same notices nothing.
func (l *life) configure(ctx context.Context, c Config) error {
	if reflect.DeepEqual(l.config, c) && !l.postponed {
		return nil
	}
	if err := l.filter(ctx, c); err != nil {
		return err
	}
	return l.setSessions(ctx, c)
}

// filter exchanges the filters if they differ, and has those sessions' paths filtered
// again whose steps are not what they were: GoBGP does not do that by itself.
func (l *life) filter(ctx context.Context, c Config) error {
	all := c.Neighbors(l.ownNow())
	if l.filters != nil && c.Filters(l.filters.Generation, all).Equal(*l.filters) {
		return nil
	}
	l.generation++
	now := c.Filters("-"+strconv.Itoa(l.generation), all)
	was := l.filters
	if err := gobgp.Assign(ctx, l.client, was, now); err != nil {
		return err
	}
	if l.filters = &now; was == nil {
		return nil
	}
	defer l.everything() // GoBGP tells in no event what other filters make of what is known.
	return l.filterAgain(ctx, was.All, all)
}

func (l *life) filterAgain(ctx context.Context, before, after []gobgp.Neighbors) error {
	var errs []error
	err := receive(func() (grpc.ServerStreamingClient[api.ListPeerResponse], error) {
		return l.client.ListPeer(ctx, &api.ListPeerRequest{})
	}, func(r *api.ListPeerResponse) {
		peer := r.GetPeer().GetState().GetNeighborAddress()
		a, err := netip.ParseAddr(peer)
		if err != nil {
			return
		}
		was, is := gobgp.Find(before, a), gobgp.Find(after, a)
		for direction, same := range map[api.ResetPeerRequest_Direction]bool{
			api.ResetPeerRequest_DIRECTION_IN:  reflect.DeepEqual(was.Imports, is.Imports),
			api.ResetPeerRequest_DIRECTION_OUT: reflect.DeepEqual(was.Exports, is.Exports),
		} {
			if same {
				continue
			}
			if _, err := l.client.ResetPeer(ctx, &api.ResetPeerRequest{Address: peer, Soft: true, Direction: direction}); err != nil {
				errs = append(errs, fmt.Errorf("filter the paths of %s again: %w", a, err))
			}
		}
	})
	return errors.Join(append(errs, err)...)
}

// setSessions adds, changes and removes peers and ranges one by one.
func (l *life) setSessions(ctx context.Context, c Config) error {
	var errs []error
	peers := slices.Concat(c.Peers, l.returning(c))
	for _, name := range slices.Sorted(maps.Keys(l.ranges)) {
		i := slices.IndexFunc(c.Ranges, func(r Range) bool { return r.Name == name })
		if i < 0 || c.Ranges[i].Prefix != l.ranges[name].prefix || !proto.Equal(l.wantedGroup(c, c.Ranges[i]), l.ranges[name].group) {
			errs = append(errs, l.removeRange(ctx, name))
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(l.peers), netip.Addr.Compare) {
		if !slices.ContainsFunc(peers, func(p Peer) bool { return p.Address == a }) {
			errs = append(errs, l.removePeer(ctx, a))
		}
	}
	for _, p := range peers {
		if err := l.setPeer(ctx, l.wantedPeer(c, p), p); err != nil {
			errs = append(errs, fmt.Errorf("%w: peer %s (%s): %s", ErrConfig, p.Name, p.Address, status.Convert(err).Message()))
		}
	}
	for _, r := range c.Ranges {
		if err := l.setRange(ctx, l.wantedGroup(c, r), r); err != nil {
			errs = append(errs, fmt.Errorf("%w: peers of range %s (%s): %s", ErrConfig, r.Name, r.Prefix, status.Convert(err).Message()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	l.config = c
	l.postponed = len(l.returned) > 0 || slices.ContainsFunc(c.Peers, func(p Peer) bool { return l.postpone(l.wantedPeer(c, p), p.Address) })
	return nil
}

// wantedPeer is a peer as it is wanted beside what is there.
func (l *life) wantedPeer(c Config, p Peer) *api.Peer {
	want := c.APIPeer(p, false)
	gobgp.KeepDeferral(want.GracefulRestart, l.peers[p.Address].GetGracefulRestart())
	return want
}

func (l *life) wantedGroup(c Config, r Range) *api.PeerGroup {
	want := c.APIGroup(r, false)
	gobgp.KeepDeferral(want.GracefulRestart, l.ranges[r.Name].group.GetGracefulRestart())
	return want
}

// postpone tells whether a change waits for the end of the session that is up. The
// times are agreed upon at its start; and GoBGP forgets, of any peer that it
// updates, which families the other end would keep over a restart (RFC 4724), and
// the End-of-RIB. It does so for another limit of prefixes, which can not wait.
func (l *life) postpone(want *api.Peer, a netip.Addr) bool {
	have := l.peers[a]
	if !l.hasAll(a) || have == nil || proto.Equal(have, want) {
		return false
	}
	other := proto.CloneOf(want)
	other.Timers = have.Timers
	return proto.Equal(have, other)
}

// setPeer brings one session from what it is to what is wanted.
func (l *life) setPeer(ctx context.Context, want *api.Peer, p Peer) error {
	have := l.peers[p.Address]
	switch {
	case have == nil:
		return l.addPeer(ctx, want, p.Address)
	case proto.Equal(have, want):
		if _, _, session, _ := l.config.Who(p.Address); session.MaxPrefixes != p.MaxPrefixes {
			return l.retry(ctx, p.Address)
		}
		return nil
	case l.postpone(want, p.Address):
		return nil
	case want.Conf.AdminDown && !have.Conf.AdminDown:
		_, err := l.client.DisablePeer(ctx, &api.DisablePeerRequest{Address: p.Address.String(), Communication: p.ShutdownMessage})
		if err == nil {
			l.peers[p.Address] = want
		}
		return err
	case have.Conf.AdminDown, !proto.Equal(have.RouteReflector, want.RouteReflector):
		// GoBGP has forgotten half of a peer that it disabled, and does not see that
		// a reflector's client is one no more.
		if err := l.removePeer(ctx, p.Address); err != nil {
			return err
		}
		return l.addPeer(ctx, want, p.Address)
	}
	answer, err := l.client.UpdatePeer(ctx, &api.UpdatePeerRequest{Peer: want})
	if err != nil {
		return err
	}
	l.peers[p.Address] = want
	if answer.GetNeedsSoftResetIn() {
		_, err = l.client.ResetPeer(ctx, &api.ResetPeerRequest{
			Address: p.Address.String(), Soft: true, Direction: api.ResetPeerRequest_DIRECTION_IN,
		})
	}
	return errors.Join(err, l.retry(ctx, p.Address))
}

func (l *life) addPeer(ctx context.Context, want *api.Peer, a netip.Addr) error {
	request := &api.AddPeerRequest{Peer: want}
	if l.restarting && want.GracefulRestart != nil {
		request.Peer = proto.CloneOf(want)
		request.Peer.GracefulRestart.LocalRestarting = true
	}
	_, err := l.client.AddPeer(ctx, request)
	if err != nil {
		// It may be there already, as one of a range.
		if _, gone := l.client.DeletePeer(ctx, &api.DeletePeerRequest{Address: a.String()}); gone == nil {
			_, err = l.client.AddPeer(ctx, request)
		}
	}
	if err == nil {
		l.peers[a] = want
	}
	return err
}

// removePeer ends a session for good. GoBGP clears the listener's password for the
// address when it changes a peer, and not when it deletes one.
func (l *life) removePeer(ctx context.Context, a netip.Addr) error {
	if have := l.peers[a]; have.Conf.AuthPassword != "" {
		open := proto.CloneOf(have)
		open.Conf.AuthPassword = ""
		if _, err := l.client.UpdatePeer(ctx, &api.UpdatePeerRequest{Peer: open}); err != nil {
			return fmt.Errorf("clear the password of peer %s: %w", a, err)
		}
		l.peers[a] = open
	}
	if _, err := l.client.DeletePeer(ctx, &api.DeletePeerRequest{Address: a.String()}); err != nil {
		return fmt.Errorf("delete peer %s: %w", a, err)
	}
	delete(l.peers, a)
	l.forget(a)
	return nil
}

func (l *life) setRange(ctx context.Context, want *api.PeerGroup, r Range) error {
	if _, ok := l.ranges[r.Name]; ok {
		return nil
	}
	group := want
	if l.restarting && want.GracefulRestart != nil {
		group = proto.CloneOf(want)
		group.GracefulRestart.LocalRestarting = true
	}
	if _, err := l.client.AddPeerGroup(ctx, &api.AddPeerGroupRequest{PeerGroup: group}); err != nil {
		return err
	}
	l.ranges[r.Name] = rangeOf{r.Prefix, want}
	_, err := l.client.AddDynamicNeighbor(ctx, &api.AddDynamicNeighborRequest{
		DynamicNeighbor: &api.DynamicNeighbor{Prefix: r.Prefix.String(), PeerGroup: r.Name},
	})
	return err
}

// removeRange ends the range and the sessions that came by it.
func (l *life) removeRange(ctx context.Context, name string) error {
	fail := func(err error) error { return fmt.Errorf("delete the peers of range %s: %w", name, err) }
	if _, err := l.client.DeleteDynamicNeighbor(ctx, &api.DeleteDynamicNeighborRequest{
		Prefix: l.ranges[name].prefix.String(), PeerGroup: name,
	}); err != nil {
		return fail(err)
	}
	var members []string
	err := receive(func() (grpc.ServerStreamingClient[api.ListPeerResponse], error) {
		return l.client.ListPeer(ctx, &api.ListPeerRequest{})
	}, func(r *api.ListPeerResponse) {
		if r.GetPeer().GetConf().GetPeerGroup() == name {
			members = append(members, r.GetPeer().GetState().GetNeighborAddress())
		}
	})
	if err != nil {
		return fail(err)
	}
	for _, m := range members {
		if _, err := l.client.DeletePeer(ctx, &api.DeletePeerRequest{Address: m}); err != nil {
			return fail(err)
		}
	}
	if _, err := l.client.DeletePeerGroup(ctx, &api.DeletePeerGroupRequest{Name: name}); err != nil {
		return fail(err)
	}
	delete(l.ranges, name)
	return nil
}

// originate says which prefixes we announce: all of them. From then on, and until
// they are withdrawn, nobody else can tell us of them.
func (l *life) originate(ctx context.Context, origins []Origin) error {
	sent := l.sentNow()
	defer func() { l.setSent(sent) }()
	for _, o := range slices.Clone(sent) {
		if slices.ContainsFunc(origins, func(p Origin) bool { return p.Prefix == o.Prefix }) {
			continue
		}
		path := o.APIPath()
		if _, err := l.client.DeletePath(ctx, &api.DeletePathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: path.Family, Path: path}); err != nil {
			return fmt.Errorf("withdraw %s: %w", o.Prefix, err)
		}
		sent = slices.DeleteFunc(sent, o.Equal)
	}
	if was, own := l.ownNow(), gobgp.OwnRanges(origins); !slices.Equal(own, was) {
		l.setOwn(own)
		if err := l.filter(ctx, l.config); err != nil {
			l.setOwn(was) // so that the next try filters, too
			return err
		}
	}
	for _, o := range origins {
		if slices.ContainsFunc(sent, o.Equal) {
			continue
		}
		if _, err := l.client.AddPath(ctx, &api.AddPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Path: o.APIPath()}); err != nil {
			return fmt.Errorf("originate %s: %w", o.Prefix, err)
		}
		sent = append(slices.DeleteFunc(sent, func(p Origin) bool { return p.Prefix == o.Prefix }), o)
	}
	return nil
}
