package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"netd/firmware/bench/feed"
	"netd/firmware/lab"
)

// Feed is one shape of what is fed.
type Feed struct {
	Prefixes int `json:"prefixes"`
	Per      int `json:"prefixes_per_update"`
	// Peers share the prefixes among them.
	Peers int `json:"peers"`
}

func (f Feed) String() string {
	return fmt.Sprintf("%d prefixes, %d an UPDATE, %d peer(s)", f.Prefixes, f.Per, f.Peers)
}

// Taken is what one receiver made of one feed.
type Taken struct {
	// Fill and Clear are seconds from the first UPDATE to the last route in the
	// kernel, or out of it.
	Fill  float64 `json:"fill_s"`
	Clear float64 `json:"clear_s"`
	// FillCPU and ClearCPU are the processor seconds of each of its processes until it rests again.
	FillCPU  []float64 `json:"fill_cpu_s"`
	ClearCPU []float64 `json:"clear_cpu_s"`
	// IdleKiB and PeakKiB are the most memory that each of its processes had, before
	// the first UPDATE and in all.
	IdleKiB []int `json:"idle_kib"`
	PeakKiB []int `json:"peak_kib"`
	// FullKiB is the memory of each process after the fill, what is shared in equal parts (PSS).
	FullKiB []int `json:"full_kib"`
	// Stages are what the receiver itself says that the fill has cost, in seconds.
	Stages map[string]float64 `json:"stages,omitempty"`
}

const (
	prefixBits  = 26
	fillTimeout = 2 * time.Minute
)

// take starts a receiver, feeds it and takes all back.
func take(ctx context.Context, r receiver, f Feed) (t Taken, err error) {
	dir, err := os.MkdirTemp("", "netd-bench-")
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	n, err := lab.New(dir)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	m := &meal{feed: f}
	if err := m.lay(ctx, n); err != nil {
		return t, err
	}
	if m.router, err = r.start(ctx, m.gw, m.addresses()); err != nil {
		return t, err
	}
	if err := m.serve(ctx); err != nil {
		return t, err
	}
	defer m.clear()
	return t, m.measure(ctx, &t)
}

// meal is one receiver with its peers.
type meal struct {
	feed    Feed
	gw, tor *lab.Host
	router
	watch    *fibWatch
	sessions []*feed.Session
}

func (m *meal) addresses() []netip.Addr {
	var all []netip.Addr
	for a := netip.MustParseAddr("10.0.1.20"); len(all) < m.feed.Peers; a = a.Next() {
		all = append(all, a)
	}
	return all
}

// lay makes the two hosts, the peers' with all their addresses.
func (m *meal) lay(ctx context.Context, n *lab.Net) error {
	var err error
	if m.gw, err = n.Host(ctx, "gw"); err != nil {
		return err
	}
	if m.tor, err = n.Host(ctx, "tor"); err != nil {
		return err
	}
	if err := n.Wire(ctx, m.gw, "eth0", m.tor, "tor0"); err != nil {
		return err
	}
	for _, a := range m.addresses() {
		if _, err := m.tor.Run(ctx, "ip", "addr", "add", a.String()+"/24", "dev", "tor0"); err != nil {
			return err
		}
	}
	return inside(m.gw, func() error {
		m.watch, err = newFIBWatch(m.prefixes()[0], m.feed.Prefixes)
		return err
	})
}

func (m *meal) prefixes() []netip.Prefix {
	return feed.Prefixes(netip.MustParsePrefix(poolPrefix), prefixBits, m.feed.Prefixes)
}

// serve establishes the sessions, and waits until the receiver has come to rest.
func (m *meal) serve(ctx context.Context) error {
	for i, a := range m.addresses() {
		err := lab.Until(ctx, fmt.Sprintf("the session from %s", a), func(ctx context.Context) error {
			return inside(m.tor, func() error {
				s, err := feed.Dial(ctx, a, netip.MustParseAddr(receiverAddress), uint32(firstPeerAS+i))
				if err == nil {
					m.sessions = append(m.sessions, s)
				}
				return err
			})
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(m.send(m.prepare(func(int, []netip.Prefix) []byte { return feed.EndOfRIB() })), m.processes.quiet())
}

func (m *meal) clear() {
	m.watch.close()
	for _, s := range m.sessions {
		_ = s.Close()
	}
}

// alive tells whether all sessions are.
func (m *meal) alive() error {
	for _, s := range m.sessions {
		if err := s.Err(); err != nil {
			return fmt.Errorf("a session has ended: %w", err)
		}
	}
	return nil
}

// prepare makes what each peer is to send of its share of the prefixes.
func (m *meal) prepare(message func(peer int, share []netip.Prefix) []byte) [][]byte {
	all, n := m.prefixes(), m.feed.Peers
	messages := make([][]byte, 0, n)
	for i := range n {
		messages = append(messages, message(i, all[i*len(all)/n:(i+1)*len(all)/n]))
	}
	return messages
}

// send has all peers send at once.
func (m *meal) send(messages [][]byte) error {
	sent := make(chan error, len(m.sessions))
	for i, s := range m.sessions {
		go func() { sent <- s.Send(messages[i]) }()
	}
	var errs []error
	for range m.sessions {
		errs = append(errs, <-sent)
	}
	return errors.Join(errs...)
}

// measure feeds, and takes back.
func (m *meal) measure(ctx context.Context, t *Taken) error {
	before, err := m.work(ctx)
	if err != nil {
		return err
	}
	if t.IdleKiB, err = m.processes.peak(); err != nil {
		return err
	}
	addresses := m.addresses()
	fill := m.prepare(func(i int, share []netip.Prefix) []byte {
		return feed.Announce(share, m.feed.Per, addresses[i], uint32(firstPeerAS+i))
	})
	if t.Fill, t.FillCPU, err = m.course(fill, m.feed.Prefixes); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	if t.FullKiB, err = m.processes.share(); err != nil {
		return err
	}
	after, err := m.work(ctx)
	if err != nil {
		return err
	}
	for stage := range after {
		after[stage] -= before[stage]
	}
	t.Stages = after
	clearing := m.prepare(func(_ int, share []netip.Prefix) []byte { return feed.Withdraw(share, m.feed.Per) })
	if t.Clear, t.ClearCPU, err = m.course(clearing, 0); err != nil {
		return fmt.Errorf("withdraw: %w", err)
	}
	t.PeakKiB, err = m.processes.peak()
	return err
}

// work is what the receiver says that it has done so far.
func (m *meal) work(ctx context.Context) (map[string]float64, error) {
	if m.stages == nil {
		return nil, nil
	}
	return m.stages(ctx)
}

// course sends, and returns the seconds until so many prefixes are in the kernel,
// and the processor seconds until the receiver rests.
func (m *meal) course(messages [][]byte, until int) (took float64, cpu []float64, err error) {
	before, err := m.processes.cpu()
	if err != nil {
		return 0, nil, err
	}
	sent := make(chan error, 1)
	begin := time.Now()
	go func() { sent <- m.send(messages) }()
	end, err := m.watch.until(until, fillTimeout, m.alive)
	if err := errors.Join(err, <-sent, m.processes.quiet()); err != nil {
		return 0, nil, err
	}
	after, err := m.processes.cpu()
	for i := range after {
		cpu = append(cpu, (after[i] - before[i]).Seconds())
	}
	return end.Sub(begin).Seconds(), cpu, err
}

// Convergence is what the receivers made of one feed, round by round.
type Convergence struct {
	Feed      Feed     `json:"feed"`
	Receivers []string `json:"receivers"`
	// Rounds have what each receiver took, in the order of Receivers.
	Rounds [][]Taken `json:"rounds"`
}

// converge gives every feed to every receiver in each round.
func converge(ctx context.Context, who []receiver, feeds []Feed, rounds int) ([]Convergence, error) {
	all := make([]Convergence, len(feeds))
	for i, f := range feeds {
		all[i].Feed = f
		for _, r := range who {
			all[i].Receivers = append(all[i].Receivers, r.Name)
		}
	}
	for round := range rounds {
		for i, f := range feeds {
			var taken []Taken
			for _, r := range who {
				t, err := take(ctx, r, f)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", r.Name, f, err)
				}
				fmt.Fprintf(os.Stderr, "round %d  %-5s %-42s fill %.3f s (CPU %.3f s), withdrawal %.3f s (CPU %.3f s), peak %v KiB\n",
					round+1, r.Name, f, t.Fill, t.FillCPU, t.Clear, t.ClearCPU, t.PeakKiB)
				taken = append(taken, t)
			}
			all[i].Rounds = append(all[i].Rounds, taken)
		}
	}
	return all, nil
}
