//go:build net

package bgp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"netd/netd/internal/bgp/gobgp"
	"netd/netd/internal/cage"
	"netd/netd/internal/filter"
	"netd/netd/internal/ownnet"
	"netd/netd/layout"
)

// secretBird is a ToR with an MD5 password that takes TTL 255 only.
const secretBird = `router id 10.0.1.1;
log stderr all;
protocol device {}
protocol static { ipv4; route 10.64.3.0/26 blackhole; }
protocol bgp gw_a {
	local 10.0.1.1 as 65001;
	neighbor 10.0.1.11 as 65101;
	password "a secret";
	ttl security on;
	connect delay time 1;
	ipv4 { import all; export all; next hop self; };
}
`

// speakerPID is the one process of the speaker's user in this process namespace.
func speakerPID() (string, error) {
	statuses, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return "", err
	}
	for _, s := range statuses {
		b, _ := os.ReadFile(s)
		if strings.Contains(string(b), fmt.Sprintf("\nUid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", layout.SpeakerUID)) {
			return filepath.Base(filepath.Dir(s)), nil
		}
	}
	return "", errors.New("there is none")
}

// matches returns what the expressions' groups find in a file.
func matches(t *testing.T, path string, expressions ...string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := make([]string, len(expressions))
	for i, e := range expressions {
		if m := regexp.MustCompile(`(?m)` + e).FindSubmatch(b); m != nil {
			found[i] = string(m[1])
		}
	}
	return found
}

// The speaker works from inside its cage: a session with MD5 and GTSM, which a
// BIRD holds to.
func TestSpeakerInItsCage(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		for _, line := range []string{
			"ip link set lo up", "ip netns add tor", "ip link add eth0 type veth peer name eth0 netns tor",
			"ip addr add 10.0.1.11/24 dev eth0", "ip link set eth0 up",
			"ip -n tor addr add 10.0.1.1/24 dev eth0", "ip -n tor link set eth0 up", "ip -n tor link set lo up",
		} {
			ownnet.Command(t, line)
		}
		client, log := startSpeaker(t, Config{
			AS: 65101, RouterID: ip("10.0.1.11"), Port: 179, Pools: []netip.Prefix{pfx("10.64.0.0/16")},
			Peers: []Peer{{Name: "tor1", Address: ip("10.0.1.1"), Local: ip("10.0.1.11"), Session: Session{
				AS: 65001, Password: "a secret", GTSM: true, HoldTime: 9 * time.Second, Keepalive: 3 * time.Second, ConnectRetry: time.Second, MaxPrefixes: 100,
			}}},
		})
		bird(t)
		ownnet.Within(t, time.Minute, "the route of the ToR", func() error {
			stream, err := client.ListPath(t.Context(), &api.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: gobgp.APIFamily(filter.IPv4)})
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil {
				return fmt.Errorf("%w\n%s", err, log)
			}
			return nil
		})
		checkProcess(t)
	})
}

// bird starts a BIRD as the ToR until the test ends.
func bird(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "bird.conf")
	if err := os.WriteFile(conf, []byte(secretBird), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "nsenter", "--net=/run/netns/tor", "--", "bird", "-f", "-c", conf, "-s", filepath.Join(dir, "bird.ctl"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // its context ends before
}

// runSpeaker runs the built program's speaker for as long as the test, and returns
// its API's socket, too.
func runSpeaker(t *testing.T, w Wanted, log io.Writer) (s *Speaker, socket string, end func(cause error)) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bgp-") // t.TempDir is closed to the speaker's user
	if err != nil {
		t.Fatal(err)
	}
	program, err := filepath.Abs("../../../bin/amd64/netd")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "run", "bgp.sock")
	s = New(Options{
		Program: program, Args: []string{"bgp", "--socket", socket}, Socket: socket, Log: slog.New(slog.NewTextHandler(log, nil)),
		Known: filepath.Join(dir, "known.json"),
	}, w, false)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return s, socket, runFor(t, s)
}

// runFor runs a speaker until its end is asked for, or the test's.
func runFor(t *testing.T, s *Speaker) (end func(cause error)) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Run(ctx) // It ends with the test.
	}()
	end = func(cause error) {
		cancel(cause)
		<-ended
	}
	t.Cleanup(func() { end(context.Canceled) })
	return end
}

// startSpeaker waits for it, and returns its API.
func startSpeaker(t *testing.T, c Config) (api.GoBgpServiceClient, *logbook) {
	t.Helper()
	log := new(logbook)
	s, socket, _ := runSpeaker(t, Wanted{Config: c}, log)
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ownnet.Within(t, time.Minute, "the speaker", func() error {
		if n := s.Take(); n.Away {
			return fmt.Errorf("it is away\n%s", log)
		}
		return nil
	})
	return api.NewGoBgpServiceClient(conn), log
}

// checkProcess looks at the speaker from outside.
func checkProcess(t *testing.T) {
	t.Helper()
	pid, err := speakerPID()
	if err != nil {
		t.Fatal(err)
	}
	threads, err := filepath.Glob("/proc/" + pid + "/task/*/status")
	if err != nil || len(threads) < 3 {
		t.Fatalf("threads: %v, %v", threads, err)
	}
	none := "0000000000000000"
	for _, status := range threads {
		got := matches(t, status, `^CapEff:\s+(\w+)`, `^CapPrm:\s+(\w+)`, `^CapInh:\s+(\w+)`, `^CapAmb:\s+(\w+)`, `^NoNewPrivs:\s+(\d)`, `^Seccomp:\s+(\d)`, `^Groups:[ \t]*(\S*)`)
		if diff := cmp.Diff([]string{none, none, none, none, "1", "2", ""}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", status, diff)
		}
	}
	memory, err := cage.Memory()
	if err != nil {
		t.Fatal(err)
	}
	got := matches(t, "/proc/"+pid+"/limits", `^Max data size\s+(\d+)`, `^Max core file size\s+(\d+)`, `^Max open files\s+(\d+)`)
	if diff := cmp.Diff([]string{fmt.Sprint(memory), "0", "4096"}, got); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	// Its place is before the agent's, who started it: this process.
	ours := matches(t, "/proc/self/oom_score_adj", `^(.*)$`)[0]
	if got := matches(t, "/proc/"+pid+"/oom_score_adj", `^(.*)$`)[0]; got != "0" && got != ours || strings.HasPrefix(got, "-") {
		t.Errorf("oom_score_adj %s, where ours is %s", got, ours)
	}
	environment, err := os.ReadFile("/proc/" + pid + "/environ")
	if err != nil || string(environment) != "GOTRACEBACK=single\x00NETD_HINTS=3\x00" {
		t.Errorf("environment %q, %v", environment, err)
	}
	files, err := filepath.Glob("/proc/" + pid + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if to, _ := os.Readlink(f); !regexp.MustCompile(`^(socket:|pipe:|anon_inode:|/dev/null$|/sys/fs/cgroup/)`).MatchString(to) {
			t.Errorf("the speaker has %s open", to)
		}
	}
}
