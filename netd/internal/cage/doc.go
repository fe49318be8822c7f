// Package cage confines a process that reads what strangers send: the BGP
// speaker, and BFD. What is left to it is TCP, or UDP, the descriptors that it has, and
// memory up to a limit. Four layers, each of which holds without the others:
//
//   - limits: memory, threads, descriptors; no core; the speaker goes before the agent
//     when memory is short; not to be traced;
//   - no new privileges (prctl(2)), and in the end no capability;
//   - Landlock (landlock(7)): no file at all, no TCP port but the named ones;
//   - seccomp (seccomp(2)): the system calls that Go's runtime and such a server
//     make, with the arguments that they make them with. What neither ever
//     does ends the process; all else is refused with EPERM and a line in the
//     kernel's log, so that a newer Go runtime is a matter of a log line.
//
// It is entered for good, by the process itself, once its unix sockets are open.
// Packages bgp/child and bfd are the
// callers.
package cage
