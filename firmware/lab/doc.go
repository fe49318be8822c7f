// Package lab is a small network to try gateways in: hosts as network namespaces,
// wires between them, BIRD as ToR, tcpdump as witness. Gateways are real boards on
// taps (make demo, tier board) or `netd run` in a namespace (tier vm).
//
//	     fabric 10.0.12.0/30
//	tor1 ------------------- tor2        AS 65001, 65002 (BIRD 2)
//	 |.1                      |.1
//	 | 10.0.1.0/24            | 10.0.2.0/24
//	 +-- gw-a .11  AS 65101   +-- gw-c .13  AS 65103
//	 +-- gw-b .12  AS 65102
//
// Whatever a Net makes is its own and is gone after Close: namespaces (named by
// its process), processes, folders. What a killed process left behind is removed
// by the next New.
package lab
