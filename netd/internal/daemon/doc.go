// Package daemon is the agent, `netd run`. It owns all state and translates
// between the packages below it, which do not know one another.
//
// One goroutine, the loop, decides and acts: it gathers facts (links, the
// speaker's snapshot, pods), plans routes, applies them and publishes the result.
// Everything else only wakes it: rtnetlink events, the speaker, DHCP, a timer.
// Requests (a pod that starts, a person's question) run on the loop too.
//
// Laws: what could not be read is never taken for empty; a restart finds what
// runs and leaves it; until the peers have told all, learned routes that are in
// the kernel stay; on exit everything stays.
package daemon
