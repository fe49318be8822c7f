// Package gobgp is what the speaker is to do and what it says of itself, and both in
// GoBGP's words: sessions, filters as policies, what is originated, paths, states. It
// translates and keeps nothing; package bgp decides when what is said, and talks. bgp and child
// are the callers.
package gobgp
