// Package store keeps what must survive a power cut, in one bbolt file on the
// data partition. Every write is synced before it returns (bbolt's default).
//
// It owns go.etcd.io/bbolt. It does not know what the entries mean.
package store
