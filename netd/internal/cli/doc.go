// Package cli is the command line: the verbs that a person types, as functions
// from arguments to text. The long-running roles are started by main.
package cli
