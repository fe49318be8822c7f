// Package config turns a TOML file into a checked Config.
//
// It owns the file's language: every key, default, unit and error. It never
// touches the system: the same code runs on the gateway (netd run, netd check)
// and in the image builder, so that a bad file can not reach an image.
//
// The file is parsed whole or not at all. All errors are reported at once, each
// as
//
//	file:line:col: key: value: expected …
package config
