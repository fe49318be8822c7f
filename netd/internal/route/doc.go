// Package route decides which way packets leave, and puts that into the
// kernel's FIB.
//
// Table is pure: learned paths and facts in, one Decision a prefix out, each with
// every path that was considered and the reason for or against it. FIB makes the
// kernel's main table hold exactly the planned routes among those that carry our
// protocol number; it never touches others, replaces before it deletes, and
// does nothing the second time.
//
// # What changed
//
// Both do what changed. Prefixes that are alike share an outcome, so other facts are
// judged once for each kind of prefix; a plan says by what it differs from the one
// before (Delta). The FIB remembers the routes that it has put into the kernel, and
// works on what the delta names: prefixes, or all routes that were there for one
// outcome, whose number it knows. It reads the kernel's routes at the start, after a
// refusal and when it is told to (Distrust), its next hops and links when links have
// changed. Where a delta is not enough (one was missed, routes are held, next hops
// have gone) it compares all, with what it remembers.
//
// # Which way
//
// For one prefix the order is: a gateway on a connected subnet, directly; a
// ToR, whose next hop is connected (the fabric routes pods); the tunnel, to a
// gateway in another subnet. So IP-in-IP is the fallback that is taken when no
// ToR offers the prefix, at once, and left when one has offered it again for a while
// (leave.go): the time is a fact, and Table.Due says when to plan again. Inside one such class
// BGP's own rank decides; paths of equal rank share the traffic. BGP alone could
// not: it prefers the shorter AS path, which is the gateway's, and knows nothing of
// subnets and tunnels.
//
// Which tunnel follows from the families of prefix and next hop (Facts.Tunnels). An
// IPv4 prefix may have an IPv6 next hop natively (RFC 8950); an IPv6 prefix with an
// IPv4 next hop has a tunnel or no route.
//
// # Next hops
//
// A route to other gateways refers to a group of the kernel's next-hop objects,
// also where the way is but one: a group's members can be exchanged under its
// routes, whereas a single next hop can not become a group. Who is in one group
// is decided by fate: prefixes with the same usable paths in the same order move
// together when one of these paths goes, so their move is one operation on their
// group.
//
// After a restart the groups are adopted by what is in the kernel: a group
// belongs to the fate that most of its routes have. So one fate may have several
// groups; a route whose group leads where it should is never rewritten, unless
// most of that group's routes have another fate.
//
// A group serves one family: the kernel keeps IPv4 members out of groups that IPv6
// routes refer to. In IPv6 the kernel takes a global address as next hop on a link
// only if its routes to it lead to that link ("onlink" does not help), so a tunnel
// over IPv6 has its outer address as encapsulation (ip6tnl), or a key of its own
// (vxlan, link-local).
//
// The kernel itself throws out the next hops of a link that is down or has lost
// carrier, and the routes of a group that has no other: these are filled again,
// by chunks, where a way remains.
//
// The daemon is the only caller.
package route
