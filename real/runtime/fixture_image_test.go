package runtime

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"log" //nolint:depguard // the registry wants one
	"net"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layerOf makes a layer of files; a name with a slash at its end is a directory.
func layerOf(t testing.TB, files []*tar.Header, content map[string][]byte) v1.Layer {
	t.Helper()
	data := tarOf(t, files, content)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

func tarOf(t testing.TB, files []*tar.Header, content map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		f.Size = int64(len(content[f.Name]))
		if f.Mode == 0 {
			f.Mode = 0o755
		}
		if err := errors.Join(w.WriteHeader(f), func() error { _, err := w.Write(content[f.Name]); return err }()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tinyFiles are a file system with a shell and some users.
func tinyFiles(t testing.TB) ([]*tar.Header, map[string][]byte) {
	t.Helper()
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string][]byte{
		"bin/busybox": program,
		"etc/passwd":  []byte("root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/srv:/bin/sh\n"),
		"etc/group":   []byte("root:x:0:\nwheel:x:10:root,web\nweb:x:44:\nextra:x:55:\n"),
		"data/seed":   []byte("from the image\n"),
	}
	files := []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "bin/"},
		{Typeflag: tar.TypeReg, Name: "bin/busybox"},
		{Typeflag: tar.TypeDir, Name: "etc/"},
		{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644},
		{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644},
		{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777},
		{Typeflag: tar.TypeDir, Name: "data/", Uid: 33, Gid: 44, Mode: 0o750},
		{Typeflag: tar.TypeReg, Name: "data/seed", Mode: 0o640, Uid: 33},
	}
	for _, applet := range []string{"sh", "cat", "echo", "id", "ls", "sleep", "env", "hostname", "grep", "mount", "head", "dd", "stat", "stty", "kill", "true", "false", "touch", "tr", "seq", "wc", "pwd", "ulimit", "ps", "trap", "mkdir", "sync", "test", "["} {
		files = append(files, &tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox"})
	}
	return files, content
}

// imageOf makes an image of a shell and a configuration.
func imageOf(t testing.TB, config v1.Config, more ...v1.Layer) v1.Image {
	t.Helper()
	files, content := tinyFiles(t)
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(img, append([]v1.Layer{layerOf(t, files, content)}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", config
	img, err = mutate.ConfigFile(img, file)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// load loads an image under a name, from an archive as docker save writes it.
func (h *testHost) load(t testing.TB, ref string, img v1.Image) {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tarball.Write(tag, img, &b); err != nil {
		t.Fatal(err)
	}
	if err := h.Local().LoadImages(h.ctx, &b, ignore); err != nil {
		t.Fatal(err)
	}
}

// A shop is a registry on loopback.
type shop struct {
	address string
	server  *http.Server

	mu     sync.Mutex
	asked  []string // paths of requests
	refuse func(*http.Request) int
}

func openShop(t testing.TB) *shop {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{address: listener.Addr().String()}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.Method+" "+r.URL.Path)
		refuse := s.refuse
		s.mu.Unlock()
		if refuse != nil {
			if code := refuse(r); code != 0 {
				w.Header().Set("WWW-Authenticate", `Basic realm="shop"`)
				w.WriteHeader(code)
				return
			}
		}
		inner.ServeHTTP(w, r)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.server.Serve(listener) })
	t.Cleanup(func() { _ = s.server.Close(); serving.Wait() })
	return s
}

// sell puts an image into the registry, and returns its name.
func (s *shop) sell(t testing.TB, ref string, img v1.Image) string {
	t.Helper()
	full := s.address + "/" + ref
	parsed, err := name.ParseReference(full, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(parsed, img); err != nil {
		t.Fatal(err)
	}
	return full
}
