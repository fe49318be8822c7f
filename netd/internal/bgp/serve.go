package bgp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/server"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

// maxMessage bounds one gRPC message in octets.
const maxMessage = 64 << 20

// ErrLeave is the cause of a context that ends for good, not for a restart.
var ErrLeave = errors.New("leaving for good")

// Serve runs the speaker with its API on the unix socket, until ctx ends. It
// then leaves without a NOTIFICATION, so that peers keep our routes for the
// restart time (RFC 4724 section 4.2); if the cause is ErrLeave, with one, so
// that they use them no longer.
func Serve(ctx context.Context, socket string, log io.Writer) error {
	// Whatever a peer makes of this process, it can not gain privileges by exec.
	// The attribute is a thread's, so every thread needs it (prctl(2)).
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", errno)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err)
	}
	// GoBGP tells of every step of every session; its API can turn that on.
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level}))
	s := server.NewBgpServer(
		server.GrpcListenAddress("unix://"+socket),
		server.GrpcOption([]grpc.ServerOption{grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage)}),
		server.LoggerOption(logger, level),
	)
	go s.Serve()
	<-ctx.Done()
	err := s.StopBgp(context.WithoutCancel(ctx), &api.StopBgpRequest{AllowGracefulRestart: !errors.Is(context.Cause(ctx), ErrLeave)})
	if err != nil {
		return fmt.Errorf("stop BGP: %w", err)
	}
	return nil
}
