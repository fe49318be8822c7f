package ipam

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
)

// memory is a Store whose writes can be made to fail, or to wait.
type memory struct {
	pods    map[string][]netip.Addr
	last    []netip.Addr
	err     error
	slow    bool // who asks has to wait for answer
	waiting []chan error
	known   bool // that there is nothing new to Load
}

func (m *memory) Load() (map[string][]netip.Addr, []netip.Addr, bool) {
	if m.known {
		return nil, nil, false
	}
	m.known = true
	return maps.Clone(m.pods), m.last, true
}

func (m *memory) Put(pod string, addresses, last []netip.Addr) <-chan error {
	done := make(chan error, 1)
	if m.err == nil {
		m.pods[pod], m.last = addresses, last
	}
	if m.waiting = append(m.waiting, done); !m.slow {
		m.answer(m.err)
	}
	return done
}

// answer tells all that wait.
func (m *memory) answer(err error) {
	for _, done := range m.waiting {
		done <- err
	}
	m.waiting = nil
}

func addresses(list ...string) []netip.Addr {
	var as []netip.Addr
	for _, a := range list {
		as = append(as, netip.MustParseAddr(a))
	}
	return as
}

func open(t *testing.T, m *memory, blocks ...string) *Allocator {
	t.Helper()
	var prefixes []netip.Prefix
	for _, b := range blocks {
		prefixes = append(prefixes, netip.MustParsePrefix(b))
	}
	m.known = false // It is another life.
	return New(prefixes, m)
}

// give assigns as who waits does.
func give(a *Allocator, pod string) ([]netip.Addr, error) {
	ticket, err := a.Assign(pod)
	if err != nil {
		return nil, err
	}
	return ticket.Addresses, a.Settle(ticket, <-ticket.Durable)
}

func assign(t *testing.T, a *Allocator, pod string) string {
	t.Helper()
	got, err := give(a, pod)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Trim(fmt.Sprint(got), "[]")
}

func TestSameAddressAfterRestart(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{}}
	a := open(t, m, "10.64.1.0/30")
	web, db := assign(t, a, "web-0"), assign(t, a, "db-0")
	if web == db || web != assign(t, a, "web-0") {
		t.Fatalf("web-0 %s, db-0 %s", web, db)
	}
	a = open(t, m, "10.64.1.0/30")
	if got := assign(t, a, "db-0"); got != db {
		t.Errorf("db-0 after a restart: %s, want %s", got, db)
	}
}

func TestLongestIdleFirst(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{}}
	a := open(t, m, "10.64.1.0/30")
	first := assign(t, a, "a")
	if err := <-a.Release("a"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if got := assign(t, open(t, m, "10.64.1.0/30"), fmt.Sprint("b", i)); got == first {
			t.Fatalf("%s was given out again at once", first)
		}
	}
	if got := assign(t, open(t, m, "10.64.1.0/30"), "c"); got != first {
		t.Errorf("last free address: %s, want %s", got, first)
	}
}

func TestFull(t *testing.T) {
	a := open(t, &memory{pods: map[string][]netip.Addr{}}, "10.64.1.0/32", "10.64.9.0/31")
	for i := range 3 {
		assign(t, a, fmt.Sprint("p", i))
	}
	_, err := give(a, "p3")
	if err == nil || !strings.Contains(err.Error(), "all 3 of [10.64.1.0/32 10.64.9.0/31]") {
		t.Errorf("fourth pod of three addresses: %v", err)
	}
}

func TestStoreRefuses(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{}}
	a := open(t, m, "10.64.1.0/30")
	m.err = errors.New("no space left on device")
	if _, err := give(a, "web-0"); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("full disk: %v", err)
	}
	m.err = nil
	if got := assign(t, a, "web-0"); got != "10.64.1.0" {
		t.Errorf("after the disk has room: %s, want 10.64.1.0: nothing may leak", got)
	}
}

func TestBlockMoved(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{"web-0": addresses("10.64.1.0")}}
	a := open(t, m, "10.64.7.0/30")
	if got := assign(t, a, "web-0"); got != "10.64.7.0" {
		t.Errorf("after the block moved: %s, want 10.64.7.0", got)
	}
}

func TestClaim(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{}, err: errors.New("read-only file system")}
	a := open(t, m, "10.64.1.0/30")
	addr := addresses("10.64.1.0")
	if err := a.Claim("web-0", addr); err != nil {
		t.Errorf("claim without a store: %v", err)
	}
	m.err = nil
	if got := assign(t, a, "db-0"); got != "10.64.1.1" {
		t.Errorf("db-0 got %s, but web-0 was found with 10.64.1.0", got)
	}
	if err := a.Claim("db-0", addr); err == nil {
		t.Error("two pods with one address")
	}
	if err := a.Claim("db-0", addresses("192.0.2.1")); err == nil {
		t.Error("claim outside of the block")
	}
}

// Pods have an address of each family that has a block, and get the second when
// there is a block for it.
func TestBothFamilies(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{}}
	four, six := "10.64.1.0/30", "2001:db8:64:1::/64"
	if got := assign(t, open(t, m, four), "web-0"); got != "10.64.1.0" {
		t.Fatalf("with IPv4 alone: %s", got)
	}
	for range 2 {
		if got := assign(t, open(t, m, six, four), "web-0"); got != "10.64.1.0 2001:db8:64:1::1" {
			t.Errorf("with IPv6 too: %s", got)
		}
	}
	a := open(t, m, four, six)
	if got := assign(t, a, "db-0"); got != "10.64.1.1 2001:db8:64:1::2" {
		t.Errorf("a second pod: %s", got)
	}
	if got := assign(t, open(t, m, six), "six"); got != "2001:db8:64:1::3" {
		t.Errorf("a pod of IPv6 alone: %s", got)
	}
	a = open(t, m, four, six)
	a.SetBlocks([]netip.Prefix{netip.MustParsePrefix(six)})
	if got := assign(t, a, "web-0"); got != "2001:db8:64:1::1" {
		t.Errorf("without the IPv4 block: %s", got)
	}
	a.SetBlocks(nil)
	if _, err := give(a, "web-0"); err == nil || !strings.Contains(err.Error(), "no pool has a block") {
		t.Errorf("without blocks: %v", err)
	}
}

// The largest block is walked only as far as there are pods, and none gets the
// routers' address.
func TestLargeBlock(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{}}
	a := open(t, m, "2001::/16")
	a.last = addresses("2001:ffff:ffff:ffff:ffff:ffff:ffff:fffe")
	for i, want := range []string{
		"2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::1",
	} {
		if got := assign(t, a, fmt.Sprint("p", i)); got != want {
			t.Errorf("address %d: %s, want %s", i, got, want)
		}
	}
	a = open(t, m, "2001:db9:1::/126", "2001:db9:2::/127")
	for i, want := range []string{"2001:db9:1::1", "2001:db9:1::2", "2001:db9:1::3", "2001:db9:2::", "2001:db9:2::1"} {
		if got := assign(t, a, fmt.Sprint("q", i)); got != want {
			t.Errorf("address %d: %s, want %s", i, got, want)
		}
	}
	if _, err := give(a, "q9"); err == nil || !strings.Contains(err.Error(), "all 5 of") {
		t.Errorf("the sixth pod of five addresses: %v", err)
	}
}

// A full family refuses the pod, and takes nothing of the other.
func TestOneFamilyFull(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{}}
	a := open(t, m, "10.64.1.0/30", "2001:db8:64:1::/128")
	assign(t, a, "a")
	if _, err := give(a, "b"); err == nil || !strings.Contains(err.Error(), "all 1 of [2001:db8:64:1::/128]") {
		t.Errorf("second pod of one IPv6 address: %v", err)
	}
	if err := <-a.Release("a"); err != nil {
		t.Fatal(err)
	}
	if got := assign(t, a, "c"); got != "10.64.1.1 2001:db8:64:1::" {
		t.Errorf("after a release: %s", got)
	}
}

// What can not be claimed does not keep the rest from being so.
func TestClaimBoth(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{}}
	a := open(t, m, "10.64.1.0/30", "2001:db8:64:1::/64")
	if err := a.Claim("web-0", addresses("10.64.1.2", "2001:db8:ffff::1")); err == nil || !strings.Contains(err.Error(), "outside") {
		t.Errorf("claim of an address outside: %v", err)
	}
	if got := assign(t, open(t, m, "10.64.1.0/30", "2001:db8:64:1::/64"), "web-0"); got != "10.64.1.2 2001:db8:64:1::1" {
		t.Errorf("after the claim: %s", got)
	}
	if err := a.Claim("db-0", addresses("10.64.1.2")); err == nil || !strings.Contains(err.Error(), "pod web-0 has it") {
		t.Errorf("two pods with one address: %v", err)
	}
}

// take is an assignment that nobody has waited for yet.
func take(t *testing.T, a *Allocator, pod, want string) Ticket {
	t.Helper()
	ticket, err := a.Assign(pod)
	if got := strings.Trim(fmt.Sprint(ticket.Addresses), "[]"); err != nil || got != want {
		t.Fatalf("%s: %s, %v, want %s", pod, got, err, want)
	}
	select {
	case err := <-ticket.Durable:
		t.Fatalf("%s: %v before the store has answered", pod, err)
	default:
	}
	return ticket
}

// An address is its pod's from when it is decided, and the store's answer only says
// whether it may be used.
func TestTickets(t *testing.T) {
	full := errors.New("no space left on device")
	m := &memory{pods: map[string][]netip.Addr{}, slow: true}
	a := open(t, m, "10.64.1.0/30")
	first, other, again := take(t, a, "a", "10.64.1.0"), take(t, a, "b", "10.64.1.1"), take(t, a, "a", "10.64.1.0")
	m.answer(nil)

	if err := a.Settle(first, full); !errors.Is(err, full) {
		t.Errorf("a refused ticket: %v", err)
	}
	if got := a.Lookup("a"); len(got) != 1 {
		t.Errorf("one of the two tickets of a is still open, and it has %v", got)
	}
	if err := errors.Join(a.Settle(again, <-again.Durable), a.Settle(other, <-other.Durable)); err != nil {
		t.Error(err)
	}
	c := take(t, a, "c", "10.64.1.2")
	if err := a.Settle(c, full); !errors.Is(err, full) || a.Lookup("c") != nil || m.pods["c"] != nil {
		t.Errorf("c after a refusal: %v, has %v, in the store %v", err, a.Lookup("c"), m.pods["c"])
	}
}

// A ticket is worth nothing after a release, even if the pod has the same address by another.
func TestReleasedMeanwhile(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{}, slow: true}
	a := open(t, m, "10.64.1.0/32")
	first := take(t, a, "a", "10.64.1.0")
	a.Release("a")
	second := take(t, a, "a", "10.64.1.0")
	m.answer(nil)
	if err := a.Settle(first, <-first.Durable); err == nil || !strings.Contains(err.Error(), "released") {
		t.Errorf("the ticket of before the release: %v", err)
	}
	if err := a.Settle(second, <-second.Durable); err != nil {
		t.Errorf("the ticket of after the release: %v", err)
	}
	a.Release("a")
	b := take(t, a, "b", "10.64.1.0")
	if got := m.pods["a"]; len(got) != 0 {
		t.Errorf("the store says that a has %v, and b gets it", got)
	}
	if err := a.Settle(b, errors.New("refused")); err == nil || a.Lookup("b") != nil {
		t.Errorf("b: %v, has %v", err, a.Lookup("b"))
	}
}

// A pod that moves and is refused has again what it had.
func TestMoveRefused(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{"a": addresses("10.64.1.0")}, slow: true}
	a := open(t, m, "10.64.7.0/30")
	moved := take(t, a, "a", "10.64.7.0")
	if err := a.Settle(moved, errors.New("refused")); err == nil {
		t.Error("no error")
	}
	if got := fmt.Sprint(a.Lookup("a"), m.pods["a"]); got != "[10.64.1.0] [10.64.1.0]" {
		t.Errorf("a here and in the store: %s", got)
	}
}

// What lives goes before a record of a pod that nobody has seen: that record is damaged.
func TestClaimBeforeRecord(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{"b": addresses("10.64.1.0")}}
	a := open(t, m, "10.64.1.0/30")
	if err := a.Claim("a", addresses("10.64.1.0")); err != nil {
		t.Error(err)
	}
	if got := assign(t, a, "b"); got == "10.64.1.0" {
		t.Error("b gets the address that a has")
	}
}

// A store that finds its file late is asked then, and told what it has missed.
func TestLateStore(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{}, err: errors.New("no disk")}
	a := open(t, m, "10.64.1.0/29")
	if err := a.Claim("alive", addresses("10.64.1.4")); err != nil {
		t.Error(err)
	}
	if _, err := give(a, "web-0"); !errors.Is(err, m.err) {
		t.Errorf("assign without a store: %v", err)
	}
	m.err, m.known = nil, false
	m.pods = map[string][]netip.Addr{"web-0": addresses("10.64.1.3"), "other": addresses("10.64.1.4"), "alive": addresses("10.64.1.5")}
	for pod, want := range map[string]string{"web-0": "10.64.1.3", "alive": "10.64.1.4"} {
		if got := assign(t, a, pod); got != want {
			t.Errorf("%s: %s, want %s", pod, got, want)
		}
	}
	if got := fmt.Sprint(m.pods["alive"]); got != "[10.64.1.4]" {
		t.Errorf("the store was not told: alive has %s there", got)
	}
	if got := assign(t, a, "other"); got == "10.64.1.4" {
		t.Error("other gets the address that alive has")
	}
}
