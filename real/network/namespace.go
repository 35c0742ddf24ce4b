package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/nftables"
	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	socketTimeout     = 10 * time.Second // of an answer from the kernel
	socketBufferBytes = 64 << 20         // a whole table goes down in one message
	dumpTriesMax      = 5                // of a list that changes while it is read
)

// A host is the network namespace that is ours, as sockets that were opened in
// it: a socket stays where it was opened, whichever thread uses it.
type host struct {
	ns   netns.NsHandle
	link *netlink.Handle
}

// openHost takes the namespace of the calling thread.
func openHost() (*host, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("cannot open the host's network namespace: %w", err)
	}
	link, err := openLinks(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return &host{ns: ns, link: link}, nil
}

// openHostAt opens a namespace that is held by a file.
func openHostAt(path string) (*host, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the network namespace %s: %w", path, err)
	}
	h := &host{ns: ns}
	err = inside(ns, func() error {
		h.link, err = openLinks(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return h, nil
}

func (h *host) close() error {
	h.link.Close()
	return h.ns.Close()
}

// openLinks opens sockets in the namespace of the calling thread.
func openLinks(families ...int) (*netlink.Handle, error) {
	link, err := netlink.NewHandle(families...)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	if err := link.SetSocketTimeout(socketTimeout); err != nil {
		link.Close()
		return nil, fmt.Errorf("cannot limit the wait for a netlink socket: %w", err)
	}
	return link, nil
}

// dump lists something of the kernel, again if it has changed meanwhile: then
// something may be missing.
func dump[T any](list func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		out, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == dumpTriesMax {
			return out, err
		}
	}
}

// openTables opens a socket to nftables in the namespace of the calling thread.
func openTables() (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *mdlayher.Conn) error {
		return errors.Join(c.SetWriteBuffer(socketBufferBytes), c.SetReadBuffer(socketBufferBytes))
	}))
	if err != nil {
		return nil, fmt.Errorf("cannot open a socket to nftables: %w", err)
	}
	return conn, nil
}

// inside runs f on a thread of its own in the namespace. The thread ends with
// f: it never serves another goroutine.
func inside(ns netns.NsHandle, f func() error) error {
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("cannot enter the network namespace: %w", err)
		}
		return f()
	})
}

// insideAt runs f in a namespace that is held by a file.
func insideAt(path string, f func() error) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("cannot open the network namespace %s: %w", path, err)
	}
	defer ns.Close()
	return inside(ns, f)
}

// onThread runs f on a thread that ends with it: a goroutine that ends locked
// takes its thread along.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// makeNamespace makes a namespace that is held by a file, and runs f inside.
// If f fails there is no namespace.
func makeNamespace(path string, f func() error) error {
	return onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot make a network namespace: %w", err)
		}
		file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
		if err != nil {
			return fmt.Errorf("cannot make the file of a network namespace: %w", err)
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, removeNamespace(path))
			}
		}()
		if err := file.Close(); err != nil {
			return fmt.Errorf("cannot make the file of a network namespace: %w", err)
		}
		own := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		if err := unix.Mount(own, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot mount a network namespace at %s: %w", path, err)
		}
		return f()
	})
}

// removeNamespace lets a namespace go; it ends with the last process in it.
func removeNamespace(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // no longer a mount
		}
		if err != nil {
			return fmt.Errorf("cannot unmount the network namespace %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the file of a network namespace: %w", err)
	}
	return nil
}

// isNamespace tells a namespace from what a crash or a reboot has left of one.
func isNamespace(path string) bool {
	var s unix.Statfs_t
	return unix.Statfs(path, &s) == nil && s.Type == unix.NSFS_MAGIC
}

// listNamespaces names the files in a directory, which need not be there.
func listNamespaces(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list the network namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// A sysctl is a switch of the kernel in the namespace of the calling thread.
type sysctl struct {
	name  string // with slashes, below net
	value string
}

func (s sysctl) path() string { return filepath.Join("/proc/sys/net", s.name) }

// read returns what is set; one that the kernel has not is as it should be,
// since every switch of ours turns off what is then not there.
func (s sysctl) read() (string, error) {
	b, err := os.ReadFile(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return s.value, nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read a kernel setting: %w", err)
	}
	return strings.Join(strings.Fields(string(b)), " "), nil
}

func (s sysctl) write() error {
	now, err := s.read()
	if err != nil || now == s.value {
		return err
	}
	if err := os.WriteFile(s.path(), []byte(s.value), 0o644); err != nil {
		return fmt.Errorf("cannot set net/%s to %s: %w", s.name, s.value, err)
	}
	return nil
}

// write sets the namespace of the calling thread.
func write(all []sysctl) error {
	for _, s := range all {
		if err := s.write(); err != nil {
			return err
		}
	}
	return nil
}

// A step is something to be done, by a name that completes "cannot …".
type step struct {
	what string
	do   func() error
}

// run takes steps up to the first that fails.
func run(steps []step) error {
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("cannot %s: %w", s.what, err)
		}
	}
	return nil
}

// A finding is a way in which something may be broken.
type finding struct {
	broken bool
	what   string
}

func broken(all []finding) []string {
	var out []string
	for _, f := range all {
		if f.broken {
			out = append(out, f.what)
		}
	}
	return out
}
