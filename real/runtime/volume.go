package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/continuity/fs"
	dockermount "github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// volumeLocks guards the volumes: one is made, filled or removed at a time.
type volumeLocks struct {
	mu   sync.Mutex
	held map[string]int // by containers that are being made
}

// holdVolumes keeps a container's volumes mounted until it is known, or lets go.
func (r *Runtime) holdVolumes(i *instance, by int) {
	r.volumes.mu.Lock()
	defer r.volumes.mu.Unlock()
	if r.volumes.held == nil {
		r.volumes.held = make(map[string]int)
	}
	for _, point := range i.record.Mounts {
		if point.Type != dockermount.TypeVolume {
			continue
		}
		if r.volumes.held[point.Name] += by; r.volumes.held[point.Name] == 0 {
			delete(r.volumes.held, point.Name)
		}
	}
}

// A volumeNote is kept beside a volume's content.
type volumeNote struct {
	Created time.Time
	Labels  map[string]string
	Options map[string]string
}

const volumeForm = `^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`

func checkVolume(name string, o *dockermount.VolumeOptions) error {
	if len(name) < 2 || len(name) > nameLengthMax || !regexp.MustCompile(volumeForm).MatchString(name) {
		return invalidf("create %s: %q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", name, name)
	}
	if o == nil || o.DriverConfig == nil {
		return nil
	}
	if d := o.DriverConfig.Name; d != "" && d != volumeDriver {
		return notFoundf("create %s: error looking up volume plugin %s: plugin %q not found: only %q is on this node", name, d, d, volumeDriver)
	}
	for key := range o.DriverConfig.Options {
		if key != "type" && key != "device" && key != "o" {
			return invalidf("create %s: invalid option: %q: the driver local knows type, device and o", name, key)
		}
	}
	return nil
}

func (r *Runtime) volumeRoot(name string) string {
	return filepath.Join(r.config.Root, "volumes", name)
}

func (r *Runtime) volumeDir(name string) string { return filepath.Join(r.volumeRoot(name), "_data") }

func (r *Runtime) volumeNote(name string) string {
	return filepath.Join(r.volumeRoot(name), "volume.json")
}

// fillVolumes makes a container's volumes. Those that are empty get what the
// image has at their place.
func (r *Runtime) fillVolumes(ctx context.Context, i *instance, rootfs []mount.Mount) error {
	r.volumes.mu.Lock()
	defer r.volumes.mu.Unlock()
	type filling struct{ dir, target string }
	var empty []filling
	for n, point := range i.record.Mounts {
		if point.Type != dockermount.TypeVolume {
			continue
		}
		var o *dockermount.VolumeOptions
		if n < len(i.record.Declared) {
			o = i.record.Declared[n].VolumeOptions
		}
		if err := r.makeVolume(ctx, point.Name, o); err != nil {
			return err
		}
		if o != nil && (o.NoCopy || o.Subpath != "") {
			continue
		}
		entries, err := os.ReadDir(point.Source)
		if err != nil {
			return fmt.Errorf("cannot look into volume %s: %w", point.Name, err)
		}
		if len(entries) == 0 {
			empty = append(empty, filling{point.Source, point.Destination})
		}
	}
	if len(empty) == 0 {
		return nil
	}
	return mount.WithReadonlyTempMount(ctx, rootfs, func(root string) error {
		for _, f := range empty {
			source, err := fs.RootPath(root, f.target)
			if err != nil {
				return fmt.Errorf("cannot find %s in the image: %w", f.target, err)
			}
			if info, err := os.Stat(source); err != nil || !info.IsDir() {
				continue
			}
			if err := fs.CopyDir(f.dir, source); err != nil {
				return fmt.Errorf("cannot copy the image's %s into the volume: %w", f.target, err)
			}
		}
		return nil
	})
}

// makeVolume makes a volume if there is none of that name, and mounts it if it
// is one that is to be mounted.
func (r *Runtime) makeVolume(ctx context.Context, name string, o *dockermount.VolumeOptions) error {
	note, err := r.readVolume(name)
	if errors.Is(err, os.ErrNotExist) {
		note = volumeNote{Created: time.Now()}
		if o != nil {
			note.Labels = o.Labels
			if o.DriverConfig != nil {
				note.Options = o.DriverConfig.Options
			}
		}
		err = r.writeVolume(name, note)
	}
	if err != nil {
		return fmt.Errorf("cannot make volume %s: %w", name, err)
	}
	return r.mountVolume(ctx, name, note.Options)
}

func (r *Runtime) writeVolume(name string, note volumeNote) error {
	if err := os.MkdirAll(r.volumeDir(name), 0o755); err != nil {
		return err
	}
	data, err := json.Marshal(note)
	if err != nil {
		return err
	}
	return writeFile(r.volumeNote(name), data, 0o600)
}

func (r *Runtime) readVolume(name string) (volumeNote, error) {
	var note volumeNote
	data, err := os.ReadFile(r.volumeNote(name))
	if err != nil {
		return note, err
	}
	return note, json.Unmarshal(data, &note)
}

// mountVolume mounts a volume whose options say what it is: as the driver local
// does, with the arguments of mount(8).
func (r *Runtime) mountVolume(ctx context.Context, name string, options map[string]string) error {
	if options["type"] == "" && options["device"] == "" {
		return nil
	}
	dir := r.volumeDir(name)
	mounted, err := mountinfo.Mounted(dir)
	if err != nil || mounted {
		return err
	}
	m := mount.Mount{Type: options["type"], Source: options["device"]}
	for o := range strings.SplitSeq(options["o"], ",") {
		if host, ok := strings.CutPrefix(o, "addr="); ok {
			if o, err = resolveMountAddress(ctx, host); err != nil {
				return fmt.Errorf("cannot mount volume %s: %w", name, err)
			}
		}
		if o != "" {
			m.Options = append(m.Options, o)
		}
	}
	if m.Type == "none" {
		m.Type = ""
	}
	if err := m.Mount(dir); err != nil {
		return fmt.Errorf("cannot mount volume %s: %w", name, err)
	}
	return nil
}

// resolveMountAddress looks a server's name up: the kernel takes only addresses.
func resolveMountAddress(ctx context.Context, host string) (string, error) {
	if _, err := netip.ParseAddr(host); err == nil {
		return "addr=" + host, nil
	}
	ctx, cancel := context.WithTimeout(ctx, registryDialTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return "", err
	}
	return "addr=" + found[0], nil
}

// releaseVolumes unmounts those of a container's volumes that nobody else uses.
func (r *Runtime) releaseVolumes(i *instance) {
	r.volumes.mu.Lock()
	defer r.volumes.mu.Unlock()
	for _, point := range i.record.Mounts {
		if point.Type != dockermount.TypeVolume || r.volumes.held[point.Name] > 0 || len(r.usersOf(point.Name, i)) > 0 {
			continue
		}
		if err := unmountDir(point.Source); err != nil {
			r.log.Warn("a volume cannot be unmounted", "volume", point.Name, "error", err)
		}
	}
}

// unmountDir unmounts what is mounted on a directory, if anything is.
func unmountDir(dir string) error {
	mounted, err := mountinfo.Mounted(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && !mounted {
		return nil
	}
	if err != nil {
		return err
	}
	return mount.UnmountAll(dir, unix.UMOUNT_NOFOLLOW)
}

// usersOf are the IDs of the containers, but one, that have a volume.
func (r *Runtime) usersOf(volume string, but *instance) []string {
	var ids []string
	for _, other := range r.all() {
		for _, point := range other.record.Mounts {
			if other != but && point.Type == dockermount.TypeVolume && point.Name == volume {
				ids = append(ids, other.id())
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// removeVolume removes a volume with its content. It must not be in use.
func (r *Runtime) removeVolume(name string) error {
	r.volumes.mu.Lock()
	defer r.volumes.mu.Unlock()
	return r.deleteVolume(name)
}

func (r *Runtime) deleteVolume(name string) error {
	// What is mounted there is not ours to delete.
	if err := unmountDir(r.volumeDir(name)); err != nil {
		return fmt.Errorf("cannot unmount volume %s: %w", name, err)
	}
	return os.RemoveAll(r.volumeRoot(name))
}

// Volumes lists the volumes on this node.
func (l *Local) Volumes(context.Context) ([]volume.Volume, error) {
	entries, err := os.ReadDir(l.r.volumeRoot(""))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list volumes: %w", err)
	}
	var list []volume.Volume
	for _, e := range entries {
		note, err := l.r.readVolume(e.Name())
		if err != nil {
			continue // it is just being made or removed
		}
		list = append(list, volume.Volume{
			Name: e.Name(), Driver: volumeDriver, Mountpoint: l.r.volumeDir(e.Name()), Scope: volumeDriver,
			CreatedAt: note.Created.UTC().Format(time.RFC3339), Labels: note.Labels, Options: note.Options,
		})
	}
	return list, nil
}

// RemoveVolume removes a volume that no container has. With force, one that is
// not there is no fault.
func (l *Local) RemoveVolume(_ context.Context, name string, force bool) error {
	if checkVolume(name, nil) != nil {
		return notFoundf("get %s: no such volume", name)
	}
	if _, err := l.r.readVolume(name); errors.Is(err, os.ErrNotExist) {
		if force {
			return nil
		}
		return notFoundf("get %s: no such volume", name)
	}
	l.r.volumes.mu.Lock()
	defer l.r.volumes.mu.Unlock()
	if users := l.r.usersOf(name, nil); len(users) > 0 || l.r.volumes.held[name] > 0 {
		return conflictf("remove %s: volume is in use - [%s]", name, strings.Join(users, ", "))
	}
	return l.r.deleteVolume(name)
}
