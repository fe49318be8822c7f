// Package link makes the uplinks and the tunnel what the configuration says.
//
// It finds each uplink by name or MAC address, names it, sets MTU and addresses
// (static, or leased by DHCPv4, RFC 2131), and keeps one ipip link of its own
// (not the kernel's shared tunl0, whose local address can not be set). It sets
// no routes: package route does. Addresses that it did not add are left alone.
package link
