// Package buildroot has what a base of one's own needs; see README.md.
package buildroot
