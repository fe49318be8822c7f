package radv

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestMessages(t *testing.T) {
	mac := net.HardwareAddr{0x52, 0x54, 0, 1, 0, 0xa}
	ra, rs := newMessage(advertisement, mac), newMessage(solicitation, mac)
	if want := append([]byte{134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, mac...); !bytes.Equal(ra, want) {
		t.Errorf("advertisement %x, want %x", ra, want)
	}
	if want := append([]byte{133, 0, 0, 0, 0, 0, 0, 0, 1, 1}, mac...); !bytes.Equal(rs, want) {
		t.Errorf("solicitation %x, want %x", rs, want)
	}
	changed := func(m []byte, at int, to byte) []byte {
		m = bytes.Clone(m)
		m[at] = to
		return m
	}
	for _, tt := range []struct {
		name  string
		m     []byte
		limit int
		want  byte
	}{
		{"ours", ra, 255, advertisement},
		{"a question", rs, 255, solicitation},
		{"without options", newMessage(advertisement, nil), 255, advertisement},
		{"from behind a router", ra, 254, 0},
		{"of another code", changed(ra, 1, 1), 255, 0},
		{"of another kind", changed(ra, 0, 135), 255, 0},
		{"cut", ra[:15], 255, 0},
		{"cut in an option", ra[:20], 255, 0},
		{"an option of length 0", changed(ra, 17, 0), 255, 0},
		{"an option longer than the message", changed(ra, 17, 2), 255, 0},
		{"nothing", nil, 255, 0},
	} {
		if got := kindOf(tt.m, tt.limit); got != tt.want {
			t.Errorf("%s: kind %d, want %d", tt.name, got, tt.want)
		}
	}
}

func FuzzKindOf(f *testing.F) {
	f.Add(newMessage(advertisement, net.HardwareAddr{1, 2, 3, 4, 5, 6}), 255)
	f.Add(newMessage(solicitation, nil), 255)
	f.Fuzz(func(t *testing.T, m []byte, limit int) {
		if kind := kindOf(m, limit); kind != 0 && (limit != 255 || m[0] != kind) {
			t.Errorf("kind %d of %x", kind, m)
		}
	})
}

// The first router stays until it has long been silent.
func TestNote(t *testing.T) {
	m := New(nil)
	a, b := netip.MustParseAddr("fe80::a"), netip.MustParseAddr("fe80::b")
	now := time.Unix(1767225600, 0)
	for i, tt := range []struct {
		from netip.Addr
		at   time.Duration
		new  bool
		want netip.Addr
	}{
		{a, 0, true, a},
		{b, time.Minute, false, a},
		{a, 2 * time.Minute, false, a},
		{b, forgetAfter + time.Minute, false, a},
		{b, forgetAfter + 3*time.Minute, true, b},
	} {
		if got := m.note("uplink0", tt.from, now.Add(tt.at)); got != tt.new || m.Routers()["uplink0"] != tt.want {
			t.Errorf("%d: new %v, want %v; router %s, want %s", i, got, tt.new, m.Routers()["uplink0"], tt.want)
		}
	}
}
