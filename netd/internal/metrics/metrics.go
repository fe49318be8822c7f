package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// scrapeTimeout bounds the reading of Facts.
const scrapeTimeout = 5 * time.Second

// Facts are what a scrape shows.
type Facts struct {
	Peers []Peer
	// Routes and Pods count by kind and by state.
	Routes, Pods map[string]int
	// Problems that netd status shows, and Repairs of what somebody else had changed.
	Problems, Repairs int
	// OnTrial: the configuration waits for netd confirm. Drained: this gateway asks
	// others to be used in its place.
	OnTrial, Drained bool
	// SpeakerLives is how often the BGP speaker was started, SpeakerMemory its
	// resident memory in octets, 0 while there is none.
	SpeakerLives  int
	SpeakerMemory uint64
}

// Peer is a BGP session.
type Peer struct {
	Name, Kind  string
	Established bool
	// Since it is, or is not; zero if it never was.
	Since                    time.Time
	Flaps                    uint64
	Received, Accepted, Sent uint64
	// BFD is nil if the session's path is not watched.
	BFD *BFD
}

// BFD watches the path to a peer.
type BFD struct {
	Up     bool
	Flaps  uint64
	Detect time.Duration
}

// Set is all the metrics of an agent.
type Set struct {
	registry   *prometheus.Registry
	scrapes    *scrapes
	rounds     prometheus.Histogram
	operations *prometheus.CounterVec
}

// New makes the metrics of an agent of the version; read is called at each scrape,
// from any goroutine.
func New(version string, read func(context.Context) Facts) *Set {
	s := &Set{
		registry: prometheus.NewRegistry(),
		rounds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "netd_round_seconds", Help: "Time that the agent took to compare everything and mend what differed.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14), // to 8 s
		}),
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "netd_fib_operations_total", Help: "Changes of the kernel's routes, by what was done.",
		}, []string{"op"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "netd_build_info", Help: "1, with the version of netd.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	s.registry.MustRegister(build, s.rounds, s.operations, newGateway(read),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.scrapes = newScrapes(s.registry)
	return s
}

// Round counts a round of the agent.
func (s *Set) Round(took time.Duration) { s.rounds.Observe(took.Seconds()) }

// Operations counts changes of the kernel's routes.
func (s *Set) Operations(op string, n int) { s.operations.WithLabelValues(op).Add(float64(n)) }
