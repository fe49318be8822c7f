// Package qemutest runs emulated boards for tests and for the demo: a disk image
// starts on the machine that board.toml describes, with its ports on existing
// taps, and a test talks to its console as a person would.
//
// A board is never more than it needs: no network but the ports that are named,
// no host file but its disk, its copy of the firmware's variables, two sockets
// and two logs in its folder. QEMU ends with the process that started it,
// however that ends.
//
// run/ is the same for a person, vmrun/ runs single programs in a guest without
// an image.
package qemutest
