// Package rawbgp is a BGP peer that says whatever it is told, right or wrong: it
// opens a session (RFC 4271), keeps it alive, and sends octets. Only tests
// import it.
package rawbgp
