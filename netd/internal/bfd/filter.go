package bfd

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Where the kernel's socket filters find the IP header, whatever the packet
// begins with (linux/filter.h, SKF_NET_OFF), and the bounds of such a program: its
// memory is the socket options', 20 KB by default on older kernels.
const (
	ipHeader  = 0xfff00000
	mostSteps = 512
	wholly    = 0xffffffff
)

// admit is a socket filter: of one hop, only packets with TTL 255 (RFC 5881 section
// 5), and only from the peers. What it refuses takes no room in the socket, so a
// flood from elsewhere keeps no peer's packet out. Of more peers than a program has
// room for, it looks at the TTL only.
func admit(e ear, peers []netip.Addr) []unix.SockFilter {
	// Offsets of TTL and source address: RFC 791 section 3.1, RFC 8200 section 3.
	ttl, source, size := uint32(8), uint32(12), 4
	if e.v6 {
		ttl, source, size = 7, 8, 16
	}
	var program []unix.SockFilter
	if !e.multihop {
		program = append(program, load(unix.BPF_B, ttl), jump(fullTTL, 1, 0), accept(0))
	}
	steps := size/4*2 + 1
	if len(program)+len(peers)*steps+1 > mostSteps {
		return append(program, accept(wholly))
	}
	for _, p := range peers {
		words := p.AsSlice()
		for at := 0; at < size; at += 4 {
			rest := steps - at/2 - 2
			program = append(program, load(unix.BPF_W, source+uint32(at)), jump(binary.BigEndian.Uint32(words[at:]), 0, rest))
		}
		program = append(program, accept(wholly))
	}
	return append(program, accept(0))
}

// load reads from the IP header.
func load(size uint16, at uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_ABS, K: ipHeader + at}
}

// jump goes on after so many steps, if what was read is the number or if it is not.
func jump(number uint32, equal, other int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(equal), Jf: uint8(other), K: number}
}

// accept ends the program with so many octets of the packet; none is a refusal.
func accept(octets uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: octets}
}

// attach puts the filter in the place of the one before.
func attach(fd int, program []unix.SockFilter) error {
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{
		Len: uint16(len(program)), Filter: &program[0],
	}); err != nil {
		return fmt.Errorf("filter what a BFD socket receives (%d steps): %w", len(program), err)
	}
	return nil
}
