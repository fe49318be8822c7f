package bfd

import (
	"encoding/binary"
	"errors"
	"time"
)

// State of a session, as on the wire (RFC 5880 section 4.1).
type State uint8

// The states.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

func (s State) String() string {
	return [...]string{"AdminDown", "Down", "Init", "Up"}[s&3]
}

// Diag says why a session was last left (RFC 5880 section 4.1).
type Diag uint8

// The diagnostics that this end sends.
const (
	DiagNone         Diag = 0
	DiagTimeExpired  Diag = 1
	DiagNeighborDown Diag = 3
	DiagAdminDown    Diag = 7
)

func (d Diag) String() string {
	names := [...]string{
		"", "nothing heard within the detection time", "echo failed", "the peer signalled down",
		"forwarding plane reset", "path down", "concatenated path down", "administratively down", "reverse path down",
	}
	if int(d) < len(names) {
		return names[d]
	}
	return "unknown diagnostic"
}

// packet is a BFD control packet without authentication.
type packet struct {
	diag       Diag
	state      State
	poll       bool
	final      bool
	plane      bool // control plane independent
	demand     bool
	multiplier uint8
	mine       uint32 // the sender's discriminator
	yours      uint32 // the receiver's, 0 if not known yet
	minTx      time.Duration
	minRx      time.Duration
	minEcho    time.Duration
}

const (
	version    = 1
	packetSize = 24
	// authSize is the shortest packet with an authentication section.
	authSize = 26
)

// The bits of the second octet.
const (
	bitMultipoint = 1 << iota
	bitDemand
	bitAuth
	bitPlane
	bitFinal
	bitPoll
)

// Why a packet is discarded, in RFC 5880 section 6.8.6's order.
var (
	errVersion       = errors.New("version is not 1")
	errShort         = errors.New("length field is too small")
	errLong          = errors.New("length field exceeds the payload")
	errMultiplier    = errors.New("detection multiplier is 0")
	errMultipoint    = errors.New("multipoint bit is set")
	errDiscriminator = errors.New("my discriminator is 0")
	errNoSession     = errors.New("no such session")
	errYours         = errors.New("your discriminator is 0 in a state other than Down and AdminDown")
	errAuth          = errors.New("authentication is not in use")
)

// parse reads a packet and makes the checks that need no session. What comes of
// the authentication bit is decided once the session is known (checkAuth).
func parse(b []byte) (p packet, auth bool, err error) {
	// Without a whole header there is nothing to look at; the length field of
	// what is left of it can not be right either.
	if len(b) < 4 {
		return p, false, errLong
	}
	auth = b[1]&bitAuth != 0
	switch length := int(b[3]); {
	case b[0]>>5 != version:
		return p, auth, errVersion
	case length < packetSize, auth && length < authSize:
		return p, auth, errShort
	case length > len(b):
		return p, auth, errLong
	case b[2] == 0:
		return p, auth, errMultiplier
	case b[1]&bitMultipoint != 0:
		return p, auth, errMultipoint
	}
	us := func(at int) time.Duration {
		return time.Duration(binary.BigEndian.Uint32(b[at:])) * time.Microsecond
	}
	p = packet{
		diag: Diag(b[0] & 0x1f), state: State(b[1] >> 6),
		poll: b[1]&bitPoll != 0, final: b[1]&bitFinal != 0, plane: b[1]&bitPlane != 0, demand: b[1]&bitDemand != 0,
		multiplier: b[2], mine: binary.BigEndian.Uint32(b[4:]), yours: binary.BigEndian.Uint32(b[8:]),
		minTx: us(12), minRx: us(16), minEcho: us(20),
	}
	switch {
	case p.mine == 0:
		return p, auth, errDiscriminator
	case p.yours == 0 && p.state != Down && p.state != AdminDown:
		return p, auth, errYours
	}
	return p, auth, nil
}

// marshal is parse's counterpart.
func (p packet) marshal() []byte {
	b := make([]byte, packetSize)
	b[0] = version<<5 | byte(p.diag)&0x1f
	b[1] = byte(p.state) << 6
	for bit, set := range map[byte]bool{bitPoll: p.poll, bitFinal: p.final, bitPlane: p.plane, bitDemand: p.demand} {
		if set {
			b[1] |= bit
		}
	}
	b[2], b[3] = p.multiplier, packetSize
	binary.BigEndian.PutUint32(b[4:], p.mine)
	binary.BigEndian.PutUint32(b[8:], p.yours)
	binary.BigEndian.PutUint32(b[12:], uint32(p.minTx/time.Microsecond))
	binary.BigEndian.PutUint32(b[16:], uint32(p.minRx/time.Microsecond))
	binary.BigEndian.PutUint32(b[20:], uint32(p.minEcho/time.Microsecond))
	return b
}
