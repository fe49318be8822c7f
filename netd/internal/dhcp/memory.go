package dhcp

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A lease outlives the agent, as the address does: the next one keeps its router and its
// routes, and asks whether it holds. It is worth nothing after the box has started anew, and
// its times are of a clock that nobody sets.

// memory is a lease in its file.
type memory struct {
	Boot, MAC string
	Lease     Lease
	// Since the box has started.
	Renew, Rebind, End time.Duration
}

// bootFile has another value after each start of the kernel.
const bootFile = "/proc/sys/kernel/random/boot_id"

func boot() string {
	b, err := os.ReadFile(bootFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// uptime counts also while the machine sleeps: so does the server.
func uptime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // Linux has it.
	return time.Duration(t.Nano())
}

// remember writes a lease down. Without it a restart costs a moment without a router.
func (c *client) remember(b binding) {
	if c.File == "" {
		return
	}
	now, up := time.Now(), uptime()
	since := func(t time.Time) time.Duration { return up + t.Sub(now) }
	text, err := json.Marshal(memory{boot(), c.mac.String(), b.Lease, since(b.renew), since(b.rebind), since(b.end)})
	if err == nil {
		err = os.WriteFile(c.File+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(c.File+".new", c.File)
	}
	if err != nil {
		c.Log.Warn("the lease is not written down", "link", c.Link, "err", err)
	}
}

// forget does away with a lease that is over.
func (c *client) forget() {
	if c.File != "" {
		_ = os.Remove(c.File)
	}
}

// recall is the lease of the agent before, if it still runs and the link is the same.
func (c *client) recall() (binding, bool) {
	if c.File == "" {
		return binding{}, false
	}
	text, err := os.ReadFile(c.File)
	if errors.Is(err, os.ErrNotExist) {
		return binding{}, false
	}
	var m memory
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		c.Log.Warn("the lease that was written down can not be read; another one is asked for", "link", c.Link, "err", err)
		return binding{}, false
	}
	w, mac, err := c.open(c.Link)
	if err != nil {
		return binding{}, false
	}
	_ = w.Close()
	now, up := time.Now(), uptime()
	if c.mac = mac; m.Boot != boot() || m.MAC != mac.String() || m.End <= up || !m.Lease.Address.IsValid() {
		return binding{}, false
	}
	at := func(d time.Duration) time.Time { return now.Add(d - up) }
	return binding{m.Lease, at(m.Renew), at(m.Rebind), at(m.End)}, true
}
