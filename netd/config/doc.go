// Package config turns a TOML file into a checked Config.
//
// It owns the file's language: every key, default, unit and error. It never
// touches the system: the same code runs on the gateway (netd run, netd check)
// and in the image builder, so that a bad file can not reach an image.
//
// The file is parsed whole or not at all, with all of its [[device]] tables: a
// file is right or wrong everywhere, not on one box. All errors are reported at
// once, each as
//
//	file:line:col: key: value: expected …, e.g. …
//
// What can not be a configuration is refused before it is parsed: a file of more than
// 1 MiB, one that is no regular file, and one with more than 32 tables and arrays in
// each other or 150000 values, for which the library would take all memory.
//
// # How it works
//
// The library decodes the text and finds syntax errors, which syntax.go words, and after
// which it goes on where it can; foreign.go knows other programs' files, hints.go their
// keys. scan finds where
// each key and value stands, which the library does not tell. Both together make
// a tree of nodes. For each [[device]] the common tree and the device's tree are
// merged into one (merge), which is read into a Config. Values that are compared with
// others are kept with their nodes too, in raw structs. Reading collects the errors of
// single values, the checks those of values that do not fit together, and what is left
// is the Config.
//
// Each key is described once, by its line in a method called keys, for reading and for
// writing (keys.go). What is in effect is written as TOML, and two Configs are compared
// as that.
//
// # Devices
//
// A [[device]] applies to a box when everything in its match table is true of the
// box. Its tables merge into the common ones key by key; an element of an array
// of tables merges into the common element of the same name or else is appended;
// every other value, and a match table, replaces the common one whole.
//
// # Who reads it
//
// In the agent package intent alone knows what a field means; package daemon loads,
// compares and hands on. The image builder, the lab and the command line read it, too.
package config
