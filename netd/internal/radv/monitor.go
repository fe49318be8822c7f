package radv

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"netd/netd/wake"
)

const (
	// advertiseInterval is that between advertisements. It is short, because a ToR
	// that restarts knows us from then on only.
	advertiseInterval = 10 * time.Second
	// burst is how many come quickly after one another at the start.
	burst         = 3
	burstInterval = time.Second
	// forgetAfter is how long a silent router is not given up for another one: the
	// longest interval between advertisements (RFC 4861, section 6.2.1).
	forgetAfter = 30 * time.Minute
	// lookInterval is how often the links' states are looked at.
	lookInterval = time.Second
)

// Monitor finds the routers on links. Its methods may be called from any goroutine.
type Monitor struct {
	log     *slog.Logger
	changed wake.Signal
	again   wake.Signal

	mu      sync.Mutex // guards what follows
	links   []string
	routers map[string]router
}

// router is who was heard on a link.
type router struct {
	address netip.Addr
	heard   time.Time
}

// New makes a Monitor that listens nowhere yet.
func New(log *slog.Logger) *Monitor {
	return &Monitor{log: log, changed: wake.New(), again: wake.New(), routers: map[string]router{}}
}

// Set says on which links to listen.
func (m *Monitor) Set(links []string) {
	m.mu.Lock()
	same := slices.Equal(m.links, links)
	m.links = slices.Clone(links)
	m.mu.Unlock()
	if !same {
		m.again.Send()
	}
}

// Routers are the link-local addresses, without zones, of the routers that were
// heard, by link.
func (m *Monitor) Routers() map[string]netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string]netip.Addr{}
	for link, r := range m.routers {
		all[link] = r.address
	}
	return all
}

// Changed is ready (once) when Routers may differ.
func (m *Monitor) Changed() <-chan struct{} { return m.changed }

// task is one link's.
type task struct {
	link net.Interface
	end  context.CancelFunc
	done chan struct{}
}

// Run listens and advertises until ctx ends. A link that is not there (yet), or has
// no carrier, has no router; it is looked at again each second.
func (m *Monitor) Run(ctx context.Context) error {
	tasks := map[string]*task{}
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for {
		m.adjust(ctx, tasks)
		select {
		case <-ctx.Done():
			for _, t := range tasks {
				t.stop()
			}
			return ctx.Err()
		case <-look.C:
		case <-m.again:
		}
	}
}

func (t *task) stop() {
	t.end()
	<-t.done
}

// adjust starts and ends the links' tasks.
func (m *Monitor) adjust(ctx context.Context, tasks map[string]*task) {
	m.mu.Lock()
	wanted := map[string]net.Interface{}
	for _, name := range m.links {
		link, err := net.InterfaceByName(name)
		if err == nil && link.Flags&net.FlagRunning != 0 && link.Flags&net.FlagUp != 0 {
			wanted[name] = *link
		}
	}
	m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(tasks)) {
		t := tasks[name]
		select {
		case <-t.done:
			delete(tasks, name)
			continue
		default:
		}
		if link, ok := wanted[name]; !ok || link.Index != t.link.Index || link.HardwareAddr.String() != t.link.HardwareAddr.String() {
			t.stop()
			delete(tasks, name)
			m.forget(name)
		}
	}
	for name, link := range wanted {
		if tasks[name] != nil {
			continue
		}
		t := &task{link: link, done: make(chan struct{})}
		var own context.Context
		own, t.end = context.WithCancel(ctx)
		tasks[name] = t
		go func() {
			defer close(t.done)
			if err := m.attend(own, link); err != nil && own.Err() == nil {
				m.log.Warn("router advertisements", "link", name, "err", err)
			}
		}()
	}
}

// attend listens and advertises on one link until ctx ends.
func (m *Monitor) attend(ctx context.Context, link net.Interface) error {
	s, err := listen(ctx, link)
	if err != nil {
		return err
	}
	var heardErr error
	heard := make(chan struct{})
	asked := wake.New()
	go func() { heardErr = m.hear(s, asked); close(heard) }()
	next := time.NewTimer(0)
	defer next.Stop()
	for sent := 0; ; {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-heard:
			err = heardErr
		case <-asked:
			_ = s.send(advertisement) // The next one does, if this fails.
			continue
		case <-next.C:
			// There is no address to send from while the kernel looks for duplicates.
			if e := s.send(advertisement); e == nil {
				sent++
			}
			if m.router(link.Name) == (netip.Addr{}) {
				_ = s.send(solicitation)
			}
			next.Reset(interval(sent))
			continue
		}
		_ = s.Close()
		<-heard
		return err
	}
}

// interval is the time to the next advertisement.
func interval(sent int) time.Duration {
	if sent < burst {
		return burstInterval
	}
	return advertiseInterval
}

// hear notes who advertises, and tells who asks.
func (m *Monitor) hear(s *socket, asked wake.Signal) error {
	for {
		kind, from, err := s.receive()
		if err != nil {
			return fmt.Errorf("listen on %s: %w", s.link.Name, err)
		}
		switch {
		case kind == solicitation:
			asked.Send()
		case from.IsLinkLocalUnicast():
			if m.note(s.link.Name, from.WithZone(""), time.Now()) {
				m.log.Info("a router advertises itself", "link", s.link.Name, "address", from)
				asked.Send() // it may know nothing of us
				m.changed.Send()
			}
		}
	}
}

// note remembers a router; it is true if it is a new one.
func (m *Monitor) note(link string, from netip.Addr, at time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, known := m.routers[link]
	if known && was.address != from && at.Sub(was.heard) < forgetAfter {
		return false // a second one: a peer by its link alone is the only one there
	}
	m.routers[link] = router{from, at}
	return was.address != from
}

func (m *Monitor) forget(link string) {
	m.mu.Lock()
	_, known := m.routers[link]
	delete(m.routers, link)
	m.mu.Unlock()
	if known {
		m.log.Info("the router is forgotten with its link's carrier", "link", link)
		m.changed.Send()
	}
}

func (m *Monitor) router(link string) netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.routers[link].address
}
