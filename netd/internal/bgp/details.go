package bgp

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"

	"netd/netd/internal/bgp/gobgp"
)

// Details asks the speaker about all sessions, and waits for its answer until ctx ends:
// by the peer's address.
func (s *Speaker) Details(ctx context.Context) (map[netip.Addr]Detail, error) {
	l, err := s.alive()
	if err != nil {
		return nil, err
	}
	details := map[netip.Addr]Detail{}
	err = receive(func() (grpc.ServerStreamingClient[api.ListPeerResponse], error) {
		return l.client.ListPeer(ctx, &api.ListPeerRequest{EnableAdvertised: true})
	}, func(r *api.ListPeerResponse) {
		if a, err := netip.ParseAddr(r.GetPeer().GetState().GetNeighborAddress()); err == nil {
			details[a] = gobgp.DetailOf(r.GetPeer())
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list peers in detail: %w", err)
	}
	return details, nil
}

// Process is the speaker process: its number, 0 while there is none, and how many
// there have been.
type Process struct{ PID, Lives int }

// Process tells about the speaker process.
func (s *Speaker) Process() Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// born and buried count lives.
func (s *Speaker) born(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process = Process{pid, s.process.Lives + 1}
}

func (s *Speaker) buried() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process.PID, s.resets = 0, nil
}
