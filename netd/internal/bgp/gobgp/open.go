package gobgp

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// An OPEN message (RFC 4271 section 4.2): a header, version, AS, hold time and identifier,
// the length of the optional parameters, and these.
const (
	headerLen    = 19
	holdAt       = headerLen + 3
	parametersAt = headerLen + 9
	// extendedLen in place of a length, and as the first parameter's type, says that
	// lengths are of two octets (RFC 9072).
	extendedLen = 255
	// capabilitiesType is the parameter with capabilities (RFC 5492).
	capabilitiesType = 2
)

// AllCapabilities is in place of their codes: no optional parameter at all, as before
// RFC 5492.
const AllCapabilities = 0

// capabilities are those that we send, by the names that people know them by.
func capabilities() map[string]byte {
	return map[string]byte{
		"all": AllCapabilities, "multiprotocol": byte(bgp.BGP_CAP_MULTIPROTOCOL), "route-refresh": byte(bgp.BGP_CAP_ROUTE_REFRESH),
		"extended-next-hop": byte(bgp.BGP_CAP_EXTENDED_NEXTHOP), "extended-message": byte(bgp.BGP_CAP_EXTENDED_MESSAGE),
		"graceful-restart": byte(bgp.BGP_CAP_GRACEFUL_RESTART), "four-octet-as": byte(bgp.BGP_CAP_FOUR_OCTET_AS_NUMBER),
		"long-lived-graceful-restart": byte(bgp.BGP_CAP_LONG_LIVED_GRACEFUL_RESTART),
		"host-name":                   byte(bgp.BGP_CAP_FQDN), "software-version": byte(bgp.BGP_CAP_SOFT_VERSION),
	}
}

// Capability is a capability's code by its name.
func Capability(name string) (code byte, ok bool) {
	code, ok = capabilities()[name]
	return code, ok
}

// capabilityName is the name of a code.
func capabilityName(code byte) string {
	for name, c := range capabilities() {
		if c == code && c != AllCapabilities {
			return fmt.Sprintf("%s (%d)", name, code)
		}
	}
	return fmt.Sprintf("capability %d", code)
}

const without = " without capabilities "

// description is a peer's: its name, and the codes of the capabilities that are left out
// of its sessions. GoBGP only keeps it; who opens the sessions reads it.
func description(p Peer) string {
	if len(p.Without) == 0 {
		return p.Name
	}
	codes := make([]string, len(p.Without))
	for i, name := range p.Without {
		code, _ := Capability(name)
		codes[i] = strconv.Itoa(int(code))
	}
	return p.Name + without + strings.Join(codes, ",")
}

// LeftOut are the capabilities that a peer's description leaves out, by their codes.
func LeftOut(description string) []byte {
	_, list, _ := strings.Cut(description, without)
	var codes []byte
	for code := range strings.SplitSeq(list, ",") {
		if n, err := strconv.ParseUint(code, 10, 8); err == nil {
			codes = append(codes, byte(n))
		}
	}
	return codes
}

// WithoutCapabilities is an OPEN message, with its header, that does not have them; in the
// form of RFC 4271 where it fits, as GoBGP does not know that of RFC 9072. What is no whole
// OPEN stays as it is: who gets it says what is wrong.
func WithoutCapabilities(open []byte, codes []byte) []byte {
	if len(open) <= parametersAt || open[headerLen-1] != bgp.BGP_MSG_OPEN || len(codes) == 0 && open[parametersAt] != extendedLen {
		return open
	}
	parameters, ok := leaveOut(open[parametersAt:], codes)
	if !ok {
		return open
	}
	out := append(slices.Clone(open[:parametersAt]), parameters...)
	binary.BigEndian.PutUint16(out[headerLen-3:], uint16(len(out)))
	return out
}

// leaveOut is the optional parameters with their length, without some capabilities.
func leaveOut(b, codes []byte) ([]byte, bool) {
	length, size, rest := int(b[0]), 1, b[1:]
	if b[0] == extendedLen && len(rest) >= 3 && rest[0] == extendedLen {
		length, size, rest = int(binary.BigEndian.Uint16(rest[1:])), 2, rest[3:]
	}
	if length != len(rest) {
		return nil, false
	}
	var kept []byte // as parameters whose lengths are of two octets
	for len(rest) > 0 {
		kind := rest[0]
		value, after, ok := cut(rest[1:], size)
		if !ok {
			return nil, false
		}
		rest = after
		if kind == capabilitiesType {
			if value, ok = keep(value, codes); !ok {
				return nil, false
			}
		}
		if !slices.Contains(codes, AllCapabilities) && (kind != capabilitiesType || len(value) > 0) {
			kept = append(binary.BigEndian.AppendUint16(append(kept, kind), uint16(len(value))), value...)
		}
	}
	return parameters(kept), true
}

// keep is a list of capabilities without some.
func keep(list, codes []byte) (kept []byte, ok bool) {
	for len(list) > 0 {
		value, after, ok := cut(list[1:], 1)
		if !ok {
			return nil, false
		}
		if !slices.Contains(codes, list[0]) {
			kept = append(append(kept, list[0], byte(len(value))), value...)
		}
		list = after
	}
	return kept, true
}

// cut takes a value off, which its length precedes in so many octets.
func cut(b []byte, size int) (value, rest []byte, ok bool) {
	if len(b) < size {
		return nil, nil, false
	}
	n := int(b[0])
	if size == 2 {
		n = int(binary.BigEndian.Uint16(b))
	}
	if b = b[size:]; n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// parameters are the optional ones with their length, in the old form where that is
// possible.
func parameters(list []byte) []byte {
	var short []byte
	for rest := list; len(rest) > 0; {
		value, after, _ := cut(rest[1:], 2)
		short = append(append(short, rest[0], byte(len(value))), value...)
		if rest = after; len(value) > 255 {
			short = make([]byte, extendedLen) // It does not fit.
		}
	}
	if len(short) < extendedLen {
		return append([]byte{byte(len(short))}, short...)
	}
	return append(binary.BigEndian.AppendUint16([]byte{extendedLen, extendedLen}, uint16(len(list))), list...)
}

// Refused begins what is said of a peer that does not want our OPEN.
const Refused = "refuses our OPEN: "

// Refusal says in words what a NOTIFICATION refuses that came in answer to an OPEN.
func Refusal(notification, open []byte) string {
	if len(notification) < headerLen+2 {
		return Refused + "a NOTIFICATION without a code"
	}
	code, subcode, data := notification[headerLen], notification[headerLen+1], notification[headerLen+2:]
	if code == bgp.BGP_ERROR_CEASE {
		return fmt.Sprintf("ends the session before it is up: %s (%d/%d)", bgp.NewNotificationErrorCode(code, subcode), code, subcode)
	}
	words := map[byte]string{
		1: "unsupported version", 2: "bad peer AS", 3: "bad BGP identifier", 4: "unsupported optional parameter",
		5: "authentication failure", 6: "unacceptable hold time", 7: "unsupported capability", 11: "role mismatch",
	}[subcode]
	if code != bgp.BGP_ERROR_OPEN_MESSAGE_ERROR || words == "" {
		return fmt.Sprintf("%s%s (%d/%d)", Refused, bgp.NewNotificationErrorCode(code, subcode), code, subcode)
	}
	words = fmt.Sprintf("%s%s (%d/%d)", Refused, words, code, subcode)
	switch subcode {
	case 4:
		return words + "; no-capabilities = [\"all\"] sends none"
	case 6:
		if len(open) >= holdAt+2 {
			hold := time.Duration(binary.BigEndian.Uint16(open[holdAt:])) * time.Second
			words += fmt.Sprintf(": hold-time is %s, and the peer wants another", hold)
		}
	case 7:
		// The data are the capabilities that the peer has not got (RFC 5492 section 5).
		for rest := data; len(rest) > 1; {
			_, after, ok := cut(rest[1:], 1)
			if words += ": " + capabilityName(rest[0]); !ok {
				break
			}
			rest = after
		}
		words += "; no-capabilities leaves capabilities out"
	}
	return words
}
