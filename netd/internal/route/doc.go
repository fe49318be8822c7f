// Package route decides which way packets leave, and puts that into the
// kernel's FIB.
//
// Plan is pure: facts in, one Decision a prefix out, each with every path that
// was considered and the reason for or against it. Apply makes the kernel's
// main table hold exactly the planned routes among those that carry our
// protocol number; it never touches others, replaces before it deletes, and
// does nothing the second time.
//
// # Which way
//
// For one prefix the order is: a gateway on a connected subnet, directly; a
// ToR, whose next hop is connected (the fabric routes pods); the tunnel, to a
// gateway in another subnet. So IP-in-IP is the fallback that is taken when no
// ToR offers the prefix and left when one does again. Inside one such class
// BGP's own rank decides. BGP alone could not: it prefers the shorter AS path,
// which is the gateway's, and knows nothing of subnets and tunnels.
//
// The daemon is the only caller.
package route
