package main

import (
	"context"
	"io"

	"github.com/moby/moby/api/types/jsonstream"

	"github.com/swarmd/swarmd/real/api"
	"github.com/swarmd/swarmd/real/runtime"
)

// localOf is the node's runtime as the API wants it. The two packages do not know
// each other: what each calls by a name of its own is converted here.
type localOf struct{ *runtime.Local }

var _ api.Runtime = localOf{}

// Counts says how much there is.
func (l localOf) Counts(ctx context.Context) (api.Counts, error) {
	counts, err := l.Local.Counts(ctx)
	return api.Counts(counts), err
}

// PullImage fetches an image.
func (l localOf) PullImage(ctx context.Context, ref, platform, auth string, progress api.Progress) error {
	return l.Local.PullImage(ctx, ref, platform, auth, func(m jsonstream.Message) { progress(m) })
}

// LoadImages reads an archive of images.
func (l localOf) LoadImages(ctx context.Context, archive io.Reader, progress api.Progress) error {
	return l.Local.LoadImages(ctx, archive, func(m jsonstream.Message) { progress(m) })
}

// ImportImage makes an image of a file system.
func (l localOf) ImportImage(ctx context.Context, layer io.Reader, options api.ImportOptions) (string, error) {
	return l.Local.ImportImage(ctx, layer, runtime.ImportOptions(options))
}

// ContainerLogs hands on the lines of a container's log.
func (l localOf) ContainerLogs(ctx context.Context, ref string, options api.LogOptions, emit func(api.LogLine) error) error {
	return l.Local.ContainerLogs(ctx, ref, runtime.LogOptions(options), func(line runtime.LogLine) error {
		return emit(api.LogLine(line))
	})
}

// StartExec runs a process in a container.
func (l localOf) StartExec(ctx context.Context, id string, streams api.ExecStreams) error {
	return l.Local.StartExec(ctx, id, runtime.ExecStreams(streams))
}
