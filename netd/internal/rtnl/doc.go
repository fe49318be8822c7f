// Package rtnl is what netd says to rtnetlink: links, addresses, routes, next-hop
// objects and neighbours, in netip types and with errors that name what was
// attempted.
//
// It owns vishvananda/netlink: nothing else imports that library. Routes and
// next-hop objects go by messages of its own (wire.go), in chunks. It keeps no
// state and takes no decision. A dump that the kernel reports as interrupted
// is read again, and in the end it is an error, never a shorter answer; so is a kernel
// that does not answer for ten seconds.
//
// Packages link, pod and route are the callers, and daemon, which looks at what others
// have set.
package rtnl
