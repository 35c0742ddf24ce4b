package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of what is read of images.
const (
	imageConfigBytesMax = 8 << 20
	imagesCachedMax     = 512
)

// An imageInfo is what an image's content says. It is shared and not changed.
type imageInfo struct {
	target   ocispec.Descriptor // manifest, or index of them
	manifest ocispec.Descriptor
	id       digest.Digest // of the configuration
	spec     dockerspec.DockerOCIImage
	chain    string               // of the top snapshot
	chains   []string             // of every layer's snapshot, bottom first
	blobs    []ocispec.Descriptor // the layers as they come
}

// A localImage is an image on this node, by one of its names.
type localImage struct {
	*imageInfo
	name string // containerd's
}

// An imageCache has what was read of images, by their target.
type imageCache struct {
	mu    sync.Mutex
	infos map[digest.Digest]*imageInfo
	users map[string]identityOf // by top snapshot and user, see resolveUser
	sizes map[string]int64      // of snapshots, by name
}

func (c *imageCache) get(target digest.Digest) *imageInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.infos[target]
}

func (c *imageCache) put(info *imageInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.infos == nil || len(c.infos) >= imagesCachedMax {
		c.infos = make(map[digest.Digest]*imageInfo)
	}
	c.infos[info.target.Digest] = info
}

// forget makes what was read of an image be read again: another platform of it
// may have been fetched.
func (c *imageCache) forget(target digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.infos, target)
}

// info reads what an image's content says.
func (r *Runtime) info(ctx context.Context, target ocispec.Descriptor) (*imageInfo, error) {
	if info := r.images.get(target.Digest); info != nil {
		return info, nil
	}
	store := r.client.ContentStore()
	manifest, descriptor, err := localManifest(ctx, store, target)
	if err != nil {
		return nil, fmt.Errorf("cannot read the manifest of image %s: %w", target.Digest, err)
	}
	info := &imageInfo{target: target, manifest: descriptor, id: manifest.Config.Digest, blobs: manifest.Layers}
	if err := readJSON(ctx, store, manifest.Config, &info.spec); err != nil {
		return nil, fmt.Errorf("cannot read the configuration of image %s: %w", target.Digest, err)
	}
	if len(info.spec.RootFS.DiffIDs) == 0 {
		return nil, fmt.Errorf("image %s has no layers: it is not one that containers can be made of", target.Digest)
	}
	for i := range info.spec.RootFS.DiffIDs {
		info.chains = append(info.chains, identity.ChainID(info.spec.RootFS.DiffIDs[:i+1]).String())
	}
	info.chain = info.chains[len(info.chains)-1]
	r.images.put(info)
	return info, nil
}

// localManifest is the manifest of the host's platform or, if that has not been
// fetched, of another that has.
func localManifest(ctx context.Context, store content.Provider, target ocispec.Descriptor) (ocispec.Manifest, ocispec.Descriptor, error) {
	var manifest ocispec.Manifest
	if images.IsManifestType(target.MediaType) {
		return manifest, target, readJSON(ctx, store, target, &manifest)
	}
	if !images.IsIndexType(target.MediaType) {
		return manifest, target, invalidf("media type %q is of no image", target.MediaType)
	}
	var index ocispec.Index
	if err := readJSON(ctx, store, target, &index); err != nil {
		return manifest, target, err
	}
	host := platforms.Default()
	var other *ocispec.Descriptor
	var best *ocispec.Descriptor
	for i, d := range index.Manifests {
		if !images.IsManifestType(d.MediaType) || d.Platform == nil && len(index.Manifests) > 1 {
			continue
		}
		if d.Platform != nil && d.Platform.OS == "unknown" { // an attestation
			continue
		}
		if readJSON(ctx, store, d, &manifest) != nil {
			continue // of a platform that was not fetched
		}
		fits := d.Platform == nil || host.Match(*d.Platform)
		switch {
		case fits && (best == nil || best.Platform != nil && d.Platform != nil && host.Less(*d.Platform, *best.Platform)):
			best = &index.Manifests[i]
		case other == nil:
			other = &index.Manifests[i]
		}
	}
	if best == nil {
		best = other
	}
	if best == nil {
		return manifest, target, notFoundf("image %s is of no platform that is on this node", target.Digest)
	}
	manifest = ocispec.Manifest{}
	return manifest, *best, readJSON(ctx, store, *best, &manifest)
}

// readJSON reads a blob. Its digest was checked when it came.
func readJSON(ctx context.Context, store content.Provider, d ocispec.Descriptor, into any) error {
	if d.Size > imageConfigBytesMax {
		return fmt.Errorf("blob %s has %d bytes, at most %d are read", d.Digest, d.Size, imageConfigBytesMax)
	}
	data, err := content.ReadBlob(ctx, store, d)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// noSuchImage is Docker's text.
func noSuchImage(ref string) error { return notFoundf("No such image: %s", ref) }

// image finds what is on this node under a name, or an ID or the beginning of one.
func (r *Runtime) image(ctx context.Context, ref string) (localImage, error) {
	if name, err := parseImageName(ref); err == nil {
		image, err := r.imageNamed(ctx, name)
		if !errdefs.IsNotFound(err) {
			return image, err
		}
	}
	prefix, ok := idPrefix(ref)
	if !ok {
		if _, err := parseImageName(ref); err != nil {
			return localImage{}, err
		}
		return localImage{}, noSuchImage(completeTag(ref))
	}
	all, err := r.listImages(ctx)
	if err != nil {
		return localImage{}, err
	}
	var found localImage
	for _, image := range all {
		if !strings.HasPrefix(image.id.Encoded(), prefix) && !strings.HasPrefix(image.target.Digest.Encoded(), prefix) {
			continue
		}
		if found.imageInfo != nil && found.id != image.id {
			return localImage{}, invalidf("ambiguous reference: %s is the beginning of more than one image's ID", ref)
		}
		found = image
	}
	if found.imageInfo == nil {
		return localImage{}, noSuchImage(ref)
	}
	return found, nil
}

// completeTag is a name as Docker's messages have it: with a tag.
func completeTag(ref string) string {
	name, err := parseImageName(ref)
	if err != nil {
		return ref
	}
	return name.familiar()
}

// imageNamed finds an image by its name. A digest is looked for among the images
// of the same repository.
func (r *Runtime) imageNamed(ctx context.Context, name imageName) (localImage, error) {
	service := r.client.ImageService()
	image, err := service.Get(ctx, name.full())
	if errdefs.IsNotFound(err) && name.digest != "" {
		var list []images.Image
		list, err = service.List(ctx, "target.digest=="+name.digest.String())
		if err != nil {
			return localImage{}, fmt.Errorf("cannot list images: %w", err)
		}
		err = noSuchImage(name.familiar())
		for _, candidate := range list {
			if repositoryOf(candidate.Name) == name.repository() {
				image, err = candidate, nil
			}
		}
	}
	if errdefs.IsNotFound(err) {
		return localImage{}, noSuchImage(name.familiar())
	}
	if err != nil {
		return localImage{}, fmt.Errorf("cannot look for image %s: %w", name.familiar(), err)
	}
	info, err := r.info(ctx, image.Target)
	if err != nil {
		return localImage{}, err
	}
	return localImage{info, image.Name}, nil
}

func repositoryOf(full string) string {
	name, err := parseImageName(full)
	if err != nil {
		return ""
	}
	return name.repository()
}

// listImages lists the images on this node, once for each of their names. What
// cannot be read, since it is only partly there, is left out.
func (r *Runtime) listImages(ctx context.Context) ([]localImage, error) {
	list, err := r.client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot list images: %w", err)
	}
	all := make([]localImage, 0, len(list))
	for _, image := range list {
		info, err := r.info(ctx, image.Target)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			r.log.Debug("an image is left out", "image", image.Name, "error", err)
			continue
		}
		all = append(all, localImage{info, image.Name})
	}
	return all, nil
}

// unpack makes sure that the image's layers are snapshots.
func (r *Runtime) unpack(ctx context.Context, image localImage) error {
	_, err := r.client.SnapshotService(r.host.snapshotter).Stat(ctx, image.chain)
	if err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	only := platforms.Only(image.spec.Platform)
	whole := containerd.NewImageWithPlatform(r.client, images.Image{Name: image.name, Target: image.manifest}, only)
	if err := whole.Unpack(ctx, r.host.snapshotter); err != nil {
		return fmt.Errorf("cannot unpack image %s: %w", image.name, err)
	}
	return nil
}

// name an image in containerd's store. What the name meant before keeps its
// digest as a name, so that it can still be found and removed.
func (r *Runtime) nameImage(ctx context.Context, name string, target ocispec.Descriptor) error {
	service := r.client.ImageService()
	old, err := service.Get(ctx, name)
	switch {
	case errdefs.IsNotFound(err):
		_, err = service.Create(ctx, images.Image{Name: name, Target: target})
	case err == nil && old.Target.Digest == target.Digest:
		return nil
	case err == nil:
		if err := r.keepReplaced(ctx, old); err != nil {
			return err
		}
		_, err = service.Update(ctx, images.Image{Name: name, Target: target}, "target")
	}
	if err != nil {
		return fmt.Errorf("cannot name image %s: %w", name, err)
	}
	return nil
}

// keepReplaced gives an image whose tag goes to another a name of its digest.
func (r *Runtime) keepReplaced(ctx context.Context, old images.Image) error {
	name, err := parseImageName(old.Name)
	if err != nil || name.digest != "" {
		return nil //nolint:nilerr // it has no tag that could go to another
	}
	_, err = r.client.ImageService().Create(ctx, images.Image{Name: name.at(old.Target.Digest), Target: old.Target})
	if err != nil && !errors.Is(err, errdefs.ErrAlreadyExists) {
		return fmt.Errorf("cannot keep the image that was %s: %w", old.Name, err)
	}
	return nil
}
