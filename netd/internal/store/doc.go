// Package store keeps the pods' addresses over a power cut, in one file of bbolt's
// format on the data partition.
//
// What is in memory is the truth for as long as the agent lives; the file is what was
// written of it. The file is read once, by a reader that believes nothing (decode.go),
// and never mapped: damage costs the records that it hit and cannot end the agent.
// Each write is the whole state beside the file, which then takes its place. So a power
// cut leaves the state before or the one after, and whatever happens to the file, the
// next write makes it whole. All that comes while one write is on its way is the next.
//
// It owns go.etcd.io/bbolt, which sees only memory here. It does not know what the
// addresses are for; the daemon makes one DB, and ipam fills it.
package store
