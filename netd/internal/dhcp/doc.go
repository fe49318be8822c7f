// Package dhcp keeps a DHCPv4 lease of one link (RFC 2131), and says what it gives: an
// address, a router, further routes (RFC 3442), DNS servers, an MTU. The packets are the
// library's (insomniacslk/dhcp); the states are our own: the library's client takes a
// renewal from the first server only, has no rebinding, no rebooting and no idea of time.
//
// A lease is checked as the configuration's addresses are (package address), and against
// what this gateway knows to be somebody's (Taken): a bad one is not taken, whoever gives it.
// What is wrong with what a server gives is told with the server, the value and what was
// expected. Before an address is used it is asked for on the link (RFC 5227); one that
// another host has is declined. A server that gives it again insists: then it is used.
//
// However short leases are, and however many a server refuses, there is no storm: at most four
// requests a second while a lease of one second is kept, and pauses that double up to a minute between
// tries to get one.
//
// It sets no address and no route. It gives no lease back: the address stays, as the routes
// do, and the next agent finds the lease in a file. The agent is the caller.
package dhcp
