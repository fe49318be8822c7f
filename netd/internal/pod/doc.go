// Package pod makes a pod's place in the network: a namespace under /run/netns
// with the pod's name, a veth pair, one address of each family (/32, /128), and
// default routes by 169.254.1.1, for which the host side answers ARP, and by fe80::1,
// which the host side of each pair has.
//
// Ensure may be called again for a pod that is there: it then changes nothing,
// so that a restarted agent finds its pods without their traffic noticing. What
// a power cut left half made is made whole or made anew. It sets no host routes:
// package route does. It runs nothing inside, and picks no address: package ipam does.
// Package daemon is the caller.
package pod
