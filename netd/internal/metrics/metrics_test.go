package metrics

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetrics(t *testing.T) {
	s := New("1.0", func(context.Context) Facts {
		return Facts{
			Peers: []Peer{
				{
					Name: "tor1", Kind: "tor", Established: true, Since: time.Unix(1700000000, 0), Flaps: 2, Received: 12, Accepted: 2, Sent: 1,
					BFD: &BFD{Up: true, Flaps: 1, Detect: 150 * time.Millisecond},
				},
				{Name: "gw-c", Kind: "gateway"},
			},
			Routes: map[string]int{"native": 3, "pod": 1}, Pods: map[string]int{"running": 2}, Problems: 1, OnTrial: true,
			SpeakerLives: 4, SpeakerMemory: 1 << 20,
		}
	})
	s.Round(3 * time.Millisecond)
	s.Operations("added", 5)
	s.Operations("added", 1)
	s.Operations("deleted", 0)
	answer := httptest.NewRecorder()
	s.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	var own []string
	for line := range strings.Lines(answer.Body.String()) {
		if strings.HasPrefix(line, "netd_") && !strings.HasPrefix(line, "netd_round_seconds_bucket") {
			own = append(own, strings.TrimSpace(line))
		}
	}
	want := []string{
		`netd_bfd_detect_seconds{kind="tor",peer="tor1"} 0.15`,
		`netd_bfd_flaps_total{kind="tor",peer="tor1"} 1`,
		`netd_bfd_up{kind="tor",peer="tor1"} 1`,
		`netd_bgp_peer_flaps_total{kind="gateway",peer="gw-c"} 0`,
		`netd_bgp_peer_flaps_total{kind="tor",peer="tor1"} 2`,
		`netd_bgp_peer_since_timestamp_seconds{kind="gateway",peer="gw-c"} 0`,
		`netd_bgp_peer_since_timestamp_seconds{kind="tor",peer="tor1"} 1.7e+09`,
		`netd_bgp_peer_up{kind="gateway",peer="gw-c"} 0`,
		`netd_bgp_peer_up{kind="tor",peer="tor1"} 1`,
		`netd_bgp_prefixes_accepted{kind="gateway",peer="gw-c"} 0`,
		`netd_bgp_prefixes_accepted{kind="tor",peer="tor1"} 2`,
		`netd_bgp_prefixes_received{kind="gateway",peer="gw-c"} 0`,
		`netd_bgp_prefixes_received{kind="tor",peer="tor1"} 12`,
		`netd_bgp_prefixes_sent{kind="gateway",peer="gw-c"} 0`,
		`netd_bgp_prefixes_sent{kind="tor",peer="tor1"} 1`,
		`netd_bgp_speaker_resident_memory_bytes 1.048576e+06`,
		`netd_bgp_speaker_starts_total 4`,
		`netd_build_info{version="1.0"} 1`,
		`netd_configuration_on_trial 1`,
		`netd_drained 0`,
		`netd_fib_operations_total{op="added"} 6`,
		`netd_fib_operations_total{op="deleted"} 0`,
		`netd_pods{state="running"} 2`,
		`netd_problems 1`,
		`netd_repairs_total 0`,
		`netd_round_seconds_sum 0.003`,
		`netd_round_seconds_count 1`,
		`netd_routes{kind="native"} 3`,
		`netd_routes{kind="pod"} 1`,
	}
	if diff := cmp.Diff(want, own); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(answer.Body.String(), "process_resident_memory_bytes ") || !strings.Contains(answer.Body.String(), "go_goroutines ") {
		t.Errorf("nothing about the process itself:\n%s", answer.Body)
	}
	// What promtool check metrics would say.
	problems, err := testutil.GatherAndLint(s.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "netd_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
