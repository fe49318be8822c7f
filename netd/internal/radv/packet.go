package radv

import (
	"encoding/binary"
	"net"
	"time"
)

// Messages of RFC 4861, section 4.
const (
	solicitation  = 133
	advertisement = 134
	// sourceLinkAddress is the option with the sender's MAC address.
	sourceLinkAddress = 1
	// The octets of a message before its options.
	solicitationSize  = 8
	advertisementSize = 16
)

// newMessage is one of ours. All its fields are zero, which an advertisement means
// so: not a default router, nothing to say of hop limit and timers. The kernel puts
// in the checksum.
func newMessage(kind byte, mac net.HardwareAddr) []byte {
	size := solicitationSize
	if kind == advertisement {
		size = advertisementSize
	}
	m := make([]byte, size)
	m[0] = kind
	if len(mac) == 6 { // other link layers have other forms
		m = append(append(m, sourceLinkAddress, 1), mac...)
	}
	return m
}

// kindOf is the kind of a message that is right (RFC 4861, 6.1.1 and 6.1.2), or 0.
// The kernel has checked the checksum.
func kindOf(m []byte, hopLimit int) byte {
	sizes := map[byte]int{solicitation: solicitationSize, advertisement: advertisementSize}
	if len(m) < solicitationSize || hopLimit != 255 || m[1] != 0 {
		return 0
	}
	size, ok := sizes[m[0]]
	if !ok || len(m) < size || !goodOptions(m[size:]) {
		return 0
	}
	return m[0]
}

// lifetimeOf is the router lifetime of an advertisement, 0 of any other message.
func lifetimeOf(m []byte) time.Duration {
	if len(m) < advertisementSize || m[0] != advertisement {
		return 0
	}
	return time.Duration(binary.BigEndian.Uint16(m[6:])) * time.Second
}

// goodOptions tells whether all options have a length, in units of 8 octets, and
// fill the message.
func goodOptions(options []byte) bool {
	for len(options) > 0 {
		if len(options) < 2 || options[1] == 0 || int(options[1])*8 > len(options) {
			return false
		}
		options = options[int(options[1])*8:]
	}
	return true
}

// hopLimitOf finds the hop limit in a control message of the kernel's.
func hopLimitOf(level, kind int32, data []byte) (int, bool) {
	if level != ipv6Level || kind != ipv6HopLimit || len(data) < 4 {
		return 0, false
	}
	return int(binary.NativeEndian.Uint32(data)), true
}
