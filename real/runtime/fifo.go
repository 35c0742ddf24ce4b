package runtime

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/real/runtime/logwriter"
)

// fifos are the names of a container's streams; outputs are "" without a log.
type fifos struct{ stdin, stdout, stderr string }

func (r *Runtime) fifosOf(i *instance) fifos {
	dir := r.runDir(i.id())
	f := fifos{stdin: filepath.Join(dir, "stdin")}
	if i.record.LogDriver != logwriter.None {
		f.stdout, f.stderr = filepath.Join(dir, "stdout"), filepath.Join(dir, "stderr")
	}
	return f
}

func (r *Runtime) makeFIFOs(i *instance) (fifos, error) {
	f := r.fifosOf(i)
	for _, name := range []string{f.stdin, f.stdout, f.stderr} {
		if name == "" {
			continue
		}
		if err := unix.Mkfifo(name, 0o600); err != nil && !errors.Is(err, os.ErrExist) {
			return f, fmt.Errorf("cannot make the container's streams: %w", err)
		}
	}
	return f, nil
}

// openOutputs opens what a container whose streams are FIFOs writes, nil for
// others. It must be done before the task is made, as the shim waits for a
// reader.
func (r *Runtime) openOutputs(i *instance) (files []*os.File, err error) {
	spec, f := i.record.Container.Spec, r.fifosOf(i)
	if !spec.OpenStdin || spec.TTY || f.stdout == "" {
		return nil, nil
	}
	for _, name := range []string{f.stdout, f.stderr} {
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			closeFiles(files)
			return nil, fmt.Errorf("cannot open the container's streams: %w", err)
		}
		files = append(files, os.NewFile(uintptr(fd), name))
	}
	return files, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// startLogWriter starts the log writer of a container whose streams are FIFOs;
// of others the shim does. It is called when the shim has opened the FIFOs, so
// that they end with the shim and not at once. The log writer is in a session of
// its own and outlives this process.
func (r *Runtime) startLogWriter(i *instance, outputs []*os.File) error {
	if len(outputs) == 0 {
		return nil
	}
	ready, tells, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot make a pipe for the log writer: %w", err)
	}
	defer ready.Close() //nolint:errcheck // only read
	command := append(slices.Clone(r.config.LoggerBinary[1:]), r.logConfigPath(i.id()))
	cmd := exec.Command(r.config.LoggerBinary[0], command...)
	cmd.ExtraFiles = append(slices.Clone(outputs), tells)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = tells.Close()
	if err != nil {
		return fmt.Errorf("cannot start the log writer: %w", err)
	}
	go cmd.Wait()                      //nolint:errcheck // reaps; it ends when the container's streams do
	_, _ = ready.Read(make([]byte, 1)) // ends when it is ready
	return nil
}
