// Package bgp is the agent's half of the BGP speaker, which is GoBGP in a process of
// its own (package child).
//
// Speaker starts that process and starts it again when it dies or stands still, with
// graceful restart (RFC 4724); meanwhile the routes stay. Its caller says what is wanted
// (Set), and takes what is new (Take): neither ever waits, because the keeper alone talks
// to the process (keeper.go), over GoBGP's own gRPC API on a unix socket. Who commands
// (command.go) owns what the process has been told (life.go); who reads (read.go) keeps no
// table, but hands on what changes. A pipe from the process says which prefixes to read
// again (changes.go), and that it lives (beat.go); limits of prefixes are the agent's to
// watch (limit.go). What is said in GoBGP's words package gobgp translates, the rest is
// package wire's.
//
// What a peer may tell us is what its import filters accept, then prefixes of the
// pools, and from ToRs the default route. What we tell is what we originate, but for
// what its export filters refuse; nothing learned, unless it is reflected. Package
// filter has the rules; GoBGP carries them out.
//
// It and the packages below it own osrg/gobgp; nothing else imports it. Package daemon
// is the caller.
package bgp
