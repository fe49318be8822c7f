// Package ipam gives pods their addresses: one of each family that has a block.
//
// An assignment is decided and reserved at once, and its ticket says when it is
// durable: nobody waits here for a disk. The same pod gets the same addresses until it
// is released, and a released address is taken again only after all others of its
// block: peers, conntrack and neighbour tables have forgotten it by then. It never
// looks at the system; the daemon tells it which pods live.
//
// A power cut at any moment: a pod whose ticket said nil has its addresses after it.
// A pod whose ticket did not, may or may not be in the store; it has not begun to use
// them. An address that goes from one pod to another is, in the store, always exactly
// one's, as each write is whole and in the order of the calls.
package ipam
