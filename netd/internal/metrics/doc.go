// Package metrics tells Prometheus how the gateway is.
//
// What is there at the moment of a scrape (sessions, routes, pods) is read then, as
// Facts that the daemon fills in; what happens in between (rounds, operations in the
// FIB) is counted as it happens. There are no secrets in it, and nothing that a peer
// can make grow without bound: the labels are names of the configuration, and the
// addresses of a range's peers that are there.
//
// It owns prometheus/client_golang, which containerd brings along. Package daemon is
// the caller.
package metrics
