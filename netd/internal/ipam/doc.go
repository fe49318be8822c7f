// Package ipam gives pods their addresses: one of each family that has a block.
//
// An assignment is durable before Assign returns, the same pod gets the same
// addresses until it is released, and a released address is taken again only
// after all others of its block: peers, conntrack and neighbour tables have forgotten
// it by then. It never looks at the system; the daemon tells it which pods live.
package ipam
