package api

import (
	"context"
	"io"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/volume"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
)

// An Engine is the node as the API sees it.
type Engine interface {
	// Call posts a call to the node and waits for its answer. An error means
	// that there is no answer and that the outcome is not known: the context
	// ended, or the node stopped.
	Call(ctx context.Context, call control.Call) (control.Answer, error)
	// Subscribe returns the events of the swarm that are published from now
	// on. The channel closes after ctx ends.
	Subscribe(ctx context.Context) <-chan []control.Event
}

// A Runtime has this node's images and containers. A ref is what a user types:
// an ID, a name, or an unambiguous prefix of an ID.
//
// Errors say what they are by having a method, as those of
// github.com/containerd/errdefs do: NotFound(), InvalidParameter(), Conflict(),
// AlreadyExists(), FailedPrecondition(), Unauthorized(), Forbidden(),
// NotImplemented(), NotModified() or Unavailable(), on themselves or on an
// error they wrap. Their text is shown to the user as it is.
type Runtime interface {
	Images
	Containers
	Execs
	Volumes

	// Counts says how much there is, without looking at each.
	Counts(ctx context.Context) (Counts, error)
	// Events returns what happens to images and containers from now on. The
	// channel closes after ctx ends.
	Events(ctx context.Context) <-chan events.Message
}

// Nodes are the swarm's other nodes, as far as their containers are concerned.
type Nodes interface {
	// ContainerLogs is that of Containers, for a container of a node's. A node that
	// cannot be reached is an error soon, also while its log is being read.
	ContainerLogs(ctx context.Context, node state.NodeID, ref string, options LogOptions, emit func(LogLine) error) error
}

// Counts are the numbers that /info shows.
type Counts struct{ Running, Paused, Stopped, Images int }

// A Progress is told of each step of a long operation, in order. It blocks
// while the client is slow.
type Progress func(jsonstream.Message)

// Images are the images on this node, and those in registries. Auth is a value
// of X-Registry-Auth, "" for none.
type Images interface {
	Images(ctx context.Context) ([]image.Summary, error)
	Image(ctx context.Context, ref string) (image.InspectResponse, error)
	// PullImage fetches ref (name, with tag or digest) for a platform (os/arch,
	// "" for the host's).
	PullImage(ctx context.Context, ref, platform, auth string, progress Progress) error
	// LoadImages reads an archive as docker save, or an OCI tool, writes it.
	LoadImages(ctx context.Context, archive io.Reader, progress Progress) error
	// SaveImages writes an archive that LoadImages reads.
	SaveImages(ctx context.Context, refs []string, archive io.Writer) error
	// ImportImage makes an image of one layer from a tar of a file system, and
	// returns its ID.
	ImportImage(ctx context.Context, layer io.Reader, options ImportOptions) (id string, err error)
	TagImage(ctx context.Context, source, target string) error
	RemoveImage(ctx context.Context, ref string, force bool) ([]image.DeleteResponse, error)
	// PruneImages removes images that no container uses: those without a tag,
	// or with all, every one.
	PruneImages(ctx context.Context, all bool) (image.PruneReport, error)
	// Distribution asks the registry what ref is. It answers, or fails, soon.
	Distribution(ctx context.Context, ref, auth string) (registry.DistributionInspect, error)
	// Login asks a registry whether the credentials are good.
	Login(ctx context.Context, auth registry.AuthConfig) (registry.AuthResponse, error)
}

// ImportOptions describe the image to be made by an import.
type ImportOptions struct {
	Ref      string // name to give it, "" for none
	Message  string
	Platform string
	Changes  []string // Dockerfile instructions, such as CMD ["sh"]
}

// Containers are the containers on this node, running or not.
type Containers interface {
	Containers(ctx context.Context) ([]container.Summary, error)
	Container(ctx context.Context, ref string) (container.InspectResponse, error)
	// ContainerLogs hands each line to emit, oldest first, until there are no
	// more, or with Follow until the container has ended or ctx has. An error
	// of emit ends it and is returned.
	ContainerLogs(ctx context.Context, ref string, options LogOptions, emit func(LogLine) error) error
	// StopContainer sends signal ("" for the container's own), and kills after
	// grace (nil for the container's own).
	StopContainer(ctx context.Context, ref, signal string, grace *time.Duration) error
	KillContainer(ctx context.Context, ref, signal string) error
	RemoveContainer(ctx context.Context, ref string, force bool) error
	// WaitContainer returns when the container is in the condition asked for.
	WaitContainer(ctx context.Context, ref string, condition container.WaitCondition) (container.WaitResponse, error)
	// TopContainer lists processes; args are those of ps, "" for -ef.
	TopContainer(ctx context.Context, ref, args string) (container.TopResponse, error)
	// StatsContainer measures once.
	StatsContainer(ctx context.Context, ref string) (container.StatsResponse, error)
}

// LogOptions restrict what of a log is read.
type LogOptions struct {
	Stdout, Stderr bool
	Follow         bool
	Tail           int // lines of the end, -1 for all
	Since, Until   time.Time
}

// A LogLine is one line that a container wrote, or a part of a very long one.
type LogLine struct {
	Stderr     bool
	At         time.Time
	Text       []byte            // with its newline, if it had one
	Attributes map[string]string // of the log driver's labels and env options
}

// Execs are processes added to running containers.
type Execs interface {
	// CreateExec prepares a process and returns its ID, 64 hexadecimal digits.
	CreateExec(ctx context.Context, ref string, request container.ExecCreateRequest) (id string, err error)
	// StartExec runs the process and returns when it has ended and all it wrote
	// has been written. It does not wait for Stdin to end.
	StartExec(ctx context.Context, id string, streams ExecStreams) error
	ResizeExec(ctx context.Context, id string, height, width uint) error
	Exec(ctx context.Context, id string) (container.ExecInspectResponse, error)
}

// ExecStreams are where a process reads and writes. Those that it was created
// without are not used; with a terminal, Stderr is not.
type ExecStreams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	ConsoleSize    *[2]uint // height, width
}

// Volumes are the volumes on this node.
type Volumes interface {
	Volumes(ctx context.Context) ([]volume.Volume, error)
	RemoveVolume(ctx context.Context, name string, force bool) error
}
