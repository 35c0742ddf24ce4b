package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const volumeDriver = "local"

func badMount(m mount.Mount, format string, args ...any) error {
	return invalidf("invalid mount config for type %q: %s", m.Type, fmt.Sprintf(format, args...))
}

// designMounts checks what the user wants mounted, and adds the volumes that the
// image wants.
func (r *Runtime) designMounts(rec *record) error {
	taken := make(map[string]bool)
	for _, m := range rec.Declared {
		target := path.Clean(m.Target)
		switch {
		case m.Target == "":
			return badMount(m, "field Target must not be empty")
		case !path.IsAbs(m.Target):
			return badMount(m, "invalid mount path: '%s' mount path must be absolute", m.Target)
		case target == "/":
			return badMount(m, "invalid specification: destination can't be '/'")
		case taken[target]:
			return invalidf("Duplicate mount point: %s", target)
		}
		taken[target] = true
		point, err := r.mountPoint(rec, m)
		if err != nil {
			return err
		}
		point.Destination = target
		rec.Mounts = append(rec.Mounts, point)
	}
	for _, target := range rec.Volumes {
		if target = path.Clean(target); taken[target] || !path.IsAbs(target) || target == "/" {
			continue
		}
		name := rec.anonymous()
		rec.Mounts = append(rec.Mounts, container.MountPoint{
			Type: mount.TypeVolume, Name: name, Source: r.volumeDir(name), Destination: target, Driver: volumeDriver, RW: true,
		})
	}
	return nil
}

// anonymous is a name for a volume that nobody has named.
func (rec *record) anonymous() string {
	name := randomID()
	rec.Anonymous = append(rec.Anonymous, name)
	return name
}

// mountPoint is a mount as inspection shows it.
func (r *Runtime) mountPoint(rec *record, m mount.Mount) (container.MountPoint, error) {
	point := container.MountPoint{Type: m.Type, Source: m.Source, RW: !m.ReadOnly}
	switch m.Type {
	case mount.TypeBind:
		if m.VolumeOptions != nil || m.TmpfsOptions != nil {
			return point, badMount(m, "field VolumeOptions or TmpfsOptions must not be specified")
		}
		if !filepath.IsAbs(m.Source) {
			return point, badMount(m, "invalid mount path: '%s' mount path must be absolute", m.Source)
		}
		point.Propagation = mount.PropagationRPrivate
		if o := m.BindOptions; o != nil && o.Propagation != "" {
			if !slices.Contains(mount.Propagations, o.Propagation) {
				return point, badMount(m, "invalid propagation mode: %q", o.Propagation)
			}
			point.Propagation = o.Propagation
		}
	case mount.TypeVolume:
		point.Name, point.Driver = m.Source, volumeDriver
		if point.Name == "" {
			point.Name = rec.anonymous()
		}
		if err := checkVolume(point.Name, m.VolumeOptions); err != nil {
			return point, err
		}
		point.Source = r.volumeDir(point.Name)
		if o := m.VolumeOptions; o != nil && o.Subpath != "" {
			if !filepath.IsLocal(o.Subpath) {
				return point, badMount(m, "volume subpath %q must be a relative path within the volume", o.Subpath)
			}
		}
	case mount.TypeTmpfs:
		if m.Source != "" {
			return point, badMount(m, "field Source must not be specified")
		}
	case mount.TypeImage:
		point.RW = false
	case mount.TypeCluster:
		return point, unsupported("cluster volumes are not supported: no CSI plugin can be on this node")
	case mount.TypeNamedPipe:
		return point, unsupported("named pipes can be mounted on Windows only")
	default:
		return point, invalidf("mount type unknown: %q", m.Type)
	}
	return point, nil
}

// ociMounts are all of a container's mounts, parents before children, and the
// propagation that its root needs for them.
func (r *Runtime) ociMounts(rec *record, images map[string]specs.Mount) (all []specs.Mount, propagation string, err error) {
	dir := r.runDir(rec.Container.ID)
	all = r.systemMounts()
	taken := make(map[string]bool)
	var users []specs.Mount
	for n, point := range rec.Mounts {
		var declared mount.Mount
		if n < len(rec.Declared) {
			declared = rec.Declared[n]
		}
		m, err := r.ociMount(declared, point, images)
		if err != nil {
			return nil, "", err
		}
		taken[m.Destination] = true
		users = append(users, m)
		propagation = widest(propagation, point.Propagation)
	}
	slices.SortStableFunc(users, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	if !taken["/dev/shm"] {
		all = append(all, specs.Mount{
			Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.Itoa(shmBytes)},
		})
	}
	all = slices.DeleteFunc(all, func(m specs.Mount) bool { return taken[m.Destination] })
	for _, name := range []string{"resolv.conf", "hostname", "hosts"} {
		if !taken["/etc/"+name] {
			all = append(all, specs.Mount{Destination: "/etc/" + name, Type: "bind", Source: filepath.Join(dir, name), Options: []string{"rbind", "rprivate", "rw"}})
		}
	}
	if len(rec.Args) > 0 && rec.Args[0] == initTarget {
		all = append(all, specs.Mount{Destination: initTarget, Type: "bind", Source: r.host.initCommand[0], Options: []string{"bind", "ro"}})
	}
	return append(all, users...), propagation, nil
}

// widest is what the root's propagation must be for mounts of both kinds.
func widest(root string, p mount.Propagation) string {
	switch p {
	case mount.PropagationShared, mount.PropagationRShared:
		return "rshared"
	case mount.PropagationSlave, mount.PropagationRSlave:
		if root == "" {
			return "rslave"
		}
	default:
	}
	return root
}

func (r *Runtime) ociMount(declared mount.Mount, point container.MountPoint, images map[string]specs.Mount) (specs.Mount, error) {
	m := specs.Mount{Destination: point.Destination, Type: "bind", Source: point.Source}
	access := "rw"
	if !point.RW {
		access = "ro"
	}
	switch point.Type {
	case mount.TypeImage:
		return images[point.Destination], nil
	case mount.TypeTmpfs:
		m.Type, m.Source = "tmpfs", "tmpfs"
		options, err := tmpfsOptions(declared)
		m.Options = append(options, access)
		return m, err
	case mount.TypeVolume:
		if o := declared.VolumeOptions; o != nil && o.Subpath != "" {
			m.Source = filepath.Join(m.Source, o.Subpath)
			if resolved, err := filepath.EvalSymlinks(m.Source); err != nil || resolved != m.Source {
				return m, badMount(declared, "cannot access path %s: it does not exist, or there is a link on the way", o.Subpath)
			}
		}
		m.Options = []string{"rbind", access}
		return m, nil
	default:
		return r.ociBind(m, declared, point, access)
	}
}

func (r *Runtime) ociBind(m specs.Mount, declared mount.Mount, point container.MountPoint, access string) (specs.Mount, error) {
	o := declared.BindOptions
	if o == nil {
		o = &mount.BindOptions{}
	}
	bind := "rbind"
	if o.NonRecursive {
		bind = "bind"
	}
	if access == "ro" && !o.NonRecursive && !o.ReadOnlyNonRecursive && r.host.recursiveReadOnly {
		access = "rro"
	}
	if o.ReadOnlyForceRecursive && access != "rro" {
		return m, badMount(declared, "the mount cannot be made recursively read-only")
	}
	_, err := os.Stat(point.Source)
	if errors.Is(err, os.ErrNotExist) && o.CreateMountpoint {
		err = os.MkdirAll(point.Source, 0o755)
	}
	if errors.Is(err, os.ErrNotExist) {
		return m, badMount(declared, "bind source path does not exist: %s", point.Source)
	}
	if err != nil {
		return m, badMount(declared, "%s", err)
	}
	m.Options = []string{bind, access, string(point.Propagation)}
	return m, nil
}

// tmpfsOptions are the mount's options of a tmpfs.
func tmpfsOptions(m mount.Mount) ([]string, error) {
	options := []string{"noexec", "nosuid", "nodev"}
	o := m.TmpfsOptions
	if o == nil {
		return options, nil
	}
	if o.SizeBytes < 0 {
		return nil, badMount(m, "the size must not be negative")
	}
	if o.SizeBytes > 0 {
		options = append(options, "size="+strconv.FormatInt(o.SizeBytes, 10))
	}
	if o.Mode != 0 {
		options = append(options, fmt.Sprintf("mode=%o", uint32(o.Mode.Perm())|uint32(o.Mode)&0o7000))
	}
	for _, pair := range o.Options {
		switch {
		case len(pair) == 1 && pair[0] == "exec":
			options[0] = "exec"
		case len(pair) == 1 && pair[0] == "noexec":
		default:
			return nil, badMount(m, "invalid option: %v", pair)
		}
	}
	return options, nil
}

// viewImage makes a read-only view of an image, to be mounted. It is a snapshot
// whose name begins with the container's ID.
func (r *Runtime) viewImage(ctx context.Context, i *instance, n int, image localImage) (specs.Mount, error) {
	service := r.client.SnapshotService(r.host.snapshotter)
	key := i.id() + "-image-" + strconv.Itoa(n)
	mounts, err := service.View(ctx, key, image.chain, snapshots.WithLabels(map[string]string{gcRoot: "view", snapshotLabel: i.id()}))
	if errdefs.IsAlreadyExists(err) {
		mounts, err = service.Mounts(ctx, key)
	}
	if err != nil {
		return specs.Mount{}, err
	}
	if len(mounts) != 1 {
		return specs.Mount{}, fmt.Errorf("the snapshot has %d mounts, 1 expected", len(mounts))
	}
	if !slices.Contains(i.record.Views, key) {
		i.record.Views = append(i.record.Views, key)
	}
	return specs.Mount{Type: mounts[0].Type, Source: mounts[0].Source, Options: append(slices.Clone(mounts[0].Options), "ro")}, nil
}
