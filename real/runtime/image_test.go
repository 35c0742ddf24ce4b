package runtime

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
)

func (h *testHost) pullFor(t *testing.T, ref, auth string) error {
	t.Helper()
	c := task("pull", swarm.ContainerSpec{Image: ref})
	h.PullImage(engine.PullImage{Pull: agent.Pull{Task: c.Task, Image: ref, Auth: auth}})
	return await(t, h, func(e engine.ImagePulled) bool { return e.Task == c.Task }).Err
}

func authHeader(t *testing.T, auth registry.AuthConfig) string {
	t.Helper()
	data, err := json.Marshal(auth)
	if err != nil {
		t.Fatal(err)
	}
	return base64.URLEncoding.EncodeToString(data)
}

// Images come from a registry on loopback over plain HTTP, by tag and by digest,
// with credentials where it asks for them.
func pulls(t *testing.T, h *testHost) {
	s := openShop(t)
	own := layerOf(t, []*tar.Header{{Typeflag: tar.TypeReg, Name: "own"}}, map[string][]byte{"own": bytes.Repeat([]byte("own"), 100_000)})
	img := imageOf(t, v1.Config{Cmd: []string{"echo", "pulled"}, Labels: map[string]string{"from": "shop"}}, own)
	ref := s.sell(t, "web:1", img)
	var said []string
	err := h.Local().PullImage(t.Context(), ref, "", "", func(m jsonstream.Message) { said = append(said, m.Status) })
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(said, "\n"); !strings.Contains(text, "Pulling from ") || !strings.Contains(text, "Already exists") || !strings.Contains(text, "Pull complete") || !strings.Contains(text, "Status: Downloaded newer image for "+ref) {
		t.Errorf("the pull says\n%s", text)
	}
	c := task("pulled", swarm.ContainerSpec{Image: ref})
	if got := h.said(t, c); got != "pulled\n" {
		t.Errorf("it says %q", got)
	}
	_, err = h.Local().RemoveImage(t.Context(), ref, false)
	if !errdefs.IsConflict(err) {
		t.Errorf("removing an image in use: %v", err)
	}
	h.gone(t, c)

	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	byDigest := s.address + "/web:other@" + digest.String()
	if err := h.pullFor(t, byDigest, ""); err != nil {
		t.Error(err)
	}
	distribution, err := h.Local().Distribution(t.Context(), ref, "")
	if err != nil || distribution.Descriptor.Digest.String() != digest.String() || len(distribution.Platforms) != 1 || distribution.Platforms[0].Architecture != "amd64" {
		t.Errorf("distribution: %+v, %v", distribution, err)
	}
	err = h.Local().PullImage(t.Context(), s.address+"/web:none", "", "", ignore)
	if !errdefs.IsNotFound(err) || !strings.HasPrefix(err.Error(), "manifest for "+s.address+"/web:none not found") {
		t.Errorf("a tag that is not there: %v", err)
	}
	if err := h.pullFor(t, s.address+"/nosuch:1", ""); err == nil || err.Error() != "No such image: "+s.address+"/nosuch:1" {
		t.Errorf("an image that is not there: %v", err)
	}
	s.sharing(t, h)
	s.credentials(t, h)
}

// Many who want the same image share one download.
func (s *shop) sharing(t *testing.T, h *testHost) {
	ref := s.sell(t, "shared:1", imageOf(t, v1.Config{Labels: map[string]string{"n": "shared"}}))
	s.mu.Lock()
	s.asked = nil
	s.mu.Unlock()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := h.ensureImage(h.ctx, ref, ""); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var blobs []string
	for _, path := range s.asked {
		if strings.HasPrefix(path, "GET") && strings.Contains(path, "/blobs/") {
			blobs = append(blobs, path)
		}
	}
	slices.Sort(blobs)
	if len(slices.Compact(slices.Clone(blobs))) != len(blobs) {
		t.Errorf("blobs were downloaded more than once: %v", blobs)
	}
}

// A registry that wants credentials refuses others; the image that is here does.
func (s *shop) credentials(t *testing.T, h *testHost) {
	ref := s.sell(t, "private:1", imageOf(t, v1.Config{Labels: map[string]string{"n": "private"}}))
	s.mu.Lock()
	s.refuse = func(r *http.Request) int {
		if user, password, ok := r.BasicAuth(); ok && user == "me" && password == "secret" {
			return 0
		}
		return http.StatusUnauthorized
	}
	s.mu.Unlock()
	good := registry.AuthConfig{Username: "me", Password: "secret", ServerAddress: s.address}
	err := h.Local().PullImage(t.Context(), ref, "", authHeader(t, registry.AuthConfig{Username: "me", Password: "wrong"}), ignore)
	if err == nil || !strings.HasPrefix(err.Error(), "pull access denied for "+s.address+"/private, repository does not exist or may require 'docker login'") {
		t.Errorf("wrong credentials: %v", err)
	}
	if err := h.pullFor(t, ref, authHeader(t, good)); err != nil {
		t.Error(err)
	}
	if err := h.pullFor(t, ref, ""); err != nil {
		t.Errorf("the image is here, though the registry refuses: %v", err)
	}
	if answer, err := h.Local().Login(t.Context(), good); err != nil || answer.Status != "Login Succeeded" {
		t.Errorf("login: %+v, %v", answer, err)
	}
	good.Password = "wrong"
	if _, err := h.Local().Login(t.Context(), good); !errdefs.IsUnauthorized(err) {
		t.Errorf("login with a wrong password: %v", err)
	}
}

// A registry that does not answer is not waited for long where the image is
// here, and not at all the next time.
func silent(t *testing.T, h *testHost) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ref := listener.Addr().String() + "/here:1"
	h.load(t, ref, imageOf(t, v1.Config{Labels: map[string]string{"n": "silent"}}))
	began := time.Now()
	if err := h.pullFor(t, ref, ""); err != nil {
		t.Error(err)
	}
	first := time.Since(began)
	if err := h.pullFor(t, ref, ""); err != nil {
		t.Error(err)
	}
	if again := time.Since(began) - first; first > 2*resolveTimeoutLocal || again > first/2 {
		t.Errorf("it took %s, then %s", first, again)
	}
}

// Archives are written and read; names are given and taken.
func archives(t *testing.T, h *testHost) {
	l := h.Local()
	h.load(t, "saved:1", imageOf(t, v1.Config{Cmd: []string{"echo", "saved"}, Labels: map[string]string{"n": "saved"}}))
	before, err := l.Image(t.Context(), "saved:1")
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := l.SaveImages(t.Context(), []string{"saved:1"}, &archive); err != nil {
		t.Fatal(err)
	}
	if err := l.TagImage(t.Context(), "saved:1", "other/name:2"); err != nil {
		t.Fatal(err)
	}
	tagged, err := l.Image(t.Context(), before.ID[:20])
	if err != nil || !slices.Equal(tagged.RepoTags, []string{"other/name:2", "saved:1"}) {
		t.Errorf("the tags are %v, %v", tagged.RepoTags, err)
	}
	if _, err := l.RemoveImage(t.Context(), before.ID, false); !errdefs.IsConflict(err) {
		t.Errorf("removing an image with two names by its ID: %v", err)
	}
	if gone, err := l.RemoveImage(t.Context(), "other/name:2", false); err != nil || len(gone) != 1 || gone[0].Untagged != "other/name:2" {
		t.Errorf("untagging says %+v, %v", gone, err)
	}
	gone, err := l.RemoveImage(t.Context(), "saved:1", false)
	if err != nil || gone[len(gone)-1].Deleted != before.ID {
		t.Errorf("removing says %+v, %v", gone, err)
	}
	if _, err := l.Image(t.Context(), "saved:1"); !errdefs.IsNotFound(err) || err.Error() != "No such image: saved:1" {
		t.Errorf("it is still there: %v", err)
	}
	var said string
	if err := l.LoadImages(t.Context(), &archive, func(m jsonstream.Message) { said += m.Stream }); err != nil {
		t.Fatal(err)
	}
	after, err := l.Image(t.Context(), "saved")
	_ = after
	if said != "Loaded image: saved:1\n" {
		t.Errorf("loading says %q (%v)", said, err)
	}
	c := task("saved", swarm.ContainerSpec{Image: "saved:1"})
	if got := h.said(t, c); got != "saved\n" {
		t.Errorf("it says %q", got)
	}
	h.gone(t, c)
	if err := l.LoadImages(t.Context(), strings.NewReader("this is no archive"), ignore); !errdefs.IsInvalidArgument(err) {
		t.Errorf("loading nonsense: %v", err)
	}
	imports(t, h)
}

// A file system becomes an image.
func imports(t *testing.T, h *testHost) {
	files, content := tinyFiles(t)
	id, err := h.Local().ImportImage(t.Context(), bytes.NewReader(tarOf(t, files, content)), ImportOptions{
		Ref: "imported:1", Message: "made here", Changes: []string{`CMD ["echo", "imported"]`, "ENV A=1 B='2 3'", "EXPOSE 80"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.Local().Image(t.Context(), "imported:1")
	if err != nil || got.ID != id || !slices.Equal(got.Config.Env, []string{"A=1", "B=2 3"}) || got.Comment != "made here" || got.Size == 0 {
		t.Errorf("the image is %+v, %v", got, err)
	}
	c := task("imported", swarm.ContainerSpec{Image: "imported:1"})
	if text := h.said(t, c); text != "imported\n" {
		t.Errorf("it says %q", text)
	}
	h.gone(t, c)
}

// A tag that goes to another image leaves the one it meant without a tag; that
// one is pruned when no container has it.
func retag(t *testing.T, h *testHost) {
	l := h.Local()
	h.load(t, "moving:1", imageOf(t, v1.Config{Cmd: []string{"sleep", "600"}, Labels: map[string]string{"n": "old"}}))
	old, err := l.Image(t.Context(), "moving:1")
	if err != nil {
		t.Fatal(err)
	}
	c := task("old", swarm.ContainerSpec{Image: "moving:1"})
	h.run(t, c)
	h.load(t, "moving:1", imageOf(t, v1.Config{Cmd: []string{"sleep", "600"}, Labels: map[string]string{"n": "new"}}))
	left, err := l.Image(t.Context(), old.ID)
	if err != nil || len(left.RepoTags) != 0 {
		t.Errorf("the old image is %+v, %v", left.RepoTags, err)
	}
	if report, err := l.PruneImages(t.Context(), false); err != nil || len(report.ImagesDeleted) != 0 {
		t.Errorf("an image in use is pruned: %+v, %v", report, err)
	}
	h.gone(t, c)
	h.awaitExit(t, c)
	report, err := l.PruneImages(t.Context(), false)
	if err != nil || len(report.ImagesDeleted) == 0 || report.ImagesDeleted[len(report.ImagesDeleted)-1].Deleted != old.ID {
		t.Errorf("pruning says %+v, %v", report, err)
	}
}
