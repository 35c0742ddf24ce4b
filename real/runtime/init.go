package runtime

import (
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// initTarget is where the init is mounted in a container, as Docker does.
const initTarget = "/sbin/docker-init"

// isStatic reports whether a program needs nothing else to be run.
func isStatic(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // only read
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}

// RunInit is a container's first process: it runs the command, passes signals on
// to it, reaps whatever is orphaned, and returns the command's exit code, or 128
// and the signal's number. A command that cannot be run gives 126 or 127, with
// the reason on stderr.
func RunInit(command []string, stderr io.Writer) int {
	if len(command) == 0 {
		_, _ = io.WriteString(stderr, "init: no command given\n")
		return 127
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	path, err := exec.LookPath(command[0])
	if err != nil {
		_, _ = io.WriteString(stderr, "init: "+err.Error()+"\n")
		return 127
	}
	child, err := os.StartProcess(path, command, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		_, _ = io.WriteString(stderr, "init: "+err.Error()+"\n")
		return 126
	}
	for s := range signals {
		number, ok := s.(syscall.Signal)
		switch {
		case !ok || number == unix.SIGURG || number == unix.SIGPIPE: // SIGURG is the Go runtime's own
		case number == unix.SIGCHLD:
			if code, ended := reap(child.Pid); ended {
				return code
			}
		default:
			_ = child.Signal(s)
		}
	}
	return 0
}

// reap takes in every child that has ended, and reports whether main was one.
func reap(main int) (code int, ended bool) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return code, ended
		}
		if pid != main {
			continue
		}
		ended = true
		code = status.ExitStatus()
		if status.Signaled() {
			code = 128 + int(status.Signal())
		}
	}
}
