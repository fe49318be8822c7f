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
	pods map[string]netip.Addr
	last netip.Addr
	err  error
}

func (m *memory) Load() (map[string]netip.Addr, netip.Addr, error) {
	return maps.Clone(m.pods), m.last, nil
}

func (m *memory) Assign(pod string, a netip.Addr) error {
	if m.err == nil {
		m.pods[pod], m.last = a, a
	}
	return m.err
}

func (m *memory) Release(pod string) error {
	if m.err == nil {
		delete(m.pods, pod)
	}
	return m.err
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
	addr, err := a.Assign(pod)
	if err != nil {
		t.Fatal(err)
	}
	return addr.String()
}

func TestSameAddressAfterRestart(t *testing.T) {
	m := &memory{pods: map[string]netip.Addr{}}
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
	m := &memory{pods: map[string]netip.Addr{}}
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
	a := open(t, &memory{pods: map[string]netip.Addr{}}, "10.64.1.0/32", "10.64.9.0/31")
	for i := range 3 {
		assign(t, a, fmt.Sprint("p", i))
	}
	_, err := a.Assign("p3")
	if err == nil || !strings.Contains(err.Error(), "all 3 of [10.64.1.0/32 10.64.9.0/31]") {
		t.Errorf("fourth pod of three addresses: %v", err)
	}
}

func TestStoreRefuses(t *testing.T) {
	m := &memory{pods: map[string]netip.Addr{}}
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
	m := &memory{pods: map[string]netip.Addr{"web-0": netip.MustParseAddr("10.64.1.0")}}
	a := open(t, m, "10.64.7.0/30")
	if got := assign(t, a, "web-0"); got != "10.64.7.0" {
		t.Errorf("after the block moved: %s, want 10.64.7.0", got)
	}
}

func TestClaim(t *testing.T) {
	m := &memory{pods: map[string]netip.Addr{}, err: errors.New("read-only file system")}
	a := open(t, m, "10.64.1.0/30")
	addr := netip.MustParseAddr("10.64.1.0")
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
	if err := a.Claim("db-0", netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Error("claim outside of the block")
	}
}
