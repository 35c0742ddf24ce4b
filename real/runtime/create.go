package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/real/runtime/logwriter"
)

const (
	runtimeName = "io.containerd.runc.v2"
	// gcRoot keeps containerd from collecting what nothing refers to yet.
	gcRoot        = "containerd.io/gc.root"
	snapshotLabel = "swarmd.container"
	nameLengthMax = 255
)

// create makes a container and returns its image's health check.
func (r *Runtime) create(ctx context.Context, c agent.Container) (*container.HealthConfig, error) {
	if i := r.instance(c.Task); i != nil {
		return i.record.ImageHealth, nil
	}
	if err := checkContainer(c); err != nil {
		return nil, err
	}
	defer r.make(c.ID)()
	image, err := r.image(ctx, c.Spec.Image)
	if err != nil {
		return nil, err
	}
	rec := newRecord(c, image, r.host.snapshotter)
	if err := r.design(&rec, image); err != nil {
		return nil, err
	}
	i := newInstance(rec, r.shims.place(cap(r.launches)))
	i.op.Lock()
	defer i.op.Unlock()
	r.holdVolumes(i, 1)
	err = r.retry(ctx, func(ctx context.Context) error { return r.build(ctx, i, image) })
	if err != nil {
		r.undoCreate(i)
		return nil, err
	}
	r.keepLife(i, life{})
	r.add(i)
	r.holdVolumes(i, -1)
	r.tell(i, events.ActionCreate, nil)
	return i.record.ImageHealth, nil
}

// checkContainer refuses what could leave the directories made for it.
func checkContainer(c agent.Container) error {
	if len(c.ID) != 64 || !isHexadecimal(c.ID) {
		return invalidf("the container's ID %q is not 64 hexadecimal digits", c.ID)
	}
	if len(c.Name) > nameLengthMax || c.Task == "" {
		return invalidf("the container's name has %d bytes, at most %d are possible, and it must have a task", len(c.Name), nameLengthMax)
	}
	if len(c.Spec.Secrets)+len(c.Spec.Configs) > 0 {
		return unsupported("secrets and configs cannot be given to containers on this node")
	}
	if !c.Spec.Isolation.IsDefault() {
		return invalidf("invalid isolation %q: only \"default\" is possible on Linux", c.Spec.Isolation)
	}
	return nil
}

func isHexadecimal(text string) bool {
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return text != ""
}

// newRecord merges what the user says with what the image says.
func newRecord(c agent.Container, image localImage, snapshotter string) record {
	config, spec := image.spec.Config, c.Spec
	rec := record{
		Container: c, Created: time.Now(),
		ImageID: image.id.String(), ImageName: image.name, Chain: image.chain,
		Entrypoint: config.Entrypoint, Cmd: config.Cmd,
		User: config.User, WorkingDir: config.WorkingDir,
		Hostname: spec.Hostname, StopSignal: config.StopSignal, Shell: config.Shell,
		ExposedPorts: slices.Sorted(maps.Keys(config.ExposedPorts)),
		Volumes:      slices.Sorted(maps.Keys(config.Volumes)),
		Labels:       make(map[string]string),
		Health:       mergeHealth(config.Healthcheck, spec.Healthcheck), ImageHealth: config.Healthcheck,
		Declared: spec.Mounts, Snapshot: snapshotter,
		LogDriver: logwriter.JSONFile,
	}
	if len(spec.Command) > 0 {
		// As with docker run --entrypoint, the image's arguments go with its entrypoint.
		rec.Entrypoint, rec.Cmd = spec.Command, nil
	}
	if len(spec.Args) > 0 {
		rec.Cmd = spec.Args
	}
	if spec.User != "" {
		rec.User = spec.User
	}
	if spec.Dir != "" {
		rec.WorkingDir = spec.Dir
	}
	if rec.WorkingDir == "" {
		rec.WorkingDir = "/"
	}
	if rec.Hostname == "" {
		rec.Hostname = c.ID[:shortDigestChars]
	}
	if spec.StopSignal != "" {
		rec.StopSignal = spec.StopSignal
	}
	maps.Copy(rec.Labels, config.Labels)
	maps.Copy(rec.Labels, c.Labels)
	if c.LogDriver != nil && c.LogDriver.Name != "" {
		rec.LogDriver, rec.LogOpts = c.LogDriver.Name, c.LogDriver.Options
	}
	return rec
}

// mergeHealth is the user's health check; what it leaves out is the image's.
func mergeHealth(image, user *container.HealthConfig) *container.HealthConfig {
	if user == nil || image == nil {
		if user == nil {
			return image
		}
		return user
	}
	merged := *user
	if len(merged.Test) == 0 {
		merged.Test = image.Test
	}
	merged.Interval = firstDuration(merged.Interval, image.Interval)
	merged.Timeout = firstDuration(merged.Timeout, image.Timeout)
	merged.StartPeriod = firstDuration(merged.StartPeriod, image.StartPeriod)
	merged.StartInterval = firstDuration(merged.StartInterval, image.StartInterval)
	if merged.Retries == 0 {
		merged.Retries = image.Retries
	}
	return &merged
}

func firstDuration(a, b time.Duration) time.Duration {
	if a != 0 {
		return a
	}
	return b
}

// design completes a record with what can be said before anything is made.
func (r *Runtime) design(rec *record, image localImage) error {
	spec := rec.Container.Spec
	if len(rec.Entrypoint)+len(rec.Cmd) == 0 {
		return invalidf("no command specified: neither the service nor the image %s has one", spec.Image)
	}
	if _, err := stopSignal(rec.StopSignal); err != nil {
		return err
	}
	rec.Env = mergeEnv(rec.Hostname, spec.TTY, image.spec.Config.Env, spec.Env)
	rec.Args = slices.Concat(rec.Entrypoint, rec.Cmd)
	if spec.Init != nil && *spec.Init {
		if len(r.host.initCommand) == 0 {
			return unsupported("there is no statically linked docker-init or tini on this node, as init needs: install tini")
		}
		rec.Args = slices.Concat([]string{initTarget}, r.host.initCommand[1:], rec.Args)
	}
	var err error
	rec.Log, err = logwriter.Configure(rec.LogDriver, filepath.Join(r.keepDir(rec.Container.ID), "log"), rec.LogOpts, rec.Labels, rec.Env)
	if err != nil {
		return invalidf("%s", err)
	}
	return r.designMounts(rec)
}

// build makes what a container is of. It may be repeated.
func (r *Runtime) build(ctx context.Context, i *instance, image localImage) error {
	id := i.id()
	rootfs, err := r.prepare(ctx, id, image)
	if err != nil {
		return err
	}
	i.rootfs = rootfs
	for _, dir := range []string{r.keepDir(id), r.runDir(id)} {
		if err := os.MkdirAll(dir, 0o710); err != nil {
			return fmt.Errorf("cannot make the container's directory: %w", err)
		}
	}
	who, err := r.resolveUser(ctx, i, rootfs)
	if err != nil {
		return err
	}
	if err := r.fillVolumes(ctx, i, rootfs); err != nil {
		return err
	}
	if err := r.writeFiles(i); err != nil {
		return err
	}
	if err := i.record.Log.Save(r.logConfigPath(id)); err != nil {
		return err
	}
	mounts, err := r.imageMounts(ctx, i)
	if err != nil {
		return err
	}
	spec, err := r.ociSpec(&i.record, who, mounts)
	if err != nil {
		return err
	}
	return r.register(ctx, i, spec)
}

func (r *Runtime) logConfigPath(id string) string { return filepath.Join(r.runDir(id), "log.json") }

// prepare makes the container's file system, unpacking the image if need be.
func (r *Runtime) prepare(ctx context.Context, id string, image localImage) ([]mount.Mount, error) {
	service := r.client.SnapshotService(r.host.snapshotter)
	labels := snapshots.WithLabels(map[string]string{gcRoot: time.Now().UTC().Format(time.RFC3339), snapshotLabel: id})
	for range operationRetries {
		mounts, err := service.Prepare(ctx, id, image.chain, labels)
		switch {
		case err == nil:
			return mounts, nil
		case errdefs.IsNotFound(err):
			if err := r.unpack(ctx, image); err != nil {
				return nil, err
			}
		case errdefs.IsAlreadyExists(err): // of an attempt before this one
			return service.Mounts(ctx, id)
		default:
			return nil, fmt.Errorf("cannot make the file system of container %s: %w", id, err)
		}
	}
	return nil, fmt.Errorf("the image %s vanishes while a container is made of it", image.name)
}

// register makes the container known to containerd.
func (r *Runtime) register(ctx context.Context, i *instance, spec any) error {
	encoded, err := typeurl.MarshalAny(spec)
	if err != nil {
		return fmt.Errorf("cannot encode the container's specification: %w", err)
	}
	// A root of our own: IDs need not differ from those of other containerds.
	options, err := typeurl.MarshalAny(&runcoptions.Options{Root: filepath.Join(r.config.State, "runc")})
	if err != nil {
		return fmt.Errorf("cannot encode the container's options: %w", err)
	}
	record, err := i.record.marshal()
	if err != nil {
		return err
	}
	_, err = r.client.ContainerService().Create(ctx, containers.Container{
		ID:          i.id(),
		Labels:      map[string]string{taskLabel: string(i.record.Container.Task)},
		Image:       i.record.ImageName,
		Runtime:     containers.RuntimeInfo{Name: r.shimRuntime(), Options: options},
		Spec:        encoded,
		SnapshotKey: i.id(),
		Snapshotter: i.record.Snapshot,
		Extensions:  map[string]typeurl.Any{recordExtension: record},
	})
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create container %s: %w", i.id(), err)
	}
	return nil
}

// undoCreate removes what a failed creation may have left.
func (r *Runtime) undoCreate(i *instance) {
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	err := r.erase(ctx, i)
	r.shims.leave(i.shim)
	r.holdVolumes(i, -1)
	r.releaseVolumes(i)
	for _, name := range i.record.Anonymous {
		err = errors.Join(err, r.removeVolume(name))
	}
	if err != nil && r.ctx.Err() == nil {
		r.log.Warn("a container that could not be created left something behind", "container", i.id(), "error", err)
	}
}
