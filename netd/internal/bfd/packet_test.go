package bfd

import (
	"encoding/hex"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func whole() packet {
	return packet{
		diag: DiagNeighborDown, state: Up, poll: true, plane: true, demand: true, multiplier: 3, mine: 0x01020304, yours: 0x05060708,
		minTx: 50 * time.Millisecond, minRx: math.MaxUint32 * time.Microsecond, minEcho: time.Second,
	}
}

func TestMarshal(t *testing.T) {
	const want = "23ea0318" + "01020304" + "05060708" + "0000c350" + "ffffffff" + "000f4240"
	b := whole().marshal()
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	p, auth, err := parse(b)
	if err != nil || auth {
		t.Fatal(auth, err)
	}
	if diff := cmp.Diff(whole(), p, cmp.AllowUnexported(packet{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Each check of RFC 5880 section 6.8.6, and that they come in its order: every
// packet breaks the later rules too where it can.
func TestParseRefuses(t *testing.T) {
	good := func() []byte { return whole().marshal() }
	tests := []struct {
		name string
		edit func(b []byte) []byte
		want error
	}{
		{"version", func(b []byte) []byte { b[0] = 2<<5 | b[0]&0x1f; b[3] = 1; return b }, errVersion},
		{"length below 24", func(b []byte) []byte { b[3], b[2] = 23, 0; return b }, errShort},
		{"length below 26 with authentication", func(b []byte) []byte { b[1] |= bitAuth; b[3] = 25; return append(b, 0, 0) }, errShort},
		{"length over the payload", func(b []byte) []byte { b[3], b[2] = 25, 0; return b }, errLong},
		{"a cut packet", func(b []byte) []byte { return b[:23] }, errLong},
		{"three octets", func(b []byte) []byte { return b[:3] }, errLong},
		{"nothing", func([]byte) []byte { return nil }, errLong},
		{"multiplier 0", func(b []byte) []byte { b[2] = 0; b[1] |= bitMultipoint; return b }, errMultiplier},
		{"multipoint", func(b []byte) []byte { b[1] |= bitMultipoint; clear(b[4:8]); return b }, errMultipoint},
		{"my discriminator 0", func(b []byte) []byte { clear(b[4:12]); return b }, errDiscriminator},
		{"your discriminator 0 while Up", func(b []byte) []byte { clear(b[8:12]); return b }, errYours},
		{"your discriminator 0 while Init", func(b []byte) []byte { clear(b[8:12]); b[1] = byte(Init) << 6; return b }, errYours},
		{"your discriminator 0 while Down", func(b []byte) []byte { clear(b[8:12]); b[1] = byte(Down) << 6; return b }, nil},
		{"your discriminator 0 while AdminDown", func(b []byte) []byte { clear(b[8:12]); b[1] = byte(AdminDown) << 6; return b }, nil},
		{"more than the length", func(b []byte) []byte { return append(b, 1, 2, 3) }, nil},
	}
	for _, tt := range tests {
		if _, _, err := parse(tt.edit(good())); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// FuzzParse: nothing panics, and what is good is written as it was read.
func FuzzParse(f *testing.F) {
	f.Add(whole().marshal())
	f.Add([]byte{0x20, 0x44, 3, 26})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, auth, err := parse(b)
		if err != nil || auth {
			return
		}
		again, _, err := parse(p.marshal())
		if err != nil || again != p {
			t.Fatalf("%x: %+v, written and read again %+v (%v)", b, p, again, err)
		}
		m := newMachine(Up)
		m.receive(p, begun())
		m.tick(begun().Add(time.Hour), begun().Add(time.Hour))
		if m.next().Before(begun()) {
			t.Fatalf("%x: next at %s", b, m.next())
		}
	})
}
