package containers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/mount"
	"github.com/containerd/containerd/services/server"
	srvconfig "github.com/containerd/containerd/services/server/config"
	"github.com/containerd/containerd/sys"
	"golang.org/x/sys/unix"

	"netd/netd/layout"
)

// ServerOptions of containerd; the zero value is what a gateway uses.
type ServerOptions struct {
	// Root keeps images and containers, default layout.ContainerdRoot.
	Root string
	// State is lost at a reboot, default layout.ContainerdState.
	State string
	// Socket is the API, default layout.ContainerdSocket.
	Socket string
}

func (o ServerOptions) withDefaults() ServerOptions {
	o.Root = or(o.Root, layout.ContainerdRoot)
	o.State = or(o.State, layout.ContainerdState)
	o.Socket = or(o.Socket, layout.ContainerdSocket)
	return o
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Serve runs containerd until ctx ends; its containers run on. It wants a
// process of its own, because it sets that process's logging, temporary folder
// and OOM score, and can not be called twice.
func Serve(ctx context.Context, opts ServerOptions, log *slog.Logger) error {
	opts = opts.withDefaults()
	if os.Geteuid() != 0 {
		return errors.New("run containerd: needs root")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	forwardLogs(log)

	cfg := serverConfig(opts)
	if err := server.CreateTopLevelDirectories(cfg); err != nil {
		return fmt.Errorf("run containerd: %w", err)
	}
	lock, err := lockRoot(opts.Root)
	if err != nil {
		return fmt.Errorf("run containerd: %w", err)
	}
	defer lock.Close()
	if err := probe(ctx, opts.Socket); err != nil {
		return fmt.Errorf("run containerd: %w", err)
	}
	if err := repair(opts.Root, log); err != nil {
		return fmt.Errorf("run containerd: %w", err)
	}
	if err := cleanTempMounts(opts.Root, log); err != nil {
		return fmt.Errorf("run containerd: %w", err)
	}
	return serve(ctx, cfg, log)
}

// serverConfig is all of containerd's configuration that differs from its defaults.
func serverConfig(opts ServerOptions) *srvconfig.Config {
	return &srvconfig.Config{
		Version: 2,
		Root:    opts.Root,
		State:   opts.State,
		GRPC: srvconfig.GRPCConfig{
			Address:        opts.Socket,
			MaxRecvMsgSize: 16 << 20,
			MaxSendMsgSize: 16 << 20,
		},
		TTRPC:           srvconfig.TTRPCConfig{Address: opts.Socket + ".ttrpc"},
		OOMScore:        -999,
		RequiredPlugins: requiredPlugins(),
		// A restarted containerd kills the pods of a shim that does not answer
		// in time; five seconds, the default, is short for a loaded small box.
		Timeouts: map[string]string{
			"io.containerd.timeout.shim.load":  "1m",
			"io.containerd.timeout.task.state": "10s",
			"io.containerd.timeout.bolt.open":  "5s",
		},
	}
}

// lockRoot makes sure that one containerd works on root: a second one would
// wait for the first one's database without end.
func lockRoot(root string) (*os.File, error) {
	d, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another containerd uses %s", root)
		}
		return nil, fmt.Errorf("lock %s: %w", root, err)
	}
	return d, nil
}

// probe refuses a socket that is served; one that was left behind is replaced later.
func probe(ctx context.Context, socket string) error {
	var d net.Dialer
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "unix", socket)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("another process listens on %s", socket)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return nil
	}
	return err
}

func cleanTempMounts(root string, log *slog.Logger) error {
	if err := mount.SetTempMountLocation(filepath.Join(root, "tmpmounts")); err != nil {
		return err
	}
	warnings, err := mount.CleanupTempMounts(0)
	if err := errors.Join(append(warnings, err)...); err != nil {
		log.Warn("temporary mounts of an earlier run stay", "err", err)
	}
	return nil
}

// serve starts the plugins and listens until ctx ends.
func serve(ctx context.Context, cfg *srvconfig.Config, log *slog.Logger) error {
	begin := time.Now()
	// Its databases can make New wait, so ctx is not its business alone.
	type result struct {
		s   *server.Server
		err error
	}
	started := make(chan result, 1)
	go func() {
		s, err := server.New(ctx, cfg)
		started <- result{s, err}
	}()
	var s *server.Server
	select {
	case <-ctx.Done():
		return nil
	case r := <-started:
		if r.err != nil {
			return fmt.Errorf("start containerd on %s: %w", cfg.Root, r.err)
		}
		s = r.s
	}
	defer s.Stop()

	ended := make(chan error, 2)
	for socket, serve := range map[string]func(net.Listener) error{
		cfg.TTRPC.Address: s.ServeTTRPC,
		cfg.GRPC.Address:  s.ServeGRPC,
	} {
		l, err := sys.GetLocalListener(socket, 0, 0)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", socket, err)
		}
		defer l.Close()
		go func() { ended <- fmt.Errorf("serve %s: %w", socket, serve(l)) }()
	}
	s.Wait()
	log.Info("containerd is up", "root", cfg.Root, "socket", cfg.GRPC.Address, "took", time.Since(begin).Round(time.Millisecond))
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}
