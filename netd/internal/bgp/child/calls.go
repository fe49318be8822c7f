package child

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/layout"
	"netd/netd/wake"
)

// Peers are called from here and not by GoBGP, which is told that all of them call us: it
// would not say what a peer refuses in our OPEN, sends it all capabilities that it knows,
// and waits 240 s for a peer that takes the connection and says nothing. A connection that
// is made is put where GoBGP finds those that it has accepted; when it wants one, its
// events say so (Active).

const (
	// firstCall is the pause before the first call, in which the peer may be quicker.
	firstCall = time.Second
	// startCall is that pause after our start: peers that keep our routes call at once, and
	// two connections that meet end each other, which may end what they keep.
	startCall = 3 * time.Second
	// silentFor is how long a peer may say nothing. GoBGP is Idle for 5 s then.
	silentFor = 7 * time.Second
)

// calls are the peers that are called.
type calls struct {
	log   *slog.Logger
	heard *heard
	// unanswered has peers that do not take a connection, for the agent.
	unanswered chan *api.Peer

	mu       sync.Mutex      // guards what follows
	accepted chan<- net.Conn // GoBGP's; nil before its start
	peers    map[netip.Addr]*call
}

// call is one of them.
type call struct {
	*calls
	to      netip.Addr
	peer    *api.Peer
	end     context.CancelFunc
	wanted  atomic.Bool // GoBGP is Active
	changed wake.Signal
}

func newCalls(log *slog.Logger, heard *heard) *calls {
	return &calls{log: log, heard: heard, unanswered: make(chan *api.Peer, 16), peers: map[netip.Addr]*call{}}
}

// watch has GoBGP say when it wants a connection.
func (c *calls) watch(ctx context.Context, s *server.BgpServer) error {
	return s.WatchEvent(ctx, server.WatchEventMessageCallbacks{
		OnPeerUpdate: func(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if p := c.peers[e.Peer.State.NeighborAddress]; p != nil {
				p.wanted.Store(e.Peer.State.SessionState == bgp.BGP_FSM_ACTIVE)
				p.changed.Send()
			}
		},
	}, server.WatchPeer())
}

// begin finds the queue of what GoBGP has accepted, which it has since its start.
func (c *calls) begin(s *server.BgpServer) error {
	queue := reflect.ValueOf(s).Elem().FieldByName("acceptCh")
	if !queue.IsValid() || queue.Type() != reflect.TypeFor[chan net.Conn]() || queue.IsNil() {
		return errors.New("this GoBGP has no queue of accepted connections")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepted = *(*chan net.Conn)(queue.Addr().UnsafePointer())
	return nil
}

// intercept learns from the agent's requests whom to call.
func (c *calls) intercept(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	switch r := request.(type) {
	case *api.AddPeerRequest:
		c.set(r.GetPeer())
	case *api.UpdatePeerRequest:
		c.set(r.GetPeer())
	case *api.DeletePeerRequest:
		defer c.remove(r.GetAddress())
	}
	return handle(ctx, request)
}

// set calls a peer, or does so otherwise, unless it is one that calls us.
func (c *calls) set(p *api.Peer) {
	to, err := netip.ParseAddr(p.GetConf().GetNeighborAddress())
	if err != nil {
		return // GoBGP says what is wrong.
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.peers[to]
	if was != nil {
		was.end()
		delete(c.peers, to)
	}
	if p.GetTransport().GetPassiveMode() {
		return
	}
	p.Transport.PassiveMode = true // GoBGP waits.
	ctx, end := context.WithCancel(context.Background())
	now := &call{calls: c, to: to, peer: p, end: end, changed: wake.New()}
	if was != nil {
		now.wanted.Store(was.wanted.Load())
	}
	c.peers[to] = now
	go now.run(ctx)
}

func (c *calls) remove(address string) {
	to, err := netip.ParseAddr(address)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.peers[to]; p != nil {
		p.end()
		delete(c.peers, to)
	}
}

// run calls whenever GoBGP wants a connection, until ctx ends.
func (c *call) run(ctx context.Context) {
	retry := time.Duration(max(1, c.peer.GetTimers().GetConfig().GetConnectRetry())) * time.Second
	pause, called := startCall, false
	for {
		var due <-chan time.Time
		if c.wanted.Load() {
			due = time.After(time.Duration((0.75 + rand.Float64()/4) * float64(pause))) // RFC 4271 section 10
		}
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
			if called {
				pause = firstCall
			}
		case <-due:
			pause, called = retry, true
			c.call(ctx, retry)
		}
	}
}

// call makes one connection. Whoever does not answer is no matter of the log.
func (c *call) call(ctx context.Context, retry time.Duration) {
	from, err := netip.ParseAddr(c.peer.GetTransport().GetLocalAddress())
	if err != nil {
		from = netip.Addr{}
	}
	d := net.Dialer{Timeout: max(retry-time.Second, time.Second), KeepAlive: -1, Control: c.prepare}
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(c.to, layout.BGPPort).String())
	if err != nil {
		c.log.Debug("call a peer", "peer", c.to, "err", err)
		select {
		case c.unanswered <- gobgp.Unanswered(c.to, err, c.peer.GetConf().GetAuthPassword() != ""):
		default: // Nobody listens.
		}
		return
	}
	c.mu.Lock()
	accepted := c.accepted
	c.mu.Unlock()
	o := newOpening(conn.(*net.TCPConn), gobgp.LeftOut(c.peer.GetConf().GetDescription()), silentFor, func(words string) {
		c.heard.note(c.to.String(), ending{opening: words})
	})
	select {
	case accepted <- o:
	case <-ctx.Done():
		_ = o.Close()
	}
}

// prepare gives a connection its password and TTL before it is made.
func (c *call) prepare(_, _ string, raw syscall.RawConn) error {
	var err error
	return errors.Join(raw.Control(func(fd uintptr) { err = errors.Join(c.setPassword(int(fd)), c.setTTL(int(fd))) }), err)
}

func (c *call) setPassword(fd int) error {
	password := c.peer.GetConf().GetAuthPassword()
	if password == "" {
		return nil
	}
	sig := &unix.TCPMD5Sig{Keylen: uint16(len(password))}
	copy(sig.Key[:], password)
	if c.to.Is4() {
		sig.Addr.Family = unix.AF_INET
		a := c.to.As4()
		copy(sig.Addr.Data[2:], a[:])
	} else {
		sig.Addr.Family = unix.AF_INET6
		a := c.to.As16()
		copy(sig.Addr.Data[6:], a[:])
	}
	if err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, sig); err != nil {
		return fmt.Errorf("set TCP's password: %w", err)
	}
	return nil
}

// setTTL has packets get no further than the peer is away, and with GTSM (RFC 5082) come
// from no further.
func (c *call) setTTL(fd int) error {
	level, ttl, minTTL := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MINTTL
	if c.to.Is6() {
		level, ttl, minTTL = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MINHOPCOUNT
	}
	conf, multihop := c.peer.GetConf(), c.peer.GetEbgpMultihop()
	switch near := c.peer.GetTtlSecurity(); {
	case near.GetEnabled():
		return errors.Join(unix.SetsockoptInt(fd, level, ttl, 255), unix.SetsockoptInt(fd, level, minTTL, int(near.GetTtlMin())))
	case conf.GetPeerAsn() == conf.GetLocalAsn():
		return nil
	case multihop.GetEnabled():
		return unix.SetsockoptInt(fd, level, ttl, int(multihop.GetMultihopTtl()))
	}
	return unix.SetsockoptInt(fd, level, ttl, 1)
}
