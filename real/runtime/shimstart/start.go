// Package shimstart stands in for containerd's shim for runc where the shim of
// a container is there already, since others have it.
//
// containerd runs the shim's program for every container; it starts a shim, or
// finds the one that the container is to share, and says its address. Finding
// takes it 30 ms of CPU, most of which are its own start. [Run] does that alone,
// in a third of the time; in all else containerd's own program is run in its
// place.
//
// Not guaranteed: that a containerd of another major version than 1 understands
// the answer.
package shimstart

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// Program is containerd's own shim for runc.
	Program = "containerd-shim-runc-v2"
	// Group is the annotation by which it knows which containers share a shim.
	Group = "io.containerd.runc.v2.group"

	socketDir   = "/run/containerd/s" // of shims, whatever containerd's own directory is
	addressFile = "address"
	configFile  = "config.json"
)

// Run is the program, called with the arguments that containerd gives a shim's,
// in the directory of the container's bundle. It returns the exit code.
func Run(args []string) int {
	if len(args) > 0 && args[len(args)-1] == "start" {
		if address, err := join(args); err == nil {
			_, _ = os.Stdout.WriteString(address)
			return 0
		}
	}
	_, _ = fmt.Fprintln(os.Stderr, become(args)) // it returns only when it has failed
	return 1
}

// join returns the address of the shim that the container is to share, having
// noted it in the bundle. It fails when there is none yet.
func join(args []string) (string, error) {
	group, err := groupOf(configFile)
	if err != nil {
		return "", err
	}
	path := SocketPath(option(args, "address"), option(args, "namespace"), group)
	if err := answers(path); err != nil {
		return "", err
	}
	address := "unix://" + path
	temporary := "." + addressFile
	if err := os.WriteFile(temporary, []byte(address), 0o600); err != nil {
		return "", err
	}
	return address, os.Rename(temporary, addressFile)
}

func groupOf(name string) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		return "", err
	}
	if spec.Annotations[Group] == "" {
		return "", errors.New("the container is to have a shim of its own")
	}
	return spec.Annotations[Group], nil
}

// SocketPath is where a shim of a containerd listens, by containerd's address, the
// namespace and the group (SocketAddress of containerd's pkg/shim).
func SocketPath(containerd, namespace, group string) string {
	digest := sha256.Sum256([]byte(filepath.Join(containerd, namespace, group)))
	return filepath.Join(socketDir, hex.EncodeToString(digest[:]))
}

// answers reports whether somebody listens at a socket.
func answers(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// option is the value of a flag, which Go's flag package lets be written in four
// ways; "" if it is not there.
func option(args []string, name string) string {
	for n, arg := range args {
		flag := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
		if value, ok := strings.CutPrefix(flag, name+"="); ok && flag != arg {
			return value
		}
		if flag == name && flag != arg && n+1 < len(args) {
			return args[n+1]
		}
	}
	return ""
}

// become runs containerd's own program in the place of this one.
func become(args []string) error {
	path, err := Find(option(args, "publish-binary"))
	if err != nil {
		return err
	}
	err = syscall.Exec(path, append([]string{path}, args...), os.Environ())
	return fmt.Errorf("cannot run %s: %w", path, err)
}

// Find looks for containerd's own program as containerd does: on PATH, then
// beside its own file.
func Find(containerd string) (string, error) {
	path, err := exec.LookPath(Program)
	if err == nil || containerd == "" {
		return path, err
	}
	return exec.LookPath(filepath.Join(filepath.Dir(containerd), Program))
}
