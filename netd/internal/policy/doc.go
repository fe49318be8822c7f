// Package policy owns the nftables table "netd".
//
// For now it guards the tunnel: IP protocol 4 is accepted from known gateways
// only (RFC 2003 has no authentication, so a forged outer packet would otherwise
// reach every pod), and pods may not send it. Each change replaces the whole
// table in one transaction. It stands on google/nftables, and that on
// mdlayher/netlink; nothing else imports either.
package policy
