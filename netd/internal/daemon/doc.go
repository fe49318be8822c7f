// Package daemon is the agent, `netd run`: its parts, the loop that has them, and the
// answers to the API. It translates between the packages below it, which do not know
// one another.
//
// A round takes in what is new (round.go, look), has package intent say what is wanted,
// and has each part make its share so, in order. One goroutine, the loop, does that, and
// the jobs that change something; it waits for no other process, for no flash, and for
// no lock that is held over either. Who does wait is whoever asked: a pod's goroutine,
// a request of the API, the keepers of the speaker and of BFD. Everything else wakes the
// loop: rtnetlink events, the keepers, DHCP, a timer. Questions are answered from the
// view that the last round has published (board.go).
//
// Laws: what could not be read is never taken for empty; a restart finds what
// runs and leaves it; until the peers have told all, learned routes that are in
// the kernel stay; on exit everything stays.
//
// netd/DESIGN.md has the parts and the flows through them.
package daemon
