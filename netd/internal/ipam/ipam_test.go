package ipam

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
)

// memory is a Store whose writes can be made to fail.
type memory struct {
	pods map[string][]netip.Addr
	last []netip.Addr
	err  error
}

func (m *memory) Load() (map[string][]netip.Addr, []netip.Addr, error) {
	return maps.Clone(m.pods), m.last, nil
}

func (m *memory) Assign(pod string, addresses, last []netip.Addr) error {
	if m.err == nil {
		m.pods[pod], m.last = addresses, last
	}
	return m.err
}

func (m *memory) Release(pod string) error {
	if m.err == nil {
		delete(m.pods, pod)
	}
	return m.err
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
	a, err := New(prefixes, m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func assign(t *testing.T, a *Allocator, pod string) string {
	t.Helper()
	got, err := a.Assign(pod)
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
	if err := a.Release("a"); err != nil {
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
	_, err := a.Assign("p3")
	if err == nil || !strings.Contains(err.Error(), "all 3 of [10.64.1.0/32 10.64.9.0/31]") {
		t.Errorf("fourth pod of three addresses: %v", err)
	}
}

func TestStoreRefuses(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{}}
	a := open(t, m, "10.64.1.0/30")
	m.err = errors.New("no space left on device")
	if _, err := a.Assign("web-0"); err == nil || !strings.Contains(err.Error(), "no space left") {
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
	if err := a.Claim("web-0", addr); err == nil {
		t.Error("claim without a store: no error")
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
	if _, err := a.Assign("web-0"); err == nil || !strings.Contains(err.Error(), "no pool has a block") {
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
	if _, err := a.Assign("q9"); err == nil || !strings.Contains(err.Error(), "all 5 of") {
		t.Errorf("the sixth pod of five addresses: %v", err)
	}
}

// A full family refuses the pod, and takes nothing of the other.
func TestOneFamilyFull(t *testing.T) {
	m := &memory{pods: map[string][]netip.Addr{}}
	a := open(t, m, "10.64.1.0/30", "2001:db8:64:1::/128")
	assign(t, a, "a")
	if _, err := a.Assign("b"); err == nil || !strings.Contains(err.Error(), "all 1 of [2001:db8:64:1::/128]") {
		t.Errorf("second pod of one IPv6 address: %v", err)
	}
	if err := a.Release("a"); err != nil {
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
