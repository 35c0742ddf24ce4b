package runtime

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"
	"github.com/opencontainers/go-digest"
)

// A namedImage is an image on this node with all of its names.
type namedImage struct {
	*imageInfo
	names         []string // containerd's
	tags, digests []string // Docker's
}

// namedImages groups the images on this node by ID.
func (r *Runtime) namedImages(ctx context.Context) ([]*namedImage, error) {
	all, err := r.listImages(ctx)
	if err != nil {
		return nil, err
	}
	byID := make(map[digest.Digest]*namedImage)
	var list []*namedImage
	for _, one := range all {
		n := byID[one.id]
		if n == nil {
			n = &namedImage{imageInfo: one.imageInfo}
			byID[one.id] = n
			list = append(list, n)
		}
		n.names = append(n.names, one.name)
		text, tagged, ok := familiarName(one.name)
		if !ok {
			continue
		}
		if tagged {
			n.tags = append(n.tags, text)
			name, err := parseImageName(one.name)
			if err != nil {
				continue
			}
			text, _, _ = familiarName(name.at(one.target.Digest))
		}
		n.digests = append(n.digests, text)
	}
	for _, n := range list {
		slices.Sort(n.tags)
		slices.Sort(n.digests)
		n.digests = slices.Compact(n.digests)
	}
	return list, nil
}

// namedImage is the image that a user means, with all of its names.
func (r *Runtime) namedImage(ctx context.Context, ref string) (*namedImage, localImage, error) {
	found, err := r.image(ctx, ref)
	if err != nil {
		return nil, found, err
	}
	all, err := r.namedImages(ctx)
	if err != nil {
		return nil, found, err
	}
	for _, n := range all {
		if n.id == found.id {
			return n, found, nil
		}
	}
	return nil, found, noSuchImage(ref)
}

// users are the containers made of an image.
func (r *Runtime) users(id digest.Digest) []*instance {
	var list []*instance
	for _, i := range r.all() {
		if i.record.ImageID == id.String() {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b *instance) int { return strings.Compare(a.id(), b.id()) })
	return list
}

// size is what the image's unpacked layers take, in bytes.
func (r *Runtime) size(ctx context.Context, info *imageInfo) int64 {
	var sum int64
	for _, chain := range info.chains {
		r.images.mu.Lock()
		n, known := r.images.sizes[chain]
		r.images.mu.Unlock()
		if !known {
			usage, err := r.client.SnapshotService(r.host.snapshotter).Usage(ctx, chain)
			if err != nil {
				return info.compressed() // it was not unpacked
			}
			n = usage.Size
			r.images.mu.Lock()
			if r.images.sizes == nil || len(r.images.sizes) >= 8*imagesCachedMax {
				r.images.sizes = make(map[string]int64)
			}
			r.images.sizes[chain] = n
			r.images.mu.Unlock()
		}
		sum += n
	}
	return sum
}

// compressed is what the layers take as they come, in bytes.
func (info *imageInfo) compressed() int64 {
	var sum int64
	for _, d := range info.blobs {
		sum += d.Size
	}
	return sum
}

// Images lists the images on this node.
func (l *Local) Images(ctx context.Context) ([]image.Summary, error) {
	all, err := l.r.namedImages(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]image.Summary, 0, len(all))
	for _, n := range all {
		s := image.Summary{
			ID: n.id.String(), RepoTags: append([]string{}, n.tags...), RepoDigests: append([]string{}, n.digests...),
			Labels: n.spec.Config.Labels, Size: l.r.size(ctx, n.imageInfo), SharedSize: -1, Containers: int64(len(l.r.users(n.id))),
		}
		if n.spec.Created != nil {
			s.Created = n.spec.Created.Unix()
		}
		list = append(list, s)
	}
	return list, nil
}

// Image tells all about one image.
func (l *Local) Image(ctx context.Context, ref string) (image.InspectResponse, error) {
	n, _, err := l.r.namedImage(ctx, ref)
	if err != nil {
		return image.InspectResponse{}, err
	}
	config := n.spec.Config
	answer := image.InspectResponse{
		ID: n.id.String(), RepoTags: append([]string{}, n.tags...), RepoDigests: append([]string{}, n.digests...),
		Author: n.spec.Author, Config: &config, Architecture: n.spec.Architecture, Variant: n.spec.Variant,
		Os: n.spec.OS, OsVersion: n.spec.OSVersion, Size: l.r.size(ctx, n.imageInfo),
		GraphDriver: &storage.DriverData{Name: l.r.host.snapshotter},
		RootFS:      image.RootFS{Type: n.spec.RootFS.Type},
	}
	if n.spec.Created != nil {
		answer.Created = n.spec.Created.Format(time.RFC3339Nano)
	}
	if h := n.spec.History; len(h) > 0 {
		answer.Comment = h[len(h)-1].Comment
	}
	for _, d := range n.spec.RootFS.DiffIDs {
		answer.RootFS.Layers = append(answer.RootFS.Layers, d.String())
	}
	return answer, nil
}

// TagImage gives an image another name.
func (l *Local) TagImage(ctx context.Context, source, target string) error {
	name, err := parseImageName(target)
	if err != nil {
		return err
	}
	if name.digest != "" {
		return invalidf("refusing to create a tag with a digest reference")
	}
	found, err := l.r.image(ctx, source)
	if err != nil {
		return err
	}
	if err := l.r.nameImage(ctx, name.full(), found.target); err != nil {
		return err
	}
	l.r.tellImage(events.ActionTag, found.id.String(), name.familiar())
	return nil
}

// RemoveImage takes a name off an image, and removes it with its last name.
func (l *Local) RemoveImage(ctx context.Context, ref string, force bool) ([]image.DeleteResponse, error) {
	n, found, err := l.r.namedImage(ctx, ref)
	if err != nil {
		return nil, err
	}
	prefix, isID := idPrefix(ref)
	isID = isID && (strings.HasPrefix(n.id.Encoded(), prefix) || strings.HasPrefix(n.target.Digest.Encoded(), prefix)) &&
		!slices.ContainsFunc(n.names, func(name string) bool { return namesImage(name, ref) })
	users := l.r.users(n.id)
	short := n.id.Encoded()[:shortDigestChars]
	going := []string{found.name}
	last := isID || len(n.names) == 1 || len(n.tags) == 1 && slices.Contains(n.tags, mustFamiliar(found.name))
	if last {
		going = n.names
	}
	for _, i := range users {
		running := i.now().running()
		switch {
		case last && running && isID:
			return nil, conflictf("conflict: unable to delete %s (cannot be forced) - image is being used by running container %s", short, i.id()[:shortDigestChars])
		case last && isID && !force:
			return nil, conflictf("conflict: unable to delete %s (must be forced) - image is being used by stopped container %s", short, i.id()[:shortDigestChars])
		case last && !force:
			return nil, conflictf("conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s", ref, i.id()[:shortDigestChars], short)
		}
	}
	if isID && len(n.tags) > 1 && !force {
		return nil, conflictf("conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", short)
	}
	return l.r.unname(ctx, n, going)
}

func namesImage(full, ref string) bool {
	name, err := parseImageName(ref)
	return err == nil && name.full() == full
}

func mustFamiliar(full string) string {
	text, _, _ := familiarName(full)
	return text
}

// unname takes names off an image.
func (r *Runtime) unname(ctx context.Context, n *namedImage, going []string) ([]image.DeleteResponse, error) {
	var report []image.DeleteResponse
	for k, name := range going {
		var options []images.DeleteOpt
		if k == len(going)-1 {
			options = append(options, images.SynchronousDelete()) // so that the space is free when we say so
		}
		if err := r.client.ImageService().Delete(ctx, name, options...); err != nil && !errdefs.IsNotFound(err) {
			return report, fmt.Errorf("cannot remove image %s: %w", name, err)
		}
		if text, _, ok := familiarName(name); ok {
			report = append(report, image.DeleteResponse{Untagged: text})
			r.tellImage(events.ActionUnTag, n.id.String(), n.id.String())
		}
	}
	if len(going) == len(n.names) {
		r.images.forget(n.target.Digest)
		report = append(report, image.DeleteResponse{Deleted: n.id.String()})
		r.tellImage(events.ActionDelete, n.id.String(), n.id.String())
	}
	return report, nil
}

// PruneImages removes images that no container uses: those without a tag, or
// with all, every one.
func (l *Local) PruneImages(ctx context.Context, all bool) (image.PruneReport, error) {
	var report image.PruneReport
	list, err := l.r.namedImages(ctx)
	if err != nil {
		return report, err
	}
	for _, n := range list {
		if !all && len(n.tags) > 0 || len(l.r.users(n.id)) > 0 {
			continue
		}
		bytes := l.r.size(ctx, n.imageInfo)
		gone, err := l.r.unname(ctx, n, n.names)
		report.ImagesDeleted = append(report.ImagesDeleted, gone...)
		if err != nil {
			return report, err
		}
		report.SpaceReclaimed += uint64(bytes)
	}
	return report, nil
}
