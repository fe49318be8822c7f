// Package intent says what is wanted: from what people and machines have said
// (Sources) and what was found (Facts) Compile makes the Intent, all of it, and the
// daemon's parts make the box so.
//
// It is pure: it reads no file, asks no kernel and keeps nothing. It is the one
// package of the agent that reads the configuration's fields; where else they come
// from (an order of a person, a lease, later a fleet) is decided here, too.
//
// The daemon is the only caller.
package intent
