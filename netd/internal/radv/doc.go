// Package radv finds the peers that are known by their link alone (unnumbered):
// it sends router advertisements (RFC 4861) on these links, so that the ToR learns
// our link-local address, and takes the ToR's from its own.
//
// Ours have a router lifetime of 0 and no prefix: nobody takes this gateway for a
// default router, or makes an address of them. Of others' only the sender counts,
// and only with a hop limit of 255, which no router has forwarded. The kernel's
// routes and addresses are not touched; it is the configuration that says on which
// links a Monitor listens.
//
// Package daemon is the caller.
package radv
