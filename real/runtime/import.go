package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ImportOptions describe the image to be made by an import.
type ImportOptions struct {
	Ref      string // name to give it, "" for none
	Message  string
	Platform string
	Changes  []string // Dockerfile instructions, such as CMD ["sh"]
}

// ImportImage makes an image of one layer from a tar of a file system, and
// returns its ID.
func (l *Local) ImportImage(ctx context.Context, layer io.Reader, o ImportOptions) (string, error) {
	r := l.r
	config := dockerspec.DockerOCIImage{Image: ocispec.Image{Platform: platforms.Normalize(platforms.DefaultSpec())}}
	if o.Platform != "" {
		p, err := platforms.Parse(o.Platform)
		if err != nil {
			return "", invalidf("invalid platform %q: %s", o.Platform, err)
		}
		config.Platform = p
	}
	for _, change := range o.Changes {
		if err := applyChange(&config.Config, change); err != nil {
			return "", err
		}
	}
	var name string
	if o.Ref != "" {
		parsed, err := parseImageName(o.Ref)
		if err != nil {
			return "", err
		}
		if parsed.digest != "" {
			return "", invalidf("cannot import digest reference")
		}
		name = parsed.full()
	}
	ctx, done, err := r.client.WithLease(ctx)
	if err != nil {
		return "", fmt.Errorf("cannot import an image: %w", err)
	}
	defer done(ctx) //nolint:errcheck // the lease ends by itself
	blob, err := r.storeLayer(ctx, layer)
	if err != nil {
		return "", err
	}
	now := time.Now().UTC()
	config.Created = &now
	config.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{blob.Digest}}
	config.History = []ocispec.History{{Created: &now, Comment: o.Message}}
	target, id, err := r.storeImage(ctx, config, blob)
	if err != nil {
		return "", err
	}
	if name == "" {
		name = unnamedPrefix + target.Digest.String()
	}
	if err := r.nameImage(ctx, name, target); err != nil {
		return "", err
	}
	info, err := r.info(ctx, target)
	if err != nil {
		return "", err
	}
	if err := r.unpack(ctx, localImage{info, name}); err != nil {
		return "", invalidf("the archive cannot be unpacked: %s", err)
	}
	r.tellImage(events.ActionImport, id.String(), id.String())
	return id.String(), nil
}

// storeLayer stores a tar, as it is without compression: then its digest is what
// the configuration must name.
func (r *Runtime) storeLayer(ctx context.Context, layer io.Reader) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer}
	plain, err := compression.DecompressStream(layer)
	if err != nil {
		return d, invalidf("the archive cannot be read: %s", err)
	}
	defer plain.Close()
	w, err := content.OpenWriter(ctx, r.client.ContentStore(), content.WithRef("import-"+randomID()))
	if err != nil {
		return d, fmt.Errorf("cannot store a layer: %w", err)
	}
	defer w.Close()
	if d.Size, err = io.Copy(w, plain); err != nil {
		return d, fmt.Errorf("cannot store a layer: %w", err)
	}
	d.Digest = w.Digest()
	if err := w.Commit(ctx, d.Size, d.Digest); err != nil && !errdefs.IsAlreadyExists(err) {
		return d, fmt.Errorf("cannot store a layer: %w", err)
	}
	return d, nil
}

// storeImage stores a configuration and a manifest. Their labels keep what they
// refer to from being collected.
func (r *Runtime) storeImage(ctx context.Context, config dockerspec.DockerOCIImage, layer ocispec.Descriptor) (target ocispec.Descriptor, id digest.Digest, err error) {
	snapshot := "containerd.io/gc.ref.snapshot." + r.host.snapshotter
	c, err := r.storeJSON(ctx, ocispec.MediaTypeImageConfig, config, map[string]string{snapshot: layer.Digest.String()})
	if err != nil {
		return target, "", err
	}
	target, err = r.storeJSON(ctx, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: c, Layers: []ocispec.Descriptor{layer},
	}, map[string]string{
		"containerd.io/gc.ref.content.config": c.Digest.String(),
		"containerd.io/gc.ref.content.l.0":    layer.Digest.String(),
	})
	return target, c.Digest, err
}

func (r *Runtime) storeJSON(ctx context.Context, mediaType string, value any, labels map[string]string) (ocispec.Descriptor, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("cannot encode an image: %w", err)
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	err = content.WriteBlob(ctx, r.client.ContentStore(), d.Digest.String(), bytes.NewReader(data), d, content.WithLabels(labels))
	if err != nil {
		return d, fmt.Errorf("cannot store an image: %w", err)
	}
	return d, nil
}
