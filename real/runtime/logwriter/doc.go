// Package logwriter writes what containers say into files, and reads it back.
//
// [Run] is a process of its own, one for each container, that containerd's shim
// starts (its binary:// logging) and that lives as long as somebody in the
// container can write: so a log goes on while the daemon is away. It takes a
// [Config] from a file whose name is its argument. [Read] reads such a log from
// another process, while it is written or after.
//
// A log is in the form of Docker's json-file driver: a record of JSON on each
// line, in files Path, Path.1, Path.2, …, of which the first is the newest.
//
// Not guaranteed: that a log survives a power cut, as nothing is synced; that
// everything is kept when the disk is full, as a container must not wait for it.
package logwriter
