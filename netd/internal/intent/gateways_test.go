package intent

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netd/netd/config"
	"netd/netd/internal/pod"
	"netd/netd/internal/policy"
	"netd/netd/internal/route"
)

// Each word that a file may have is one of its own to the routes.
func TestEncapsulation(t *testing.T) {
	got := map[route.Encapsulation]config.Encapsulation{}
	for _, e := range config.Encapsulations() {
		got[encapsulation(e)] = e
	}
	want := map[route.Encapsulation]config.Encapsulation{
		route.Never: config.EncapsulateNever, route.CrossSubnet: config.EncapsulateCrossSubnet, route.Always: config.EncapsulateAlways,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	defer func() {
		if recover() == nil {
			t.Error("a word that no file may have is taken")
		}
	}()
	encapsulation("sometimes")
}

// A workload that reads metrics has its pods' links in the guard, while there is a port for them.
func TestReadMetrics(t *testing.T) {
	c := &config.Config{Workloads: []config.Workload{{Name: "web", Replicas: 1}, {Name: "prometheus", Replicas: 2, ReadMetrics: true}}}
	guard := func() policy.Rules { return compiler{Config: c}.guard() }
	if got := guard(); got.MetricsPort != 0 || got.Scrapers != nil {
		t.Errorf("without a port: %d, %v", got.MetricsPort, got.Scrapers)
	}
	c.Management.Metrics = netip.MustParseAddrPort("0.0.0.0:9179")
	want := []string{pod.LinkName("prometheus-0"), pod.LinkName("prometheus-1")}
	if got := guard(); got.MetricsPort != 9179 || !slices.Equal(got.Scrapers, want) {
		t.Errorf("%d, %v, want 9179, %v", got.MetricsPort, got.Scrapers, want)
	}
}
