// Package link makes the uplinks and the tunnels what the configuration says.
//
// It finds each uplink by name or MAC address, or makes it as a bond or a VLAN of
// others; names it, sets MTU and addresses of both families (static, or leased by
// DHCPv4: package dhcp), and puts the gateway's own addresses on the loopback. Addresses
// carry our mark (IFA_PROTO), links that it made an alias: what is not wanted any more
// goes by that, and what others added is left alone.
//
// Tunnels are links of its own, not the kernel's shared tunl0, whose local address can
// not be set: one of each kind that the families of pods and gateways call for
// (Need.Tunnels), to any gateway; but sit, of which each gateway has one. A VXLAN link
// learns and floods nothing: a gateway's MAC address follows from its IP address. Links
// of another configuration are removed when no route leads there any more
// (SweepTunnels).
//
// It sets no routes: package route does. It decides nothing: which links and tunnels
// there are to be says package intent, and package daemon is the caller.
package link
