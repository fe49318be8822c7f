package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netd/netd/internal/api"
	"netd/netd/internal/cli"
)

var update = flag.Bool("update", false, "write the golden files")

func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }
func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// gateway is an agent frozen at one moment: times are never, so that no clock is
// in the golden files.
type gateway struct{}

func (gateway) View(context.Context, uint64) api.View {
	return api.View{
		Status: api.Status{
			Gateway: "gw-a", Version: "1.0", ConfigFile: "/data/netd/last-good.toml",
			ConfigProblem: "/data/netd/netd.toml:2:1: gatway: unknown key",
			TrialEnded:    "/root/new.toml was rolled back: nobody confirmed it in time", Trial: &api.Trial{File: "/root/newer.toml"},
			Drained: true, Down: map[string]string{"tor2": "rack 7 moves"},
			AS: 65101, RouterID: ip("10.0.1.11"), PodMTU: 1480,
			Uplinks: []api.Uplink{
				{Name: "uplink0", MAC: "52:54:00:01:00:0a", MTU: 1500, Carrier: true, Addresses: []netip.Prefix{pfx("10.0.1.11/24"), pfx("10.0.9.1/32")}, Router: ip("10.0.1.1")},
				{Name: "uplink1", Problem: "there is no link named eth1"},
			},
			LANs: []api.LAN{
				{Name: "cameras", MTU: 1500, Carrier: true, Addresses: []netip.Prefix{pfx("192.168.10.1/24")}},
				{Name: "machines", MTU: 1500, Addresses: []netip.Prefix{pfx("192.168.20.1/24"), pfx("2001:db8:20::1/64")}},
			},
			Tunnels: []api.Tunnel{{Name: "netd-ipip0", Kind: "ipip", Local: ip("10.0.1.11"), MTU: 1480}},
			Peers:   api.Count{Up: 1, Total: 2}, Pods: api.Count{Up: 1, Total: 2},
			Routes:   map[string]int{"pod": 1, "blackhole": 1, "ipip": 1},
			Problems: []string{"uplink uplink1: there is no link named eth1"},
		},
		Peers: []api.Peer{
			{Name: "gw-c", Address: ip("10.0.2.13"), AS: 65103, Kind: "gateway", State: "Active", Reason: "hold timer expired", BFD: &api.BFD{State: "Down", Lost: true}},
			{
				Name: "tor1", Address: ip("10.0.1.1"), AS: 65001, Kind: "tor", State: "Established", Received: 12, Accepted: 2, Sent: 1, Flaps: 3,
				Description: "rack 7, left", Reason: "hold timer expired", Warning: "12 prefixes, and max-prefixes is 14",
				BFD:     &api.BFD{State: "Up", DetectMS: 900, TransmitMS: 300, RemoteState: "Up", Flaps: 1},
				Options: []string{"hold time 9s, keepalive 3s, connect retry 5s", "GTSM"},
				Session: &api.Session{
					Local: ip("10.0.1.11"), RouterID: ip("10.0.1.1"), HoldTime: 9, Keepalive: 3, MessagesIn: 7, MessagesOut: 5,
					Families:     []api.FamilyCount{{Family: "ipv4 unicast", Received: 12, Accepted: 2, Sent: 1}},
					Capabilities: []string{"ipv4 unicast", "graceful restart 120s"},
				},
			},
		},
		Routes: func() []api.Route {
			return []api.Route{
				{Prefix: pfx("10.64.1.0/26"), Kind: "blackhole", Reason: "own block"},
				{Prefix: pfx("10.64.3.0/26"), Kind: "ipip", NextHop: ip("10.0.2.13"), Link: "netd-ipip0", Reason: "gateway gw-c is in another subnet"},
				{Prefix: pfx("192.0.2.0/24"), Reason: "no route: outside every pool", Paths: []api.Path{{Peer: "tor1"}}},
			}
		},
		Pods: []api.Pod{
			{Name: "web-0", Workload: "web", Image: "web.tar", State: "running", Address: ip("10.64.1.0"), Addresses: []netip.Addr{ip("10.64.1.0"), ip("2001:db8:64:1::1")}, Link: "pod1", Netns: "/run/netns/web-0", PID: 7},
			{Name: "web-1", Workload: "web", Image: "web.tar", State: "back-off", Restarts: 3, Reason: "exit status 1"},
		},
	}
}

func (g gateway) Peers(ctx context.Context) []api.Peer { return g.View(ctx, 0).Peers }

func (gateway) Explain(_ context.Context, p netip.Prefix) (api.Explanation, error) {
	e := api.Explanation{Query: p, Kernel: "via 10.0.2.13 dev netd-ipip0 src 10.0.1.11"}
	switch p.Addr() {
	case ip("10.64.3.9"):
		e.Route = &api.Route{
			Prefix: pfx("10.64.3.0/26"), Kind: "ipip", NextHop: ip("10.0.2.13"), Link: "netd-ipip0", Reason: "gateway gw-c is in another subnet",
			Paths: []api.Path{
				{Peer: "gw-c", NextHop: ip("10.0.2.13"), ASPath: []uint32{65103}, Kind: "ipip", Chosen: true, Reason: "gateway gw-c is in another subnet"},
				{Peer: "tor1", NextHop: ip("10.0.1.1"), ASPath: []uint32{65001, 65002, 65103}, Stale: true, Reason: "next hop 10.0.1.1 is on uplink0, which has no carrier"},
			},
		}
		e.Received = []api.Filtered{
			{
				Peer: "gw-c", Prefix: pfx("10.64.3.0/26"), NextHop: ip("10.0.2.13"), ASPath: []uint32{65103}, Communities: []string{"graceful-shutdown", "65103:1:2"},
				Accepted: true, Rule: "pools", Changes: []api.RuleChange{{Rule: "graceful-shutdown", Change: "local-preference 1"}},
			},
			{Peer: "gw-c", Prefix: pfx("0.0.0.0/0"), NextHop: ip("10.0.2.13"), ASPath: []uint32{65103}, Rule: "the-rest"},
		}
		e.Told = []api.Filtered{
			{Peer: "tor1", Prefix: pfx("10.64.0.0/16"), ASPath: []uint32{65101}, Accepted: true, Rule: "own-only", Changes: []api.RuleChange{
				{Rule: "to-tors/rack", Change: "add-communities 65101:7"}, {Rule: "to-tors/far", Change: "prepend 2"},
			}},
			{Peer: "tor2", Prefix: pfx("10.64.0.0/16"), ASPath: []uint32{65101}, Rule: "to-tor2/none"},
		}
	case ip("10.64.1.3"):
		e.Problem = "the BGP speaker is away"
		e.Route = &api.Route{Prefix: pfx("10.64.1.3/32"), Kind: "pod", Link: "pod1", Reason: "pod web-0 of this gateway"}
	case ip("10.64.9.1"):
		e.Route = &api.Route{Prefix: pfx("10.64.9.0/26"), Reason: "no route: inside 10.64.0.0/10, which this gateway owns"}
	}
	return e, nil
}

func (gateway) AddPod(_ context.Context, name string) (api.Pod, error) {
	if name == "full" {
		return api.Pod{}, errors.New("assign address to pod full: no free address: all 64 of [10.64.1.0/26] are in use")
	}
	return api.Pod{Name: name, State: "network", Address: ip("10.64.1.5"), Addresses: []netip.Addr{ip("10.64.1.5"), ip("2001:db8:64:1::5")}, Link: "pod5", Netns: "/run/netns/" + name}, nil
}

func (gateway) RemovePod(context.Context, string) error { return nil }

// transcript runs netd with the arguments and returns all that a person sees.
func transcript(t *testing.T, socket string, args ...string) string {
	t.Helper()
	var out, errs strings.Builder
	err := cli.Run(t.Context(), cli.Env{In: strings.NewReader("schema = 2\n"), Out: &out, Err: &errs, Version: "1.0", Socket: socket}, args[0], args[1:])
	return fmt.Sprintf("$ netd %s\n%s--- stderr\n%s--- error: %v\n", strings.Join(args, " "), out.String(), errs.String(), err)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; go test -update writes it anew):\n%s", file, diff)
	}
}

func serve(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "netd.sock")
	l, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- api.Serve(ctx, l, gateway{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "netd_problems 0") }), slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	return socket
}

func TestHelp(t *testing.T) { golden(t, "help", cli.Help("1.0")) }

func TestVerbs(t *testing.T) {
	socket := serve(t)
	for name, calls := range map[string][][]string{
		"status": {{"status"}},
		"peers":  {{"peers"}, {"peers", "tor1"}, {"peers", "10.0.2.13"}, {"peers", "tor9"}},
		"routes": {
			{"routes"},
			{"routes", "--kind", "ipip"},
			{"routes", "--kind", "none"},
			{"routes", "--peer", "tor1"},
			{"routes", "--peer", "tor9"},
			{"routes", "--prefix", "10.64.0.0/16"},
			{"routes", "--prefix", "10.64.3.9"},
			{"routes", "--prefix", "x"},
		},
		"pods":    {{"pods"}},
		"explain": {{"explain", "10.64.3.9"}, {"explain", "10.64.1.3"}, {"explain", "10.64.9.1"}, {"explain", "198.51.100.0/24"}},
		"pod":     {{"pod", "add", "try"}, {"pod", "add", "full"}, {"pod", "del", "web-0"}, {"pod", "del", "nope"}},
		"json":    {{"status", "--json"}, {"explain", "10.64.3.9", "--json"}, {"pod", "add", "try", "--json"}},
		"version": {{"version"}, {"metrics"}, {"metrics", "--json"}},
		"usage": {
			{"sttus"},
			{"xyz"},
			{"exec"},
			{"config"},
			{"restart"},
			{"expl"},
			{"status", "extra"},
			{"status", "--jsn"},
			{"explain"},
			{"explain", "tor1"},
			{"pod", "ad", "x"},
			{"pod", "add"},
			{"version", "--json"},
			{"peers", "--help"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			for _, args := range calls {
				got.WriteString(transcript(t, socket, args...))
			}
			golden(t, name, strings.ReplaceAll(got.String(), socket, "SOCKET"))
		})
	}
}

// What --json prints is what the API says.
func TestJSON(t *testing.T) {
	var out strings.Builder
	if err := cli.Run(t.Context(), cli.Env{In: strings.NewReader("schema = 2\n"), Out: &out, Err: &out, Socket: serve(t)}, "routes", []string{"--json"}); err != nil {
		t.Fatal(err)
	}
	var routes []api.Route
	if err := json.Unmarshal([]byte(out.String()), &routes); err != nil || len(routes) != 3 || routes[1].NextHop != ip("10.0.2.13") {
		t.Errorf("routes: %+v, %v", routes, err)
	}
}

func TestNoAgent(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none")
	err := cli.Run(t.Context(), cli.Env{Out: os.Stderr, Err: os.Stderr, Socket: "/nowhere"}, "status", []string{"--socket", socket})
	if want := "no agent answers on " + socket + ": is netd run running?"; err == nil || err.Error() != want {
		t.Errorf("no agent: %v, want %s", err, want)
	}
}

// check needs no agent, and goes on after a bad file.
func TestCheck(t *testing.T) {
	const dir = "../../../configs/"
	var got strings.Builder
	for _, args := range [][]string{
		{"check", dir + "examples/single.toml", dir + "testdata/unknown-key.toml", dir + "examples/dhcp.toml", dir + "none.toml"},
		{"check", dir + "testdata/unknown-key.toml"},
		{"check", dir + "testdata/unknown-key.toml", dir + "examples/dhcp.toml"},
		{"check", dir + "none.toml"},
		{"check", dir},
		{"check", "/dev/zero"},
		{"check", "-"},
		{"check", "--device", "gw b", dir + "examples/lab.toml"},
		{"check", "-v", "--device", "gw-b", dir + "examples/lab.toml"},
		{"check"},
	} {
		got.WriteString(transcript(t, "/nowhere", args...))
	}
	golden(t, "check", got.String())
}

// TestInterrupted: what comes from a person, or a pipe without an end, is not waited for.
func TestInterrupted(t *testing.T) {
	never, _ := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, in := range []io.Reader{never, zeros{}} {
		err := cli.Run(ctx, cli.Env{In: in, Out: io.Discard, Err: io.Discard}, "check", []string{"-"})
		if err == nil || err.Error() != "interrupted" {
			t.Errorf("error %v, want interrupted", err)
		}
	}
	if err := cli.Run(t.Context(), cli.Env{In: zeros{}, Out: io.Discard, Err: io.Discard}, "check", []string{"-"}); err == nil || err.Error() != "1 error in -" {
		t.Errorf("no end: error %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
