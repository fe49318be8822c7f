// Package boot is what happens between the kernel and the daemons: stage 1 in
// the initramfs (the command in stage1/) and PID 1 (Init, which stage 1 goes on
// as, and which netd init is on a base that has an initramfs of its own).
//
// Stage 1 waits for the disk that the firmware started this slot from, mounts the
// slot's root and the boot slot, and hands over. Init mounts the kernel's file
// systems, loads modules, has stage 1 bring up the data partition (lengthened to
// the disk's end at the first start; checked, repaired or made anew where it is
// damaged), puts aside what stands in a folder's way there, sets the clock, starts
// the daemons and a login on each console, restarts what ends, reaps orphans, feeds
// the hardware watchdog, and takes the box down in order.
//
// A step of Init that goes wrong is one line on the console and no reason to
// stop: a box that can be logged into can be repaired. A step of stage 1 that
// goes wrong ends in a panic and so in a restart, from which the selector may
// try the other slot; only the data partition is no such step.
//
// No console can stop it, and none another: what they do not take is kept or lost.
// It never writes to a slot, makes a file system only where the data partition is
// beyond repair, and knows nothing of the network but the loopback. Imports are kept few: stage 1 is 2 MB.
package boot
