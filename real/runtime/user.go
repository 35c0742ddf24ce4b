package runtime

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// accountBytesMax is how much of a container's /etc/passwd or /etc/group is read.
const accountBytesMax = 4 << 20

// identityOf is who a process runs as.
type identityOf = specs.User

// resolveUser finds out whom the container's user and groups are, by the
// accounts in its file system. The answer is the same for all containers of an
// image, so it is kept.
func (r *Runtime) resolveUser(ctx context.Context, i *instance, rootfs []mount.Mount) (identityOf, error) {
	groups := i.record.Container.Spec.Groups
	key := i.record.Chain + "\x00" + i.record.User + "\x00" + strings.Join(groups, "\x00")
	r.images.mu.Lock()
	who, known := r.images.users[key]
	r.images.mu.Unlock()
	if known {
		return who, nil
	}
	err := mount.WithReadonlyTempMount(ctx, rootfs, func(root string) (err error) {
		who, err = lookUpUser(root, i.record.User, groups)
		return err
	})
	if err != nil {
		return who, err
	}
	r.images.mu.Lock()
	defer r.images.mu.Unlock()
	if r.images.users == nil || len(r.images.users) >= imagesCachedMax {
		r.images.users = make(map[string]identityOf)
	}
	r.images.users[key] = who
	return who, nil
}

// lookUpUser finds a user (name or number, and perhaps a group after a colon)
// and groups by the accounts below root.
func lookUpUser(root, name string, groups []string) (identityOf, error) {
	passwd, err := readInside(root, "/etc/passwd")
	if err != nil {
		return identityOf{}, err
	}
	group, err := readInside(root, "/etc/group")
	if err != nil {
		return identityOf{}, err
	}
	found, err := user.GetExecUser(name, &user.ExecUser{}, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return identityOf{}, invalidf("unable to find user %s: %s", name, strings.TrimPrefix(err.Error(), "unable to find user "+name+": "))
	}
	added, err := user.GetAdditionalGroups(groups, bytes.NewReader(group))
	if err != nil {
		return identityOf{}, invalidf("unable to find group: %s", err)
	}
	who := identityOf{UID: uint32(found.Uid), GID: uint32(found.Gid)}
	seen := map[int]bool{}
	for _, gid := range append(append([]int{found.Gid}, found.Sgids...), added...) {
		if !seen[gid] {
			seen[gid] = true
			who.AdditionalGids = append(who.AdditionalGids, uint32(gid))
		}
	}
	return who, nil
}

// readInside reads a file of a container's file system as the container would
// see it: a link does not lead out of it. A file that is absent is empty.
func readInside(root, name string) ([]byte, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close() //nolint:errcheck // only read
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, nil //nolint:nilerr // what is no file has no accounts
	}
	return io.ReadAll(io.LimitReader(file, accountBytesMax))
}

// lookUpUserOf finds a user by the accounts of a running container.
func lookUpUserOf(pid int, name string) (identityOf, error) {
	return lookUpUser("/proc/"+strconv.Itoa(pid)+"/root", name, nil)
}
