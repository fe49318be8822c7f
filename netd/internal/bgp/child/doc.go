// Package child is the role `netd bgp`: GoBGP v4 in a process of its own, with its own
// uid, no capability but the port's, and nothing to lose. GoBGP recovers no panic, so
// what a peer can break must not be the agent.
//
// It serves GoBGP's API to the agent, and beside it what that API lacks: questions for
// paths, why sessions ended, and hints of what to read again (package wire). It ends
// connections that GoBGP forgets. It decides nothing: what it does it is told.
//
// Only netd's main imports it.
package child
