package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/typeurl/v2"
	"github.com/moby/moby/api/types/container"
	dockermount "github.com/moby/moby/api/types/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/real/runtime/logwriter"
)

// An instance is one container of ours, as this process knows it.
type instance struct {
	record record
	shim   *shim

	// op is held by whatever creates, starts, ends or removes the container.
	op     sync.Mutex
	rootfs []mount.Mount // as prepared; nil after a restart of this process

	mu      sync.Mutex // guards what follows
	life    life
	health  container.Health
	process *specs.Process // the container's own; nil until it is needed
	stops   int            // user's and engine's stops that await the exit
	exited  chan struct{}  // closed when the process has ended and that is recorded
	removed chan struct{}  // closed when the container is gone
}

// A record is what is fixed when a container is created. containerd keeps it.
type record struct {
	Container agent.Container
	Created   time.Time

	ImageID   string // digest of the image's configuration
	ImageName string // full name, as it was found on the node
	Chain     string // of the image's top snapshot

	Entrypoint, Cmd []string // the user's merged with the image's
	Args            []string // what runs: both of the above, behind an init if there is one
	Env             []string
	User            string
	WorkingDir      string
	Hostname        string
	StopSignal      string
	Shell           []string
	ExposedPorts    []string
	Volumes         []string                // the image's
	Labels          map[string]string       // the image's, the user's and swarm's
	Health          *container.HealthConfig // the image's merged with the user's
	ImageHealth     *container.HealthConfig

	Mounts    []container.MountPoint
	Declared  []dockermount.Mount
	Anonymous []string // names of volumes that are removed with the container
	Views     []string // snapshots of images that are mounted
	Log       logwriter.Config
	LogDriver string
	LogOpts   map[string]string
	Snapshot  string // the snapshotter's name
	Shim      string // the shim's name among those of this node
}

// A life is what has become of a container. It is kept beside its log.
type life struct {
	PID      int
	Started  time.Time // zero: never
	Finished time.Time // zero: not yet
	ExitCode int
	OOM      bool
	Error    string `json:",omitempty"` // why it could not be started
}

func (l life) running() bool { return !l.Started.IsZero() && l.Finished.IsZero() }

func newInstance(rec record, s *shim) *instance {
	rec.Shim = s.name
	return &instance{record: rec, shim: s, exited: make(chan struct{}), removed: make(chan struct{})}
}

func (i *instance) id() string { return i.record.Container.ID }

// name is the container's, as Docker's API has it without the leading slash.
func (i *instance) name() string { return i.record.Container.Name }

// now returns a copy of the container's life.
func (i *instance) now() life {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.life
}

// recordExtension names the record among a containerd container's extensions.
const (
	recordExtension = "swarmd.record"
	recordType      = "github.com/swarmd/swarmd/runtime.record"
	taskLabel       = "swarmd.task"
)

// recordBytes is a record as containerd keeps it.
type recordBytes []byte

// GetTypeUrl names the content, for containerd.
func (recordBytes) GetTypeUrl() string { return recordType }

// GetValue is the content.
func (b recordBytes) GetValue() []byte { return b }

func (rec record) marshal() (recordBytes, error) {
	data, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the container's record: %w", err)
	}
	return data, nil
}

func unmarshalRecord(extensions map[string]typeurl.Any) (record, error) {
	var rec record
	extension, ok := extensions[recordExtension]
	if !ok || extension.GetTypeUrl() != recordType {
		return rec, errors.New("the container has no record of ours")
	}
	if err := json.Unmarshal(extension.GetValue(), &rec); err != nil {
		return rec, fmt.Errorf("the container's record cannot be read: %w", err)
	}
	if err := checkContainer(rec.Container); err != nil {
		return rec, fmt.Errorf("the container's record cannot be: %w", err)
	}
	if len(rec.Args) == 0 {
		return rec, errors.New("the container's record has no command")
	}
	return rec, nil
}

func (r *Runtime) lifePath(id string) string { return filepath.Join(r.keepDir(id), "life.json") }

// keepLife writes a container's life down. It is not synced: after a power cut
// nothing runs, and that is what an old or absent life is read as.
func (r *Runtime) keepLife(i *instance, l life) {
	data, err := json.Marshal(l)
	if err == nil {
		err = writeFile(r.lifePath(i.id()), data, 0o600)
	}
	if err != nil {
		r.log.Error("cannot note what became of a container", "container", i.id(), "error", err)
	}
}

// recallLife reads what was noted of a container; it reports false when nothing
// was, since creation ends with the first note.
func (r *Runtime) recallLife(id string) (life, bool) {
	var l life
	data, err := os.ReadFile(r.lifePath(id))
	if errors.Is(err, os.ErrNotExist) {
		return l, false
	}
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	if err != nil {
		r.log.Error("what became of a container cannot be read", "container", id, "error", err)
	}
	return l, true
}

// writeFile replaces a file as a whole.
func writeFile(name string, data []byte, mode os.FileMode) error {
	temporary := name + ".new"
	if err := os.WriteFile(temporary, data, mode); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}
