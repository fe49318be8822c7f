// Package ipam gives pods their addresses.
//
// An assignment is durable before Assign returns, the same pod gets the same
// address until it is released, and a released address is taken again only
// after all others of its block: peers, conntrack and ARP caches have forgotten
// it by then. It never looks at the system; the daemon tells it which pods live.
package ipam
