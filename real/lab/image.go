package lab

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An Image is a small one, of busybox alone, that stands in for another.
type Image struct {
	Names    []string // such as nginx:alpine
	Greeting string   // what its web server says, before its host name; "Hello from" if empty
	// Script is what its containers run, for sh; a web server on port 80 that ends
	// when it is told to if empty.
	Script string
	// Program is the file of a static program that is /bin/program in the image, and
	// what its containers run, with Arguments, if it is not empty.
	Program   string
	Arguments []string
}

// tools are those of busybox's that an image has.
func tools() []string {
	return []string{
		"sh", "cat", "echo", "env", "hostname", "httpd", "id", "kill", "ls", "mkdir", "nc", "nslookup", "od", "ping", "ps", "rm", "sleep", "test", "touch",
		"true", "false", "wget",
	}
}

// serve is a web server that says who it is. The first process of a container has
// no default action for a signal: those that are to end it are caught. USR1 ends it
// with the code that /tmp/code has.
const serve = `#!/bin/sh
trap 'echo stopping; kill $! 2>/dev/null; exit 0' TERM INT QUIT
trap 'kill $! 2>/dev/null; exit $(cat /tmp/code)' USR1
echo "%s $(hostname)" >/www/index.html
echo "serving as $(hostname)"
httpd -f -v -p 80 -h /www &
wait
`

// WriteFile writes the image's archive, as docker save does.
func (i Image) WriteFile(path string) error {
	busybox, err := staticBusybox()
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	err = i.write(file, busybox)
	return errors.Join(err, file.Close())
}

// staticBusybox reads the program that images are made of.
func staticBusybox() ([]byte, error) {
	for _, dir := range []string{"/bin", "/usr/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, "busybox")); err == nil {
			return os.ReadFile(path)
		}
	}
	return nil, errors.New("busybox, which images are made of, is not installed: apt-get install busybox-static")
}

func (i Image) write(w io.Writer, busybox []byte) error {
	layer, err := i.layer(busybox)
	if err != nil {
		return err
	}
	command := []string{"/bin/serve"}
	if i.Program != "" {
		command = append([]string{"/bin/program"}, i.Arguments...)
	}
	config, err := json.Marshal(ocispec.Image{
		Created:  new(epoch()),
		Platform: ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		Config: ocispec.ImageConfig{
			Env: []string{"PATH=/bin"}, Cmd: command, ExposedPorts: map[string]struct{}{"80/tcp": {}}, WorkingDir: "/",
		},
		RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
		History: []ocispec.History{{Created: new(epoch()), CreatedBy: "swarmsim lab image"}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": i.Names, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		data []byte
	}{{"manifest.json", manifest}, {"config.json", config}, {"layer.tar", layer}} {
		if err := addFile(archive, f.name, 0o644, f.data); err != nil {
			return err
		}
	}
	return archive.Close()
}

// layer is the file system.
func (i Image) layer(busybox []byte) ([]byte, error) {
	script := i.Script
	if script == "" {
		greeting := i.Greeting
		if greeting == "" {
			greeting = "Hello from"
		}
		script = fmt.Sprintf(serve, greeting)
	}
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	var failed error
	for _, dir := range []string{"bin", "dev", "etc", "proc", "root", "sys", "tmp", "www"} {
		mode := int64(0o755)
		if dir == "tmp" {
			mode = 0o1777
		}
		failed = errors.Join(failed, archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: mode, ModTime: epoch()}))
	}
	failed = errors.Join(failed, addFile(archive, "bin/busybox", 0o755, busybox))
	for _, tool := range tools() {
		failed = errors.Join(failed, archive.WriteHeader(&tar.Header{
			Typeflag: tar.TypeSymlink, Name: "bin/" + tool, Linkname: "busybox", Mode: 0o777, ModTime: epoch(),
		}))
	}
	if i.Program != "" {
		program, err := os.ReadFile(i.Program)
		failed = errors.Join(failed, err, addFile(archive, "bin/program", 0o755, program))
	}
	failed = errors.Join(failed,
		addFile(archive, "bin/serve", 0o755, []byte(script)),
		addFile(archive, "etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n")),
		addFile(archive, "etc/group", 0o644, []byte("root:x:0:\n")),
		archive.Close())
	return layer.Bytes(), failed
}

// epoch is when everything in an image was made: the same image is the same bytes.
func epoch() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func addFile(archive *tar.Writer, name string, mode int64, data []byte) error {
	err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data)), ModTime: epoch()})
	if err == nil {
		_, err = archive.Write(data)
	}
	return err
}
