//go:build net

package bgp

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"netd/firmware/lab/patience"
)

// openMessage is an OPEN of AS 65001 without capabilities.
func openMessage(hold uint16, id netip.Addr) []byte {
	m := make([]byte, 29)
	for i := range 16 {
		m[i] = 0xff
	}
	binary.BigEndian.PutUint16(m[16:], 29)
	m[18], m[19] = 1, 4 // OPEN, version 4
	binary.BigEndian.PutUint16(m[20:], 65001)
	binary.BigEndian.PutUint16(m[22:], hold)
	copy(m[24:], id.AsSlice())
	return m
}

// message reads one message.
func message(t *testing.T, c net.Conn) []byte {
	t.Helper()
	defer patience.Limit(c, 20*time.Second)()
	m := make([]byte, 19)
	if _, err := io.ReadFull(c, m); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(m[16:])-19)
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatal(err)
	}
	return append(m, body...)
}
