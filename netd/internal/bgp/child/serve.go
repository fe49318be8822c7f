package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/server"
	"google.golang.org/grpc"

	"netd/netd/internal/bgp/wire"
	"netd/netd/internal/cage"
)

// Serve runs the speaker with its API on the unix socket, until ctx ends. It
// then leaves without a NOTIFICATION, so that peers keep our routes for the
// restart time (RFC 4724 section 4.2); if the cause is wire.ErrLeave, with one, so
// that they use them no longer.
func Serve(ctx context.Context, socket string, log io.Writer) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err)
	}
	// GoBGP tells of every step of every session; its API can turn that on.
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	reasons := newReasons(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level}))
	logger := slog.New(reasons)
	told := &events{heard: reasons.heard}
	s := server.NewBgpServer(
		server.GrpcListenAddress("unix://"+socket),
		server.GrpcOption([]grpc.ServerOption{
			grpc.MaxRecvMsgSize(wire.MaxMessage), grpc.MaxSendMsgSize(wire.MaxMessage), grpc.UnaryInterceptor(caged(logger)),
			grpc.StreamInterceptor(told.intercept),
		}),
		server.LoggerOption(logger, level),
	)
	told.server.Store(s)
	go s.Serve()
	go endOrphans(ctx, s, logger)
	failed, err := hint(ctx, s)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case err := <-failed:
		return err
	}
	if !errors.Is(context.Cause(ctx), wire.ErrLeave) {
		// StopBgp would end one session after the other, and withdraw from the peers
		// that are left what those had told: the clients of a reflector would lose each
		// other. The end of the process closes all at once.
		return nil
	}
	if err := s.StopBgp(context.WithoutCancel(ctx), &api.StopBgpRequest{}); err != nil {
		return fmt.Errorf("stop BGP: %w", err)
	}
	return nil
}

// hint tells the agent what to read again, if it has given us a pipe for that; the
// channel has the error that ends this.
func hint(ctx context.Context, s *server.BgpServer) (<-chan error, error) {
	fd, err := strconv.Atoi(os.Getenv(wire.HintsVariable))
	if err != nil {
		return nil, nil // Started by hand.
	}
	h := newHints()
	if err := h.watch(ctx, s); err != nil {
		return nil, fmt.Errorf("watch GoBGP: %w", err)
	}
	failed := make(chan error, 1)
	go func() {
		if err := h.tell(ctx, os.NewFile(uintptr(fd), "hints")); ctx.Err() == nil {
			failed <- err
		}
	}()
	return failed, nil
}

// bgpPort is where peers listen (RFC 4271 section 8.2.1).
const bgpPort = 179

// caged shuts the cage around StartBgp: by then the API's socket is open, and no
// peer has been heard yet. When the listener is open too, the capability goes.
func caged(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		start, ok := request.(*api.StartBgpRequest)
		if !ok {
			return handle(ctx, request)
		}
		port := uint16(start.GetGlobal().GetListenPort())
		// Port 0 is any: what a connection is made from.
		if err := cage.Enter(cage.Config{Listen: []uint16{0, port}, Connect: []uint16{bgpPort, port}, Log: log}); err != nil {
			return nil, fmt.Errorf("enter the cage: %w", err)
		}
		response, err := handle(ctx, request)
		if err != nil {
			return nil, err
		}
		return response, cage.DropCapabilities()
	}
}
