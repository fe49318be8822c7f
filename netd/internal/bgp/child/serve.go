package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/server"
	"google.golang.org/grpc"

	"netd/netd/internal/bgp/wire"
	"netd/netd/internal/cage"
	"netd/netd/internal/heap"
	"netd/netd/layout"
)

// Serve runs the speaker with its API on the unix socket, until ctx ends. It
// then leaves without a NOTIFICATION, so that peers keep our routes for the
// restart time (RFC 4724 section 4.2); if the cause is wire.ErrLeave, with one, so
// that they use them no longer.
func Serve(ctx context.Context, socket string, log io.Writer) error {
	failed := make(chan error, 2)
	pipe := hintsPipe()
	if pipe != nil {
		go func() { failed <- beat(ctx, pipe) }()
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err)
	}
	// GoBGP tells of every step of every session; its API can turn that on.
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	reasons := newReasons(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level}))
	logger := slog.New(reasons)
	calls := newCalls(logger, reasons.heard)
	told := &events{heard: reasons.heard, calls: calls}
	begun := func() error { return calls.begin(told.server.Load()) }
	s := server.NewBgpServer(
		server.GrpcListenAddress("unix://"+socket),
		server.GrpcOption([]grpc.ServerOption{
			grpc.MaxRecvMsgSize(wire.MaxMessage), grpc.MaxSendMsgSize(wire.MaxMessage), grpc.ChainUnaryInterceptor(caged(logger, begun), calls.intercept),
			grpc.StreamInterceptor(told.intercept),
		}),
		server.LoggerOption(logger, level),
	)
	told.server.Store(s)
	go s.Serve()
	go heap.Pace(ctx)
	go endOrphans(ctx, s, logger)
	if err := errors.Join(hint(ctx, s, pipe, failed), calls.watch(ctx, s)); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case err := <-failed:
		if ctx.Err() == nil {
			return err
		}
	}
	if !errors.Is(context.Cause(ctx), wire.ErrLeave) {
		// StopBgp would end one session after the other, and withdraw from the peers
		// that are left what those had told: the clients of a reflector would lose each
		// other. The end of the process closes all at once.
		return nil
	}
	return leave(context.WithoutCancel(ctx), s)
}

// leaveTime bounds how long the sessions may take to end when we leave.
const leaveTime = 2 * time.Second

// leave ends all sessions at once, and says why. StopBgp alone would tell each peer that
// it was taken out of the configuration, which sends people looking for who did it.
func leave(ctx context.Context, s *server.BgpServer) error {
	all := &api.ShutdownPeerRequest{Communication: wire.Leaving}
	if err := s.ShutdownPeer(ctx, all); err != nil {
		return fmt.Errorf("tell the peers: %w", err)
	}
	for end := time.Now().Add(leaveTime); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		up := false
		err := s.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
			up = up || p.GetState().GetSessionState() == api.PeerState_SESSION_STATE_ESTABLISHED
		})
		if err != nil || !up {
			break
		}
	}
	if err := s.StopBgp(ctx, &api.StopBgpRequest{}); err != nil {
		return fmt.Errorf("stop BGP: %w", err)
	}
	return nil
}

// hintsPipe is where hints go; nil if the agent has given us none.
func hintsPipe() io.Writer {
	fd, err := strconv.Atoi(os.Getenv(wire.HintsVariable))
	if err != nil {
		return nil // Started by hand.
	}
	return &lines{pipe: os.NewFile(uintptr(fd), "hints")}
}

// hint tells the agent what to read again; failed has the error that ends this.
func hint(ctx context.Context, s *server.BgpServer, pipe io.Writer, failed chan<- error) error {
	if pipe == nil {
		return nil
	}
	h := newHints()
	if err := h.watch(ctx, s); err != nil {
		return fmt.Errorf("watch GoBGP: %w", err)
	}
	go func() { failed <- h.tell(ctx, pipe) }()
	return nil
}

// caged shuts the cage around StartBgp: by then the API's socket is open, and no
// peer has been heard yet. When the listener is open too, the capability goes, and begun
// is called.
func caged(log *slog.Logger, begun func() error) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		start, ok := request.(*api.StartBgpRequest)
		if !ok {
			return handle(ctx, request)
		}
		port := uint16(start.GetGlobal().GetListenPort())
		// Port 0 is any: what a connection is made from.
		if err := cage.Enter(cage.Config{Listen: []uint16{0, port}, Connect: []uint16{layout.BGPPort, port}, Log: log}); err != nil {
			return nil, fmt.Errorf("enter the cage: %w", err)
		}
		response, err := handle(ctx, request)
		if err != nil {
			return nil, err
		}
		return response, errors.Join(cage.DropCapabilities(), begun())
	}
}
