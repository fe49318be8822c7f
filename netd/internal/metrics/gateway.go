package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// gateway collects the Facts.
type gateway struct {
	read func(context.Context) Facts

	up, since, flaps, received, accepted, sent *prometheus.Desc
	bfdUp, bfdFlaps, bfdDetect                 *prometheus.Desc
	routes, pods, problems, trial, drained     *prometheus.Desc
	repairs                                    *prometheus.Desc
	lives, memory                              *prometheus.Desc
}

func newGateway(read func(context.Context) Facts) *gateway {
	peer := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("netd_"+name, help, []string{"peer", "kind"}, nil)
	}
	one := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("netd_"+name, help, labels, nil)
	}
	return &gateway{
		read:      read,
		up:        peer("bgp_peer_up", "1 if the BGP session is established."),
		since:     peer("bgp_peer_since_timestamp_seconds", "When the session was last established or lost."),
		flaps:     peer("bgp_peer_flaps_total", "How often the session was lost."),
		received:  peer("bgp_prefixes_received", "Prefixes that the peer has sent."),
		accepted:  peer("bgp_prefixes_accepted", "Prefixes of the peer that the import filters accept."),
		sent:      peer("bgp_prefixes_sent", "Prefixes that the peer was sent."),
		bfdUp:     peer("bfd_up", "1 if the BFD session is up."),
		bfdFlaps:  peer("bfd_flaps_total", "How often the BFD session went from up to down."),
		bfdDetect: peer("bfd_detect_seconds", "Silence of the peer that is taken for a failure; 0 if it was never heard."),
		routes:    one("routes", "Routes by kind.", "kind"),
		pods:      one("pods", "Pods by state.", "state"),
		problems:  one("problems", "Problems that netd status shows."),
		repairs:   one("repairs_total", "What somebody else has changed in the kernel and netd has put back."),
		trial:     one("configuration_on_trial", "1 while a configuration waits for netd confirm."),
		drained:   one("drained", "1 while this gateway asks its peers to use others."),
		lives:     one("bgp_speaker_starts_total", "How often the BGP speaker was started."),
		memory:    one("bgp_speaker_resident_memory_bytes", "Resident memory of the BGP speaker, 0 while there is none."),
	}
}

// Describe is empty: what there is differs from scrape to scrape.
func (g *gateway) Describe(chan<- *prometheus.Desc) {}

// Collect reads the facts and tells them.
func (g *gateway) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	f := g.read(ctx)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	for _, p := range f.Peers {
		gauge(g.up, truth(p.Established), p.Name, p.Kind)
		gauge(g.since, seconds(p.Since), p.Name, p.Kind)
		counter(g.flaps, float64(p.Flaps), p.Name, p.Kind)
		gauge(g.received, float64(p.Received), p.Name, p.Kind)
		gauge(g.accepted, float64(p.Accepted), p.Name, p.Kind)
		gauge(g.sent, float64(p.Sent), p.Name, p.Kind)
		if p.BFD != nil {
			gauge(g.bfdUp, truth(p.BFD.Up), p.Name, p.Kind)
			counter(g.bfdFlaps, float64(p.BFD.Flaps), p.Name, p.Kind)
			gauge(g.bfdDetect, p.BFD.Detect.Seconds(), p.Name, p.Kind)
		}
	}
	for kind, n := range f.Routes {
		gauge(g.routes, float64(n), kind)
	}
	for state, n := range f.Pods {
		gauge(g.pods, float64(n), state)
	}
	gauge(g.problems, float64(f.Problems))
	counter(g.repairs, float64(f.Repairs))
	gauge(g.trial, truth(f.OnTrial))
	gauge(g.drained, truth(f.Drained))
	counter(g.lives, float64(f.SpeakerLives))
	gauge(g.memory, float64(f.SpeakerMemory))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
