package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"time"
)

// socketGroup is the group whose members may use the socket, as with dockerd.
// Who may use it may do anything on the host.
const socketGroup = "docker"

// Listen makes a unix socket at path, for root and the group docker if there is
// one. A socket that nobody answers at any more is replaced; it is an error if
// somebody does, or if path is anything else.
func Listen(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	// Until here only this process's user may connect: the umask takes the
	// right to write from everybody else.
	if err := share(path); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for a socket at %s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: remove it, or choose another path", path)
	}
	const answerWait = 2 * time.Second
	if conn, err := net.DialTimeout("unix", path, answerWait); err == nil {
		conn.Close()
		return fmt.Errorf("another daemon answers at %s: stop it, or choose another path", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the socket that nobody answers at: %w", err)
	}
	return nil
}

func share(path string) error {
	const mode = 0o660
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("setting the mode of the socket: %w", err)
	}
	group, err := user.LookupGroup(socketGroup)
	if err != nil {
		return nil // No such group: the socket is its owner's alone.
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return fmt.Errorf("group %s has the ID %q, which is not a number", socketGroup, group.Gid)
	}
	if err := os.Chown(path, os.Geteuid(), gid); err != nil && os.Geteuid() == 0 {
		return fmt.Errorf("giving the socket to the group %s: %w", socketGroup, err)
	}
	return nil
}
