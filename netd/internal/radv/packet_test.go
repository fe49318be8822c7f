package radv

import (
	"bytes"
	"log/slog"
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

// The first router stays while it is there. Another one takes its place when it says that
// it leaves, when its lifetime is over, or when it does not answer.
func TestNote(t *testing.T) {
	a, b := netip.MustParseAddr("fe80::a"), netip.MustParseAddr("fe80::b")
	now := time.Unix(1767225600, 0)
	heard := func(from netip.Addr, lifetime time.Duration) message { return message{advertisement, from, lifetime} }
	type step struct {
		at   time.Duration
		said message // a message that came; none: who asks looks
		want netip.Addr
		asks bool // the first is asked then
	}
	minute := time.Minute
	for name, steps := range map[string][]step{
		"silent": {
			{0, heard(a, 30*minute), a, false},
			{minute, heard(b, 30*minute), a, true},
			{minute + 2*time.Second, message{}, a, true},
			{minute + answerTime, message{}, b, false},
			{2 * minute, heard(b, 30*minute), b, false},
		},
		"two": {
			{0, heard(a, 0), a, false},
			{minute, heard(b, 0), a, true},
			{minute + 3*time.Second, heard(a, 0), a, false},
			{minute + answerTime, message{}, a, false},
			{minute + 10*time.Second, heard(b, 0), a, false}, // a minute's peace
			{3 * minute, heard(b, 0), a, true},
			{3*minute + answerTime, message{}, b, false},
		},
		"leaves":          {{0, heard(a, 30*minute), a, false}, {minute, heard(a, 0), a, false}, {minute + time.Second, heard(b, 9*time.Second), b, false}},
		"never a default": {{0, heard(a, 0), a, false}, {minute, heard(a, 0), a, false}, {minute, heard(b, 0), a, true}},
		"lifetime":        {{0, heard(a, 9*time.Second), a, false}, {9 * time.Second, heard(b, 9*time.Second), b, false}},
		"long ago":        {{0, heard(a, 0), a, false}, {forgetAfter, heard(b, 0), b, false}},
	} {
		t.Run(name, func(t *testing.T) {
			m := New(slog.New(slog.DiscardHandler))
			for i, s := range steps {
				at, before := now.Add(s.at), m.router("uplink0")
				changed := false
				if s.said.kind != 0 {
					changed = m.note("uplink0", s.said, at)
				}
				asks, moved := m.contested("uplink0", at)
				if got := m.router("uplink0"); got != s.want || (changed || moved) != (got != before) || asks && !moved != s.asks {
					t.Errorf("%d: router %s, new %v, moved %v, asks %v; want %s, asks %v", i, got, changed, moved, asks, s.want, s.asks)
				}
			}
		})
	}
}
