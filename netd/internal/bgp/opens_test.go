//go:build net

package bgp

import (
	"bytes"
	"io"
	"net/netip"
	"testing"
	"time"

	"netd/firmware/lab/patience"
	"netd/netd/internal/ownnet"
	"netd/netd/internal/rawbgp"
)

// opening is an OPEN of AS 65001 with these optional parameters.
func opening(parameters string) []byte {
	p := unhex(parameters)
	return rawbgp.Message(rawbgp.Open, append(append(unhex("04 fde9 005a 0a000901"), byte(len(p))), p...))
}

// openings are what a peer may say before there is a session.
func openings() map[string][]byte {
	return map[string][]byte{
		"nothing":                        nil,
		"19 octets of type 255":          rawbgp.Message(255, nil),
		"no BGP":                         []byte("GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"),
		"half a header":                  bytes.Repeat([]byte{0xff}, 10),
		"a length of 65535":              append(bytes.Repeat([]byte{0xff}, 18), 1),
		"an UPDATE":                      rawbgp.Update(nil, nil, nil),
		"a KEEPALIVE":                    rawbgp.Message(rawbgp.Keepalive, nil),
		"an OPEN of one octet":           rawbgp.Message(rawbgp.Open, []byte{4}),
		"BGP version 3":                  rawbgp.Message(rawbgp.Open, unhex("03 fde9 005a 0a000901 00")),
		"hold time 1":                    rawbgp.Message(rawbgp.Open, unhex("04 fde9 0001 0a000901 00")),
		"identifier 0":                   rawbgp.Message(rawbgp.Open, unhex("04 fde9 005a 00000000 00")),
		"our own identifier":             rawbgp.Message(rawbgp.Open, unhex("04 fde9 005a 0a0009fe 00")),
		"another AS":                     rawbgp.Message(rawbgp.Open, unhex("04 fdea 005a 0a000901 00")),
		"AS 0":                           rawbgp.Message(rawbgp.Open, unhex("04 0000 005a 0a000901 00")),
		"parameters beyond the end":      rawbgp.Message(rawbgp.Open, unhex("04 fde9 005a 0a000901 ff 02 06 01 04")),
		"a parameter beyond the end":     opening("02 ff 01 04 0001 0001"),
		"a parameter of no kind":         opening("63 02 0000"),
		"capability 4-octet AS of 0":     opening("02 0a 41 00 01 04 0001 0001 02 00"), // GHSA-gjrg-jjr3-56cm
		"capability 4-octet AS 0":        opening("02 06 41 04 00000000"),
		"a capability beyond the end":    opening("02 04 01 ff 0001"),
		"software version of 0":          opening("02 03 4b 01 00"), // CVE-2025-43971
		"issue 2730":                     unhex("ffffffffffffffffffffffffffffffff 0028 01 04 fc00 005a c0a80a05 0b 02 09 4b 07 0a 000000000000"),
		"graceful restart of 1":          opening("02 03 40 01 00"),
		"FQDN that is cut off":           opening("02 04 49 02 ff 61"),
		"add-path that is cut off":       opening("02 05 45 03 000101"),
		"extended parameters, RFC 9072":  rawbgp.Message(rawbgp.Open, unhex("04 fde9 005a 0a000901 ff ff ffff")),
		"a hundred capabilities of none": opening("02 c8" + string(bytes.Repeat([]byte("6300"), 100))),
	}
}

// TestOpenings: whatever a peer's address says first, or not, the session that is
// meant comes up after it.
func TestOpenings(t *testing.T) {
	ownnet.Run(t, func(t *testing.T) {
		rawRack(t)
		before, err := speakerPID()
		if err != nil {
			t.Fatal(err)
		}
		o := rawbgp.Options{Local: rawAddress(0), Remote: netip.AddrPortFrom(ownAddress, ownPort), AS: toAS, Hold: 90 * time.Second}
		for name, octets := range openings() {
			ctx, cancel := patience.Context(t.Context(), 30*time.Second)
			conn, err := o.Dial(ctx)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := conn.Write(octets); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			// It has read what we said once it answers or ends the connection; an
			// OPEN, its first word, is the answer to silence.
			_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
			cancel()
		}
		ctx, cancel := patience.Context(t.Context(), time.Minute)
		defer cancel()
		s, err := rawbgp.Connect(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if after, err := speakerPID(); err != nil || after != before {
			t.Errorf("the speaker was process %s and is %s: %v", before, after, err)
		}
	})
}
