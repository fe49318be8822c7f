// Package arp finds out whether another host on a link has one of our IPv4 addresses, too
// (RFC 5227): before a leased one is used (Probe), and of all of them as long as they are
// ours (Watch). Whoever has it is named by its MAC address.
//
// It gives no address up: a gateway that went off the network because somebody else has
// its address would lock its owner out. It defends it, and tells. It is in a hurry, too:
// the RFC's 4 to 9 seconds of probing are for networks of sleepy hosts, and a gateway that
// boots waits for nothing so long. Hosts answer in milliseconds; who is silent for the
// 0.75 s of three probes, or behind a switch port that does not forward yet, is found when
// it says something, or when it is asked again 10 and 40 seconds later.
//
// The kernel's own answers to others are not touched. The agent is the caller.
package arp
