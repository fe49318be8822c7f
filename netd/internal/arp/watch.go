package arp

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"netd/netd/retry"
)

// Conflicts are the addresses that another host on a link has, too, and its MAC address.
type Conflicts map[netip.Addr]string

const (
	// defendInterval is between two announcements of an address that another has (RFC 5227
	// section 2.4).
	defendInterval = 10 * time.Second
	// askInterval is how often it is asked whether a conflict is over.
	askInterval = 30 * time.Second
	// openPause is before a link that can not be listened to is tried again.
	openPause = 5 * time.Second
)

// askedAfter is when it is asked who has the addresses, after a start or a carrier's return:
// a switch port may forward nothing for the first 30 s (IEEE 802.1D).
func askedAfter() []time.Duration { return []time.Duration{0, 10 * time.Second, 40 * time.Second} }

// watch is what is known of one link.
type watch struct {
	*conn
	found Conflicts
	// When an address was last defended, and when it was last told that somebody has it.
	defended, noted map[netip.Addr]time.Time
	told            func(Conflicts)
}

// Watch announces the addresses of a link, and tells what others say that they have, too,
// whenever that changes, until ctx ends. again is for a carrier that has returned: all is
// asked anew.
func Watch(ctx context.Context, link string, addresses []netip.Addr, again <-chan struct{}, told func(Conflicts)) error {
	for ctx.Err() == nil {
		c, err := open(link, addresses, false)
		if err == nil {
			w := watch{c, Conflicts{}, map[netip.Addr]time.Time{}, map[netip.Addr]time.Time{}, told}
			err = w.run(ctx, again)
			_ = c.Close()
		}
		if err != nil { // A link that is gone, or not there yet, is a problem of its own.
			retry.Sleep(ctx, openPause)
		}
	}
	return ctx.Err()
}

func (w *watch) run(ctx context.Context, again <-chan struct{}) error {
	for {
		if err := w.round(ctx, again); err != nil {
			return err
		}
	}
}

// round is all from a start or a carrier's return until the next.
func (w *watch) round(ctx context.Context, again <-chan struct{}) error {
	begin := time.Now()
	for _, after := range askedAfter() {
		if anew, err := w.listen(ctx, begin.Add(after), again); err != nil || anew {
			return err
		}
		if err := w.ask(ctx); err != nil {
			return err
		}
	}
	for {
		if anew, err := w.listen(ctx, time.Now().Add(askInterval), again); err != nil || anew {
			return err
		}
		if len(w.found) == 0 {
			continue
		}
		if err := w.ask(ctx); err != nil {
			return err
		}
	}
}

// listen takes in what others say until a moment, and ends sooner if all is to be asked
// anew.
func (w *watch) listen(ctx context.Context, until time.Time, again <-chan struct{}) (anew bool, err error) {
	for time.Now().Before(until) {
		select {
		case <-again:
			return true, nil
		default:
		}
		a, mac, err := w.hear(ctx, time.Now().Add(min(time.Until(until), readPause)))
		if err != nil {
			return false, err
		}
		if a.IsValid() {
			w.note(a, mac.String())
			w.defend(a)
			retry.Sleep(ctx, framePause)
		}
	}
	return false, nil
}

// ask asks who has the addresses, and announces them.
func (w *watch) ask(ctx context.Context) error {
	heard := map[netip.Addr]bool{}
	for range probes {
		for _, a := range w.addresses {
			if err := w.probe(a); err != nil {
				return err
			}
		}
		for until := time.Now().Add(probePause); ; {
			a, mac, err := w.hear(ctx, until)
			if err != nil {
				return err
			}
			if !a.IsValid() {
				break
			}
			heard[a] = true
			w.note(a, mac.String())
		}
	}
	for _, a := range w.addresses {
		if !heard[a] {
			w.note(a, "")
		}
		w.defend(a)
	}
	return nil
}

// note takes down who else has an address, empty for nobody, and tells if that is news; of
// one who calls himself otherwise each time only now and then.
func (w *watch) note(a netip.Addr, mac string) {
	if w.found[a] == mac || w.found[a] != "" && mac != "" && time.Since(w.noted[a]) < defendInterval {
		return
	}
	w.noted[a] = time.Now()
	if w.found[a] = mac; mac == "" {
		delete(w.found, a)
	}
	w.told(maps.Clone(w.found))
}

// defend announces an address, unless that was done a moment ago: two that each defend
// theirs at once would fill the link.
func (w *watch) defend(a netip.Addr) {
	if time.Since(w.defended[a]) < defendInterval {
		return
	}
	w.defended[a] = time.Now()
	_ = w.announce(a) // A link that does not send is noticed where it matters.
}

// Sorted are the addresses, in order.
func (c Conflicts) Sorted() []netip.Addr {
	return slices.SortedFunc(maps.Keys(c), netip.Addr.Compare)
}
