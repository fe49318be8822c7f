// Package kmod reads the modules of a Linux kernel package at build time: what
// they are called, what they depend on, and what they answer to.
//
// The image builder uses it to put only the needed modules into an image, in an
// order in which each finds what it depends on, and to write the index files of
// modprobe. It loads nothing.
package kmod
