//go:build net

package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/api"

	"netd/firmware/lab/patience"
	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/filter"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/rawbgp"
)

const (
	ownAS, toAS = 65101, 65001
	// ownPort is not 179, so that what the speaker connects to is not itself.
	ownPort = 1179
	// rawPeers work off the table at once: a reset costs the peer seconds.
	rawPeers = 16
	// formerMark is an attribute of the route that was there before.
	formerMark = 250
)

func rawAddress(peer int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 9, byte(1 + peer)}) }

var ownAddress = netip.AddrFrom4([4]byte{10, 0, 9, 254})

// rawRack is a speaker and peers that say anything, in one namespace.
func rawRack(t *testing.T) api.GoBgpServiceClient {
	t.Helper()
	ownnet.Command(t, "ip link set lo up")
	ownnet.Command(t, "ip link add eth0 type veth peer name eth1")
	ownnet.Command(t, "ip link set eth0 up")
	ownnet.Command(t, "ip link set eth1 up")
	ownnet.Command(t, "ip addr add "+ownAddress.String()+"/24 dev eth0")
	c := Config{AS: ownAS, RouterID: ownAddress, Port: ownPort, Pools: []netip.Prefix{pfx("10.64.0.0/15")}}
	for i := range rawPeers {
		ownnet.Command(t, "ip addr add "+rawAddress(i).String()+"/24 dev eth0")
		c.Peers = append(c.Peers, Peer{Name: fmt.Sprintf("raw%d", i), Address: rawAddress(i), Local: ownAddress, Session: Session{
			AS: toAS, MaxPrefixes: 10000, Passive: true, HoldTime: 90 * time.Second, Keepalive: 30 * time.Second, ConnectRetry: time.Minute,
		}})
	}
	client, _ := startSpeaker(t, c)
	return client
}

func connectRaw(ctx context.Context, peer int) (*rawbgp.Session, error) {
	return rawbgp.Connect(ctx, rawbgp.Options{Local: rawAddress(peer), Remote: netip.AddrPortFrom(ownAddress, ownPort), AS: toAS, Hold: 90 * time.Second})
}

// casePrefix is the n-th host of 10.64.0.0/16, markPrefix of 10.65.0.0/16.
func casePrefix(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64, byte(n >> 8), byte(n)}), 32)
}

func markPrefix(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 65, byte(n >> 8), byte(n)}), 32)
}

// codesOf returns the attribute types of the path to the prefix, or nil if there is
// none.
func codesOf(ctx context.Context, client api.GoBgpServiceClient, p netip.Prefix) ([]byte, error) {
	stream, err := client.ListPath(ctx, &api.ListPathRequest{
		TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: gobgp.APIFamily(filter.IPv4), Prefixes: []*api.TableLookupPrefix{{Prefix: p.String()}}, EnableAttributeBinary: true,
	})
	var codes []byte
	for err == nil {
		var r *api.ListPathResponse
		if r, err = stream.Recv(); err == nil {
			for _, path := range r.GetDestination().GetPaths() {
				for _, a := range path.GetPattrsBinary() {
					codes = append(codes, a[1])
				}
			}
		}
	}
	if err.Error() == "EOF" {
		err = nil
	}
	return codes, err
}

// observe sends one case and returns what became of it.
func observe(ctx context.Context, client api.GoBgpServiceClient, s *rawbgp.Session, n int, c robustCase) (action, error) {
	former := append(rawbgp.Route(rawAddress(0), toAS), rawbgp.Attribute(optTransitive, formerMark, []byte{1})...)
	p := casePrefix(n)
	_ = s.Send(rawbgp.Update(nil, former, rawbgp.NLRI(p))) // a session that is gone is seen below
	_ = s.Send(c.update(p))
	_ = s.Send(rawbgp.Update(nil, rawbgp.Route(rawAddress(0), toAS), rawbgp.NLRI(markPrefix(n))))
	ctx, cancel := patience.Context(ctx, 30*time.Second)
	defer cancel()
	for {
		select {
		case <-s.Done():
			return reset, nil
		case <-ctx.Done():
			return 0, fmt.Errorf("%s: neither the mark nor an end of the session: %w", c.name, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
		marked, err := codesOf(ctx, client, markPrefix(n))
		if err != nil {
			return 0, err
		}
		if marked == nil {
			continue
		}
		codes, err := codesOf(ctx, client, p)
		switch {
		case err != nil:
			return 0, err
		case codes == nil:
			return withdraw, nil
		case slices.Contains(codes, formerMark):
			return ignore, nil
		case c.code == 0 || slices.Contains(codes, c.code):
			return accepted, nil
		}
		return discard, nil
	}
}

// observeAll works off the cases, and returns what became of each.
func observeAll(t *testing.T, client api.GoBgpServiceClient, cases []robustCase) []action {
	t.Helper()
	got := make([]action, len(cases))
	next := make(chan int)
	var all sync.WaitGroup
	for peer := range rawPeers {
		all.Go(func() {
			var s *rawbgp.Session
			for n := range next {
				var err error
				if s == nil {
					s, err = connectRaw(t.Context(), peer)
				}
				if err == nil {
					got[n], err = observe(t.Context(), client, s, n, cases[n])
				}
				if err != nil {
					t.Error(err)
				}
				if got[n] == reset || err != nil {
					s = nil
				}
			}
			if s != nil {
				s.Close()
			}
		})
	}
	for n := range cases {
		next <- n
	}
	close(next)
	all.Wait()
	return got
}

// TestRobust sends what no peer should send. The speaker does what the RFCs say, but
// for the known deviations, and lives on.
func TestRobust(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		client := rawRack(t)
		before, err := speakerPID()
		if err != nil {
			t.Fatal(err)
		}
		cases := slices.Concat(attributeCases(), pathCases(), messageCases(), advisoryCases())
		begin := time.Now()
		judge(t, cases, observeAll(t, client, cases))
		t.Logf("%d cases in %s", len(cases), time.Since(begin).Round(time.Second))
		if after, err := speakerPID(); err != nil || after != before {
			t.Errorf("the speaker was process %s and is %s: %v", before, after, err)
		}
	})
}
