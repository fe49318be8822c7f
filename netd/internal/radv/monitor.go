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
	// forgetAfter is how long a silent router is believed to be there whose advertisements
	// have no lifetime: the longest interval between them (RFC 4861, section 6.2.1).
	forgetAfter = 30 * time.Minute
	// answerTime is how long a router that is asked may be silent: 3 s from one
	// advertisement to the next, and half a second (RFC 4861, section 6.2.6).
	answerTime = 4 * time.Second
	// calm is how long a router that has answered is not asked again for the same other one.
	calm = time.Minute
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

// router is who was heard on a link. There is one: a peer that is known by its link alone.
// Another one may be a second, or have taken its place, with another address and without
// a loss of carrier (a media converter is between). So the first is asked, and stays if it
// answers.
type router struct {
	address netip.Addr
	heard   time.Time
	// lifetime is for how long it is a router without another word; 0: it does not say.
	lifetime time.Duration
	leaves   bool // it has said that it is none any more
	// rival is another one that was heard, since when the first is asked; invalid: none.
	rival netip.Addr
	since time.Time
	calm  time.Time // until when the same rival is no reason to ask
}

// gone tells whether whoever else advertises has taken its place.
func (r router) gone(at time.Time) bool {
	silent := at.Sub(r.heard)
	return r.leaves || r.lifetime > 0 && silent >= r.lifetime || silent >= forgetAfter
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
			if ask, _ := m.contested(link.Name, time.Now()); ask {
				next.Reset(0)
			}
			continue
		case <-next.C:
			// There is no address to send from while the kernel looks for duplicates.
			if e := s.send(advertisement); e == nil {
				sent++
			}
			ask := m.settle(link.Name)
			if ask || m.router(link.Name) == (netip.Addr{}) {
				_ = s.send(solicitation)
			}
			if ask {
				next.Reset(burstInterval)
			} else {
				next.Reset(interval(sent))
			}
			continue
		}
		_ = s.Close()
		<-heard
		return err
	}
}

// settle asks for what contested says, and tells who waits for another router.
func (m *Monitor) settle(link string) (ask bool) {
	ask, moved := m.contested(link, time.Now())
	if moved {
		m.log.Info("the router does not answer any more, and another one advertises itself", "link", link, "address", m.router(link))
		m.changed.Send()
	}
	return ask
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
		heard, err := s.receive()
		if err != nil {
			return fmt.Errorf("listen on %s: %w", s.link.Name, err)
		}
		switch {
		case heard.kind == solicitation:
			asked.Send()
		case heard.from.IsLinkLocalUnicast():
			now := time.Now()
			if m.note(s.link.Name, heard, now) {
				m.log.Info("a router advertises itself", "link", s.link.Name, "address", heard.from)
				asked.Send() // it may know nothing of us
				m.changed.Send()
			} else if ask, _ := m.contested(s.link.Name, now); ask {
				asked.Send()
			}
		}
	}
}

// note remembers a router; it is true if it is a new one.
func (m *Monitor) note(link string, heard message, at time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, known := m.routers[link]
	from := heard.from.WithZone("")
	switch {
	case !known || was.address != from && was.gone(at):
		m.routers[link] = router{address: from, heard: at, lifetime: heard.lifetime}
		return true
	case was.address == from:
		// RFC 4861, section 6.2.5: a lifetime of 0 is the last word of one that had another.
		was.leaves = heard.lifetime == 0 && (was.lifetime > 0 || was.leaves)
		was.heard, was.lifetime = at, heard.lifetime
		if was.rival.IsValid() {
			m.log.Warn("two routers advertise themselves; an unnumbered peer is alone on its link", "link", link, "address", from, "other", was.rival)
			was.calm, was.since = at.Add(calm), time.Time{}
			was.rival = netip.Addr{}
		}
	case !was.rival.IsValid() && !at.Before(was.calm):
		was.rival, was.since = from, at
	}
	m.routers[link] = was
	return false
}

// contested tells whether a link's router is to be asked whether it is still there. If it
// has not answered, the other one is the router, which is told too.
func (m *Monitor) contested(link string, at time.Time) (ask, moved bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.routers[link]
	switch {
	case !r.rival.IsValid():
		return false, false
	case at.Sub(r.since) < answerTime:
		return true, false
	}
	m.routers[link] = router{address: r.rival, heard: r.since}
	return true, true // It may say more of itself.
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
