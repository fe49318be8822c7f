//go:build net

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"netd/firmware/lab"
	"netd/netd/internal/api"
	"netd/netd/internal/ownnet"
)

// What netd peers and the metrics say of a session is what BIRD says of it.
func TestSeenFromOutside(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		w := newWorld(t)
		file := w.config(t, static, "never")
		w.change(t, file, file, "as = 65001", "as = 65001\ndescription = \"rack 7\"", "[[pool]]", "[management]\nmetrics = \"127.0.0.1:9179\"\n[[pool]]")
		gw := w.start(t, file)
		within(t, time.Minute, "why there is no session", says(gw, "takes no connection to TCP port 179: connection refused", "peers"))
		bird := w.bird(t, "10.0.1.11")
		within(t, time.Minute, "the session", gw.Established)
		ask(t, gw, "web-0", "pod", "add", "web-0")

		var peers []api.Peer
		within(t, time.Minute, "three prefixes in, of which the filters refuse one, and one out", func(ctx context.Context) error {
			err := gw.JSON(ctx, &peers, "peers")
			if err == nil && (len(peers) != 1 || peers[0].Received != 3 || peers[0].Accepted != 2 || peers[0].Sent != 1 || peers[0].Session == nil) {
				err = fmt.Errorf("%+v", peers)
			}
			return err
		})
		out, err := bird.Ask(t.Context(), "show protocols all gateway1")
		if err != nil || !strings.Contains(out, "1 imported, 3 exported") {
			t.Errorf("BIRD counts otherwise: %v\n%s", err, out)
		}
		p := peers[0]
		if p.Description != "rack 7" || p.Reason != "" || p.Flaps != 0 || p.Session.HoldTime != 9 || p.Session.RouterID.String() != "10.0.1.1" || p.Session.Local.String() != "10.0.1.11" {
			t.Errorf("tor1: %+v, %+v", p, p.Session)
		}
		for _, want := range []string{"ipv4 unicast  3 received, 2 accepted, 1 sent", "4-octet AS", "description   rack 7", "option        hold time 9s, keepalive 3s"} {
			ask(t, gw, want, "peers", "tor1")
		}
		refuses(t, gw, "no peer tor9: expected one of tor1", "peers", "tor9")
		ask(t, gw, "10.64.2.0/26  native", "routes", "--peer", "tor1", "--kind", "native")

		// A session that is lost is counted, also when it is back at once.
		if _, err := bird.Ask(t.Context(), "restart gateway1"); err != nil {
			t.Fatal(err)
		}
		metrics := func(want ...string) {
			t.Helper()
			within(t, time.Minute, strings.Join(want, " and "), func(ctx context.Context) error {
				text, err := gw.Ask(ctx, "metrics")
				for _, line := range want {
					if err == nil && !strings.Contains(text, line+"\n") {
						err = fmt.Errorf("no %s in\n%s", line, text)
					}
				}
				return err
			})
		}
		const tor1 = `{kind="tor",peer="tor1"} `
		metrics("netd_bgp_peer_flaps_total"+tor1+"1", "netd_bgp_peer_up"+tor1+"1", "netd_bgp_prefixes_sent"+tor1+"1", "netd_bgp_prefixes_accepted"+tor1+"2",
			`netd_routes{kind="native"} 2`, `netd_routes{kind="pod"} 1`, `netd_pods{state="network"} 1`, "netd_problems 0", "netd_bgp_speaker_starts_total 1")
		text, err := gw.Ask(t.Context(), "metrics")
		if err != nil || strings.Contains(text, "netd_bgp_speaker_resident_memory_bytes 0\n") || !strings.Contains(text, "netd_fib_operations_total{op=\"added\"}") {
			t.Errorf("metrics: %v\n%s", err, text)
		}

		// The speaker's death is one more start, and a flap.
		speaker := pidOf(t, gw, "bgp")
		if err := syscall.Kill(speaker, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		metrics("netd_bgp_speaker_starts_total 2", "netd_bgp_peer_up"+tor1+"1", "netd_bgp_peer_flaps_total"+tor1+"2")

		// Over TCP the metrics and nothing else, while the configuration says so.
		shows(t, w.gw, "netd_bgp_peer_up", "busybox", "wget", "-qO-", "http://127.0.0.1:9179/metrics")
		if out, err := w.gw.Run(t.Context(), "busybox", "wget", "-qO-", "http://127.0.0.1:9179/v1/status"); err == nil {
			t.Errorf("the API over TCP:\n%s", out)
		}
		w.change(t, file, file, `metrics = "127.0.0.1:9179"`, `metrics = "127.0.0.2:9179"`)
		ask(t, gw, "management.metrics", "reload")
		shows(t, w.gw, "netd_bgp_peer_up", "busybox", "wget", "-qO-", "http://127.0.0.2:9179/metrics")
		w.change(t, file, file, "metrics = \"127.0.0.2:9179\"\n", "")
		ask(t, gw, "management", "reload")
		if out, err := w.gw.Run(t.Context(), "ss", "-Hltn", "sport = 9179"); err != nil || out != "" {
			t.Errorf("still listening: %v\n%s", err, out)
		}
	})
}

// pidOf finds the agent's child of a role.
func pidOf(t *testing.T, gw *lab.Netd, role string) int {
	t.Helper()
	var pid int
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", gw.PID()))
	for _, task := range tasks { // A child belongs to the thread that forked.
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", gw.PID(), task.Name()))
		for _, child := range strings.Fields(string(children)) {
			if line, _ := os.ReadFile("/proc/" + child + "/cmdline"); strings.Contains(string(line), "\x00"+role+"\x00") {
				_, err = fmt.Sscan(child, &pid)
			}
		}
	}
	if err != nil || pid == 0 {
		t.Fatalf("no child %s of %d: %v", role, gw.PID(), err)
	}
	return pid
}
