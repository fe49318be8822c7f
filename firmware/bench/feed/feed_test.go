package feed

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"netd/firmware/lab/patience"
)

func TestMessages(t *testing.T) {
	prefixes := Prefixes(netip.MustParsePrefix("10.128.0.0/9"), 26, 3)
	marker := strings.Repeat("ff", 16)
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{
			"two UPDATEs of at most two prefixes, each from an AS of its own",
			Announce(prefixes, 2, netip.MustParseAddr("10.0.1.1"), 65001),
			marker + "003902" + "0000" + "0018" + "40010100" + "40020a0202" + "0000fde9" + "fa56ea00" + "4003040a000101" + "1a0a800000" + "1a0a800040" +
				marker + "003402" + "0000" + "0018" + "40010100" + "40020a0202" + "0000fde9" + "fa56ea01" + "4003040a000101" + "1a0a800080",
		},
		{"withdrawal", Withdraw(prefixes[:1], 50), marker + "001c02" + "0005" + "1a0a800000" + "0000"},
		{"End-of-RIB", EndOfRIB(), marker + "001702" + "00000000"},
		{
			"OPEN of a 4-octet AS", open(netip.MustParseAddr("10.0.1.1"), 4200000001),
			marker + "003301" + "04" + "5ba0" + "00b4" + "0a000101" + "16" + "0214" + "010400010001" + "4104fa56ea01" + "4006007800010100",
		},
	}
	for _, tt := range tests {
		if got := fmt.Sprintf("%x", tt.got); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// A NOTIFICATION ends the session, and says why.
func TestNotification(t *testing.T) {
	ours, theirs := net.Pipe()
	s := &Session{conn: ours, done: make(chan struct{})}
	go s.read()
	if _, err := theirs.Write(message(typeNotification, []byte{6, 2})); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.done:
	case <-patience.After(10 * time.Second):
		t.Fatal("the session goes on")
	}
	if err := s.Err(); err == nil || err.Error() != "NOTIFICATION 06 02" {
		t.Errorf("error %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
