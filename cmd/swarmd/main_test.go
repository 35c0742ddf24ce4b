package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/swarmd/swarmd/real/lab"
)

// programs are the built files and the images that the tests share. The daemon is
// the shipped file, not this test: what it starts outlives it by its own name.
type programs struct {
	dir    string
	swarmd string
	cli    string // the directory of docker, or of swarmctl under that name
	images map[string]string
}

var shared = sync.OnceValues(buildPrograms) //nolint:gochecknoglobals // built once, when a test wants it

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// built is the directory that buildPrograms has made.
var built string //nolint:gochecknoglobals // TestMain removes it

// needHosts skips a test where there can be no hosts, and builds what they run.
func needHosts(t testing.TB) *programs {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("hosts with real containers can only be made by root: sudo make test")
	}
	for _, program := range []string{"ip", "nsenter", "containerd", "runc", "busybox", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: make deps", program)
		}
	}
	p, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func buildPrograms() (*programs, error) {
	dir, err := os.MkdirTemp("", "swarmd-test")
	if err != nil {
		return nil, err
	}
	built = dir
	p := &programs{dir: dir, swarmd: filepath.Join(dir, "swarmd"), cli: filepath.Join(dir, "cli"), images: make(map[string]string)}
	if err := os.Mkdir(p.cli, 0o755); err != nil {
		return nil, err
	}
	for name, greeting := range map[string]string{"busybox:latest": "", "nginx:alpine": "", "nginx:1.27": "Hello, newer, from"} {
		p.images[name] = filepath.Join(dir, fmt.Sprintf("image-%d.tar", len(p.images)))
		if err := (lab.Image{Names: []string{name}, Greeting: greeting}).WriteFile(p.images[name]); err != nil {
			return nil, err
		}
	}
	build := exec.Command("go", "build", "-o", dir, ".", "../swarmctl", "../swarmd-log", "../swarmd-shim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %w: %s", build.Args, err, out)
	}
	docker, err := exec.LookPath("docker")
	if err != nil || os.Getenv("SWARMD_TEST_CLI") == "swarmctl" {
		docker = filepath.Join(dir, "swarmctl")
	}
	return p, os.Symlink(docker, filepath.Join(p.cli, "docker"))
}

// startHost runs a host with the images loaded, nil if that fails. The caller
// removes it.
func (p *programs) startHost(t testing.TB, daemon, name string, args ...string) *lab.Host {
	t.Helper()
	program := daemon
	if daemon == lab.Swarmd {
		program = p.swarmd
	}
	dir, err := os.MkdirTemp(p.dir, "") //nolint:usetesting // sockets have short paths
	if err != nil {
		t.Error(err)
		return nil
	}
	host, err := lab.NewHost(lab.Config{Dir: filepath.Join(dir, "h"), Name: name, Daemon: daemon, Program: program, Args: args})
	if err != nil {
		t.Error(err)
		return nil
	}
	err = host.Start(context.WithoutCancel(t.Context()))
	for _, file := range p.images {
		if err == nil {
			_, err = p.docker(host, "load", "-q", "-i", file)
		}
	}
	if err != nil {
		t.Error(err, host.Remove())
		return nil
	}
	return host
}

// docker runs the CLI against a host and returns what it prints.
func (p *programs) docker(host *lab.Host, args ...string) (string, error) {
	out, err := host.Command(context.Background(), filepath.Join(p.cli, "docker"), args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker %v: %w: %s", args, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
