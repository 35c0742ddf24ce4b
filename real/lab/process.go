package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A process is one that this package has started: the number may be another's by
// now, the time of its start is not.
type process struct {
	pid     int
	started uint64 // in ticks of the kernel since its boot
}

// readProcess reads which process a file names, the zero value if none.
func readProcess(file string) process {
	text, err := os.ReadFile(file)
	if err != nil {
		return process{}
	}
	var p process
	if _, err := fmt.Sscan(string(text), &p.pid, &p.started); err != nil || p.pid <= 1 {
		return process{}
	}
	return p
}

// noteProcess writes a process that runs into a file.
func noteProcess(file string, pid int) error {
	_, started := stat(pid)
	return writeFile(file, fmt.Appendf(nil, "%d %d\n", pid, started))
}

// stat is the state of a process, such as 'S', and when it was started; 0 if it is
// gone.
func stat(pid int) (status byte, started uint64) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0
	}
	// The name, in parentheses, may have blanks and parentheses in it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const afterName = 19 // starttime is the 22nd field, the state the third
	if len(fields) <= afterName {
		return 0, 0
	}
	started, _ = strconv.ParseUint(fields[afterName], 10, 64)
	return fields[0][0], started
}

// status is the state of the process, 0 if it has ended.
func (p process) status() byte {
	if p.pid == 0 {
		return 0
	}
	status, started := stat(p.pid)
	if started != p.started || status == 'Z' || status == 'X' {
		return 0
	}
	return status
}

func (p process) runs() bool { return p.status() != 0 }

// signal sends a signal to the process, and to no other that has its number.
func (p process) signal(signal unix.Signal) error {
	if !p.runs() {
		return os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ENOSYS) {
		return unix.Kill(p.pid, signal)
	}
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !p.runs() { // it was another's
		return os.ErrProcessDone
	}
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// awaitEnd waits until the process has ended, and reports whether it has.
func (p process) awaitEnd(patience time.Duration) bool {
	return await(patience, func() bool { return !p.runs() })
}

// await waits until something holds, and reports whether it came to.
func await(patience time.Duration, holds func() bool) bool {
	deadline := time.Now().Add(patience)
	poll := time.NewTicker(pollPeriod)
	defer poll.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			return false
		}
		<-poll.C
	}
	return true
}

// writeFile writes a file as a whole or not at all.
func writeFile(path string, data []byte) error {
	fresh := path + ".new"
	if err := os.WriteFile(fresh, data, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
