// Package bfd tells within a fraction of a second that a peer can not be reached
// any more: Bidirectional Forwarding Detection in asynchronous mode (RFC 5880),
// over one hop (RFC 5881) or several (RFC 5883), without authentication, echo
// and demand mode of our own.
//
// machine is one session: pure, events and times in, packets out. Monitor has
// the sockets and runs all sessions in one goroutine, which waits for nothing but
// them: it logs nothing, and what it finds is read by Statuses. Serve is a Monitor
// in a process of its own, which goes on while agents come and go; Client is an
// agent's hold on it, which replaces a process that dies or is silent.
//
// Only the loss of a session that was Up is a failure. A peer that never came up,
// one that says AdminDown or begins anew, and a start of ours are none.
//
// A late scheduler is no failure either: silence counts from the time at which
// the kernel received the last packet, and before a session is declared Down,
// what arrived until then is read.
//
// It knows no BGP and no routes. Package daemon is the caller.
package bfd
