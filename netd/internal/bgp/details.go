package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"

	"netd/netd/internal/bgp/gobgp"
)

// Details reads those of all sessions, by the peer's address.
func (s *Speaker) Details(ctx context.Context) (map[netip.Addr]Detail, error) {
	s.mu.Lock()
	l := s.life
	s.mu.Unlock()
	if l == nil {
		return nil, ErrAway
	}
	details := map[netip.Addr]Detail{}
	err := receive(func() (grpc.ServerStreamingClient[api.ListPeerResponse], error) {
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
func (s *Speaker) born(p *os.Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process, s.kill = Process{p.Pid, s.process.Lives + 1}, p.Kill
}

func (s *Speaker) buried() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process.PID, s.kill = 0, nil
}

// Ping asks the speaker something that costs it nothing. While there is none it is
// ErrAway; a speaker that hangs does not answer before ctx ends.
func (s *Speaker) Ping(ctx context.Context) error {
	s.mu.Lock()
	l := s.life
	s.mu.Unlock()
	if l == nil {
		return ErrAway
	}
	if _, err := l.client.GetBgp(ctx, &api.GetBgpRequest{}); err != nil {
		return fmt.Errorf("ask the speaker who it is: %w", err)
	}
	return nil
}

// Kill ends a speaker that hangs; Run starts another one.
func (s *Speaker) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kill != nil {
		_ = s.kill() // It may have just ended.
	}
}
