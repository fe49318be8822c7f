package gpt

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// UUID is in the order it is written in (RFC 9562), which is not the order on
// the disk: there the first three groups are little-endian.
type UUID [16]byte

// ParseUUID reads the 36-character form, in either case.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, fmt.Errorf("parse UUID %q: expected 8-4-4-4-12 hexadecimal digits", s)
	}
	if _, err := hex.Decode(u[:], []byte(strings.ReplaceAll(s, "-", ""))); err != nil {
		return UUID{}, fmt.Errorf("parse UUID %q: %w", s, err)
	}
	return u, nil
}

// String gives the 36-character form in lower case.
func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// DerivedUUID makes a version 8 UUID (RFC 9562 section 5.8) of the first 16
// octets of a hash, so that the same inputs give the same identity.
func DerivedUUID(hash []byte) UUID {
	var u UUID
	copy(u[:], hash)
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return u
}

// swap changes between the written order and the order on the disk.
func (u UUID) swap() UUID {
	binary.BigEndian.PutUint32(u[0:], binary.LittleEndian.Uint32(u[0:]))
	binary.BigEndian.PutUint16(u[4:], binary.LittleEndian.Uint16(u[4:]))
	binary.BigEndian.PutUint16(u[6:], binary.LittleEndian.Uint16(u[6:]))
	return u
}
