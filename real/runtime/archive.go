package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
)

// LoadImages reads an archive as docker save, or an OCI tool, writes it.
func (l *Local) LoadImages(ctx context.Context, in io.Reader, progress func(jsonstream.Message)) error {
	r := l.r
	plain, err := compression.DecompressStream(in)
	if err != nil {
		return invalidf("the archive cannot be read: %s", err)
	}
	defer plain.Close()
	ctx, done, err := r.client.WithLease(ctx)
	if err != nil {
		return fmt.Errorf("cannot load images: %w", err)
	}
	defer done(ctx) //nolint:errcheck // the lease ends by itself
	before, err := r.client.ImageService().List(ctx)
	if err != nil {
		return fmt.Errorf("cannot list images: %w", err)
	}
	loaded, err := r.client.Import(ctx, plain,
		containerd.WithImportPlatform(platforms.Default()),
		containerd.WithDigestRef(func(d digest.Digest) string { return unnamedPrefix + d.String() }),
		containerd.WithSkipDigestRef(func(name string) bool { return name != "" }))
	if err != nil {
		return loadFailure(err)
	}
	if len(loaded) == 0 {
		return invalidf("the archive has no image in it: one that docker save has written is expected")
	}
	for _, image := range loaded {
		if err := r.loaded(ctx, image, before, progress); err != nil {
			return err
		}
	}
	return nil
}

func loadFailure(err error) error {
	if errdefs.IsUnavailable(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("cannot load images: %w", err)
	}
	return invalidf("the archive cannot be loaded: %s", err)
}

// loaded unpacks an image that has just been imported, and tells it.
func (r *Runtime) loaded(ctx context.Context, image images.Image, before []images.Image, progress func(jsonstream.Message)) error {
	for _, old := range before {
		if old.Name == image.Name && old.Target.Digest != image.Target.Digest {
			if err := r.keepReplaced(ctx, old); err != nil {
				return err
			}
		}
	}
	r.images.forget(image.Target.Digest)
	info, err := r.info(ctx, image.Target)
	if err != nil {
		return err
	}
	if err := r.unpack(ctx, localImage{info, image.Name}); err != nil {
		return err
	}
	text, _, named := familiarName(image.Name)
	if named {
		progress(jsonstream.Message{Stream: "Loaded image: " + text + "\n"})
	} else {
		text = info.id.String()
		progress(jsonstream.Message{Stream: "Loaded image ID: " + text + "\n"})
	}
	r.tellImage(events.ActionLoad, info.id.String(), text)
	return nil
}

// SaveImages writes an archive that LoadImages reads.
func (l *Local) SaveImages(ctx context.Context, refs []string, out io.Writer) error {
	options := []archive.ExportOpt{archive.WithPlatform(platforms.All)}
	for _, ref := range refs {
		image, err := l.r.image(ctx, ref)
		if err != nil {
			return err
		}
		var names []string
		if _, isID := idPrefix(ref); !isID || namesImage(image.name, ref) {
			if _, tagged, ok := familiarName(image.name); ok && tagged {
				names = append(names, image.name)
			}
		}
		// Of an image for many platforms only what is here: the manifest chosen.
		options = append(options, archive.WithManifest(image.manifest, names...))
	}
	if err := l.r.client.Export(ctx, out, options...); err != nil {
		return fmt.Errorf("cannot save images: %w", err)
	}
	l.r.publish(events.ImageEventType, events.ActionSave, refs[0], map[string]string{"name": refs[0]})
	return nil
}
