// Package policy owns the nftables table "netd".
//
// For now it guards the tunnels: what carries packets in packets (IP protocols 4 and
// 41, and VXLAN's port where that is used) is accepted from known gateways only (none
// of it has authentication, so a forged outer packet would otherwise reach every
// pod), and pods may not send it. And it is the pods' strict reverse path for IPv6,
// which the kernel has for IPv4 alone (rp_filter). It keeps pods from the gateway's ports,
// and from having it fill its tables of neighbours. It keeps LANs apart from each other and
// from the gateway's own services, and has a strict reverse path there. And it keeps BGP
// peers to their TTL before the speaker hears of them.
//
// Each change replaces the whole table in one transaction; other tables are never
// touched. It stands on google/nftables, and that on mdlayher/netlink; nothing else
// imports either. What is to be in force says package intent; package daemon is the
// caller.
package policy
