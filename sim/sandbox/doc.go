// Package sandbox runs programs for simulated managers (sim/guest) in WebAssembly,
// with wazero, so that all that such a program sees of the world is what the
// simulator shows it, and the same run is the same to the byte.
//
// The host is the operating system. It gives the program the usual calls of
// wasi_snapshot_preview1, but clocks, randomness, reading, writing and waiting are
// its own. A program waits in one call only, poll_oneoff: there its instance, a
// coroutine of the simulator's one thread, stands until it is let go on. To kill a
// process is not to let it go on.
//
// What the Go runtime of a program needs for that: clocks that never show 0; its
// inbox, file 3, looks like a socket that does not block, so that the program's
// scheduler waits for it together with its timers; standard output and error go
// nowhere but into the reason of a crash.
package sandbox
