package runtime

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of pulling.
const (
	progressPeriod   = 200 * time.Millisecond
	progressKeptMax  = 10_000 // messages of a pull; beyond, only what matters is kept
	downloadsMax     = 4      // layers of an image at a time
	shortDigestChars = 12
)

// A pullRequest is what makes pulls the same: they share a flight.
type pullRequest struct {
	name     string // full
	platform string // "" is the host's
	auth     registry.AuthConfig
	fallback bool // there is a local image: the registry is not waited for long
}

// flights are the pulls that are going on.
type flights struct {
	mu sync.Mutex
	m  map[pullRequest]*flight
}

// A flight is a pull, for all who want it.
type flight struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // set when done is closed

	mu       sync.Mutex
	waiting  int
	messages []jsonstream.Message
}

func (f *flight) say(m jsonstream.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.messages) < progressKeptMax || m.Progress == nil {
		f.messages = append(f.messages, m)
	}
}

// heard returns the messages from a position on.
func (f *flight) heard(from int) []jsonstream.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.messages[from:len(f.messages):len(f.messages)]
}

// pull fetches an image and waits until it is there. progress may be nil.
func (r *Runtime) pull(ctx context.Context, request pullRequest, progress func(jsonstream.Message)) error {
	f := r.board(request)
	defer r.leave(request, f)
	told := 0
	tell := func() {
		if progress == nil {
			return
		}
		for _, m := range f.heard(told) {
			progress(m)
			told++
		}
	}
	ticker := time.NewTicker(progressPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			tell()
		case <-f.done:
			tell()
			return f.err
		}
	}
}

// board joins a flight, which begins if there is none.
func (r *Runtime) board(request pullRequest) *flight {
	r.pulls.mu.Lock()
	defer r.pulls.mu.Unlock()
	f := r.pulls.m[request]
	if f == nil {
		ctx, cancel := context.WithCancel(r.ctx)
		f = &flight{cancel: cancel, done: make(chan struct{})}
		if r.pulls.m == nil {
			r.pulls.m = make(map[pullRequest]*flight)
		}
		r.pulls.m[request] = f
		r.work.Go(func() {
			f.err = r.fly(ctx, request, f)
			cancel()
			r.land(request, f)
			close(f.done)
		})
	}
	f.mu.Lock()
	f.waiting++
	f.mu.Unlock()
	return f
}

// leave gives a flight up when nobody waits for it any more.
func (r *Runtime) leave(request pullRequest, f *flight) {
	f.mu.Lock()
	f.waiting--
	last := f.waiting == 0
	f.mu.Unlock()
	if last {
		r.land(request, f)
		f.cancel()
	}
}

func (r *Runtime) land(request pullRequest, f *flight) {
	r.pulls.mu.Lock()
	defer r.pulls.mu.Unlock()
	if r.pulls.m[request] == f {
		delete(r.pulls.m, request)
	}
}

// fly fetches an image.
func (r *Runtime) fly(ctx context.Context, request pullRequest, f *flight) error {
	name, err := parseImageName(request.name)
	if err != nil {
		return err
	}
	limit := resolveTimeout
	if request.fallback {
		limit = resolveTimeoutLocal
	}
	target, err := r.resolve(ctx, name, request.auth, limit)
	if err != nil {
		return pullFailure(name, err)
	}
	f.say(jsonstream.Message{Status: "Pulling from " + strings.TrimPrefix(name.repository(), hubHost+"/"), ID: tagOf(name)})
	matcher := platforms.Default()
	if request.platform != "" {
		platform, err := platforms.Parse(request.platform)
		if err != nil {
			return invalidf("invalid platform %q: %s", request.platform, err)
		}
		matcher = platforms.Only(platform)
	}
	if r.complete(ctx, name, target, request.platform) {
		f.say(jsonstream.Message{Status: "Digest: " + target.Digest.String()})
		f.say(jsonstream.Message{Status: "Status: Image is up to date for " + name.familiar()})
		return nil
	}
	if err := r.fetch(ctx, name, target, matcher, request.auth, f); err != nil {
		if errdefs.IsNotFound(err) && images.IsIndexType(target.MediaType) {
			return notFoundf("no matching manifest for %s in the manifest list entries of %s", platformText(request.platform), name.familiar())
		}
		return pullFailure(name, err)
	}
	f.say(jsonstream.Message{Status: "Digest: " + target.Digest.String()})
	f.say(jsonstream.Message{Status: "Status: Downloaded newer image for " + name.familiar()})
	r.tellImage(events.ActionPull, name.familiar(), name.familiar())
	return nil
}

func platformText(asked string) string {
	if asked == "" {
		return platforms.DefaultString()
	}
	return asked
}

func tagOf(name imageName) string {
	full := name.full()
	if name.digest != "" {
		return name.digest.String()
	}
	return full[strings.LastIndex(full, ":")+1:]
}

// complete reports whether a name already means the target, and all of it is here.
func (r *Runtime) complete(ctx context.Context, name imageName, target ocispec.Descriptor, platform string) bool {
	local, err := r.imageNamed(ctx, name)
	if err != nil || local.target.Digest != target.Digest || local.name != name.full() {
		return false
	}
	if platform != "" {
		wanted, err := platforms.Parse(platform)
		if err != nil || !platforms.Only(wanted).Match(local.spec.Platform) {
			return false
		}
	}
	_, err = r.client.SnapshotService(r.host.snapshotter).Stat(ctx, local.chain)
	return err == nil
}

// fetch downloads and unpacks what a name means.
func (r *Runtime) fetch(ctx context.Context, name imageName, target ocispec.Descriptor, matcher platforms.MatchComparer, auth registry.AuthConfig, f *flight) error {
	if old, err := r.client.ImageService().Get(ctx, name.full()); err == nil && old.Target.Digest != target.Digest {
		if err := r.keepReplaced(ctx, old); err != nil {
			return err
		}
	}
	p := progress{runtime: r, flight: f}
	watching, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { p.watch(watching) })
	_, err := r.client.Pull(ctx, name.full(),
		containerd.WithResolver(r.resolver(auth)),
		containerd.WithPlatformMatcher(matcher),
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(r.host.snapshotter),
		containerd.WithMaxConcurrentDownloads(downloadsMax),
		containerd.WithImageHandler(images.HandlerFunc(p.found)))
	stop()
	watcher.Wait()
	if err != nil {
		return err
	}
	r.images.forget(target.Digest)
	info, err := r.info(ctx, target)
	if err != nil {
		return err
	}
	p.end(info.blobs)
	return nil
}

// progress tells how far the layers of a pull are.
type progress struct {
	runtime *Runtime
	flight  *flight

	mu     sync.Mutex
	layers []*layer
}

type layer struct {
	descriptor ocispec.Descriptor
	loading    bool // seen to be downloaded
	done       bool
}

// found takes in a part of the image, as the pull comes upon it.
func (p *progress) found(_ context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if !images.IsLayerType(d.MediaType) {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.layers = append(p.layers, &layer{descriptor: d})
	p.say(d, "Pulling fs layer", nil)
	return nil, nil
}

func (p *progress) say(d ocispec.Descriptor, status string, detail *jsonstream.Progress) {
	p.flight.say(jsonstream.Message{ID: d.Digest.Encoded()[:shortDigestChars], Status: status, Progress: detail})
}

// watch looks at the downloads, until ctx ends.
func (p *progress) watch(ctx context.Context) {
	ticker := time.NewTicker(progressPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			p.look(ctx)
		}
	}
}

func (p *progress) look(ctx context.Context) {
	statuses, err := p.runtime.client.ContentStore().ListStatuses(ctx, "")
	if err != nil {
		return // it is only shown
	}
	loaded := make(map[string]int64, len(statuses))
	for _, s := range statuses {
		loaded[s.Ref] = s.Offset
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.layers {
		offset, loading := loaded[remotes.MakeRefKey(ctx, l.descriptor)]
		switch {
		case l.done:
		case loading:
			l.loading = true
			p.say(l.descriptor, "Downloading", &jsonstream.Progress{Current: offset, Total: l.descriptor.Size})
		case l.loading:
			l.done = true
			p.say(l.descriptor, "Download complete", nil)
		}
	}
}

// end tells that everything is there. Layers that were here before, the pull did
// not come upon.
func (p *progress) end(all []ocispec.Descriptor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range all {
		if !slices.ContainsFunc(p.layers, func(l *layer) bool { return l.descriptor.Digest == d.Digest }) {
			p.say(d, "Already exists", nil)
		}
	}
	for _, l := range p.layers {
		if !l.done {
			p.say(l.descriptor, "Download complete", nil)
		}
		p.say(l.descriptor, "Pull complete", nil)
	}
}

// ensureImage has a task's image be on the node. It always asks the registry
// what a tag means by now, and falls back to the image that is here.
func (r *Runtime) ensureImage(ctx context.Context, ref, header string) error {
	name, err := parseImageName(ref)
	if err != nil {
		if _, found := r.image(ctx, ref); found == nil {
			return nil // the ID of an image
		}
		return err
	}
	local, err := r.imageNamed(ctx, name)
	isLocal := err == nil
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if isLocal && (name.digest != "" || r.grudges.held(name.host())) {
		return r.unpack(ctx, local)
	}
	auth, err := decodeAuth(header)
	if err != nil {
		return err
	}
	err = r.pull(ctx, pullRequest{name: name.full(), auth: auth, fallback: isLocal}, nil)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if isLocal {
		r.log.Warn("an image was not pulled, the one on this node is used", "image", name.familiar(), "error", err)
		return r.unpack(ctx, local)
	}
	if byID, found := r.image(ctx, ref); found == nil {
		return r.unpack(ctx, byID)
	}
	r.log.Warn("an image was not pulled", "image", name.familiar(), "error", err)
	if errdefs.IsNotFound(err) {
		return noSuchImage(name.familiar())
	}
	return notFoundf("No such image: %s (%s)", name.familiar(), err)
}

// PullImage fetches ref (name, with tag or digest) for a platform (os/arch, ""
// for the host's).
func (l *Local) PullImage(ctx context.Context, ref, platform, header string, progress func(jsonstream.Message)) error {
	name, err := parseImageName(ref)
	if err != nil {
		return err
	}
	auth, err := decodeAuth(header)
	if err != nil {
		return err
	}
	if err := l.r.pull(ctx, pullRequest{name: name.full(), platform: platform, auth: auth}, progress); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("pulling %s was given up: %w", name.familiar(), err)
		}
		return err
	}
	return nil
}
