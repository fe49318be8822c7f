package bgp

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"
)

// GoBGP knows nothing of the peers of a range until they connect, and then tells them
// nothing of routes that were kept (RFC 4724, the F bit): they would drop ours at each
// restart. So those that were there are remembered, in a file that outlives the agent and
// not the box, and after a restart each is a peer of its own until its session ends. It is
// called, too, from the address that it knows: an FRR that was refused while there was no
// speaker may wait for a minute.

// returnedPause is how often it is looked whether such a peer is needed any more, and for
// how much longer than peers keep our routes.
const returnedPause = 10 * time.Second

// ranged is a peer of a range, and our end of its session.
type ranged struct{ Address, Local netip.Addr }

// remembered are the peers of ranges that were there. A file that can not be read costs a
// restart that is seen, and no more.
func (s *Speaker) remembered() []ranged {
	var list []ranged
	if b, err := os.ReadFile(s.opts.Known); err != nil || json.Unmarshal(b, &list) != nil {
		return nil
	}
	return list
}

// remember notes the peers of ranges that are there.
func (r *reader) remember(states []PeerState) error {
	list := []ranged{}
	for _, p := range states {
		if p.Range == "" {
			continue
		}
		now := ranged{p.Address, p.Local}
		if i := slices.IndexFunc(r.known, func(o ranged) bool { return o.Address == p.Address }); i >= 0 && !now.Local.IsValid() {
			now.Local = r.known[i].Local // of its last session
		}
		list = append(list, now)
	}
	if r.opts.Known == "" || slices.Equal(list, r.known) {
		return nil
	}
	b, err := json.Marshal(list)
	if err == nil {
		err = os.WriteFile(r.opts.Known+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(r.opts.Known+".new", r.opts.Known)
	}
	if err != nil {
		return fmt.Errorf("remember the peers of ranges: %w", err)
	}
	r.known = list
	return nil
}

// returning are the remembered peers that are still wanted so: within the time in which
// peers keep our routes, and while their session is up or what they told is kept.
func (l *life) returning(c Config) []Peer {
	var peers []Peer
	l.returned = slices.DeleteFunc(l.returned, func(o ranged) bool {
		name, in, session, known := c.Who(o.Address)
		if !known || in == "" || time.Since(l.started) > c.RestartTime+returnedPause && !l.isUp(o.Address) {
			return true
		}
		session.Passive = session.Passive || !o.Local.IsValid()
		peers = append(peers, Peer{Name: name, Address: o.Address, Local: o.Local, Session: session})
		return false
	})
	return peers
}
