// Package filter is the language of BGP filters, and what it means.
//
// A Rule is what a person writes: conditions, changes, a verdict. Import and
// Export put the rules of one peer between the ones that are built in, and make
// Steps of them: each is looked at in turn, and the first that applies with a
// verdict ends it. Evaluate does so.
//
// Package config reads and prints rules. Package bgp makes GoBGP's policies of
// steps, one to one, and GoBGP carries them out; the agent evaluates the same steps
// to explain. A test of bgp holds both to the same result over random paths and
// rules.
//
// It is pure: it touches no system and imports nothing but the standard library.
package filter
