package child

import (
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/bgp/wire"
)

// events answers the agent's WatchEvent and ListPath in GoBGP's place; other clients get
// GoBGP's. GoBGP leaves out why a session went down, which only its own process can
// learn; for paths see answer.
type events struct {
	server atomic.Pointer[server.BgpServer] // nil while it is being made
	heard  *heard
	calls  *calls
}

func (e *events) intercept(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	events, paths := info.FullMethod == api.GoBgpService_WatchEvent_FullMethodName, info.FullMethod == api.GoBgpService_ListPath_FullMethodName
	if !events && !paths || !wire.FromAgent(stream.Context()) {
		return handle(service, stream)
	}
	s := e.server.Load()
	if s == nil {
		return status.Error(codes.Unavailable, "the speaker is starting")
	}
	if paths {
		return answer(stream, s)
	}
	if err := stream.RecvMsg(new(api.WatchEventRequest)); err != nil {
		return err
	}
	return e.tell(stream, s)
}

// tell sends peers' states as they change.
func (e *events) tell(stream grpc.ServerStream, s *server.BgpServer) error {
	ctx := stream.Context()
	peers := make(chan *api.Peer, 16)
	err := s.WatchEvent(ctx, server.WatchEventMessageCallbacks{
		OnPeerUpdate: func(p *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
			select {
			case peers <- e.loss(p.Peer.State):
			case <-ctx.Done():
			}
		},
	}, server.WatchPeer())
	if err != nil {
		return status.Errorf(codes.Aborted, "watch events: %v", err)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-e.calls.unanswered:
			if err := stream.SendMsg(peerEvent(p)); err != nil {
				return err
			}
		case p := <-peers:
			if err := stream.SendMsg(peerEvent(p)); err != nil {
				return err
			}
		}
	}
}

func peerEvent(p *api.Peer) *api.WatchEventResponse {
	return &api.WatchEventResponse{Event: &api.WatchEventResponse_Peer{
		Peer: &api.WatchEventResponse_PeerEvent{Type: api.WatchEventResponse_PeerEvent_TYPE_STATE, Peer: p},
	}}
}

// loss is what noteLoss reads.
func (e *events) loss(s apiutil.PeerState) *api.Peer {
	p := &api.PeerState{
		NeighborAddress: s.NeighborAddress.String(), AdminState: s.AdminState,
		DisconnectReason: s.DisconnectReason, DisconnectMessage: s.DisconnectMessage,
	}
	if gobgp.IsLoss(p) {
		e.heard.take(p.NeighborAddress).explain(p)
	}
	return &api.Peer{State: p}
}

// explain says what GoBGP's own words leave out.
func (e ending) explain(p *api.PeerState) {
	switch {
	case e.opening != "":
		p.DisconnectMessage = e.opening
	case e.expired:
		p.DisconnectReason, p.DisconnectMessage = api.PeerState_DISCONNECT_REASON_HOLD_TIMER_EXPIRED, "hold timer expired"
	case e.words != "":
		p.DisconnectMessage += ": " + e.words
	case p.DisconnectReason == api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART:
		p.DisconnectMessage = "the connection ended without a word: the peer may be restarting"
	}
}
