package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/swarmd/swarmd/real/lab"
)

var (
	target = flag.String("target", lab.Swarmd, "what the transcripts run against: swarmd, or dockerd in swarm mode")
	update = flag.Bool("update", false, "write what was seen into the transcripts")
)

const (
	compatHosts   = 3                // hosts that scripts take turns on
	sessionPeriod = 90 * time.Second // how long one session may take
)

// TestCompat plays the transcripts of scenarios/compat on a host. The same files
// hold for swarmd and, with -target=dockerd, for Docker itself.
//
// A script plays sessions: what a person types on the host, and what the host
// says. See scenarios/compat/README.md.
func TestCompat(t *testing.T) {
	p := needHosts(t)
	if *target == lab.Dockerd {
		if _, err := exec.LookPath("dockerd"); err != nil {
			t.Skip("dockerd is not installed: apt-get install docker.io")
		}
	}
	hosts := newHostPool(t, p)
	scripts, err := filepath.Glob("../../scenarios/compat/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Files: scripts, UpdateScripts: *update, RequireUniqueNames: true,
		Condition: func(name string) (bool, error) {
			switch name {
			case lab.Swarmd, lab.Dockerd:
				return name == *target, nil
			case "swarmctl":
				return filepath.Base(must(filepath.EvalSymlinks(filepath.Join(p.cli, "docker")))) == name, nil
			}
			return false, fmt.Errorf("there is no condition [%s]", name)
		},
		Setup: func(env *testscript.Env) error {
			host := <-hosts
			env.Defer(func() { hosts <- host })
			if err := cleanHost(host, p); err != nil {
				return err
			}
			env.Values[hostKey{}] = host
			env.Setenv("PATH", p.cli+":"+env.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"play": play, "registry": p.serveRegistry, "restart": restart},
	})
}

// hostKey is where a script keeps its host.
type hostKey struct{}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// newHostPool starts the hosts side by side, and removes them when the scripts
// are done.
func newHostPool(t *testing.T, p *programs) chan *lab.Host {
	pool := make(chan *lab.Host, compatHosts)
	var starting sync.WaitGroup
	for range compatHosts {
		starting.Go(func() {
			if host := p.startHost(t, *target, "swarm-00", "--insecure-registry", "127.0.0.0/8", "--label", "disk=ssd"); host != nil {
				pool <- host
			}
		})
	}
	starting.Wait()
	t.Cleanup(func() {
		close(pool)
		var removing sync.WaitGroup
		for host := range pool {
			removing.Go(func() {
				if err := host.Remove(); err != nil && *target == lab.Swarmd {
					t.Error(err) // dockerd leaves things: not ours to mend
				}
			})
		}
		removing.Wait()
	})
	if len(pool) < compatHosts {
		t.FailNow()
	}
	return pool
}

// cleanHost makes the host as it was when the swarm was new, which every script
// may rely on: no services, no containers, one active node.
func cleanHost(h *lab.Host, p *programs) error {
	script := `
docker swarm leave --force >/dev/null 2>&1
for n in $(seq 300); do [ -z "$(docker ps -aq)" ] && break; sleep 0.1; done
docker ps -aq | xargs -r docker rm -f >/dev/null 2>&1
for image in "$@"; do docker load -q -i $image >/dev/null; done
for n in $(seq 50); do docker swarm init --advertise-addr $0 && exit 0; sleep 0.2; done >/dev/null
exit 1`
	c := exec.Command("sh", append([]string{"-c", script, h.Addr}, slices.Collect(maps.Values(p.images))...)...)
	c.Env = []string{"PATH=" + p.cli + ":/usr/sbin:/usr/bin:/sbin:/bin", "DOCKER_HOST=unix://" + h.Socket(), "HOME=" + p.dir}
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot clean the host: %w: %s", err, out)
	}
	return nil
}

// play types the lines of a session that begin with "$ " on the host, and writes
// what the terminal then shows, normalised, to the file "played".
func play(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: play session")
	}
	host, ok := ts.Value(hostKey{}).(*lab.Host)
	if !ok {
		ts.Fatalf("the script has no host")
	}
	s := newSession(ts.ReadFile(args[0]))
	out, err := s.run(host, ts.Getenv("PATH"), ts.Getenv("HOME"))
	ts.Logf("%s", out)
	ts.Check(err)
	ts.Check(writeFile(ts.MkAbs("played"), s.normalise(out, lookUpVersion(host, ts.Getenv("PATH")))))
}

// restart ends the daemon of the host in order, and starts it again.
func restart(ts *testscript.TestScript, neg bool, args []string) {
	host, ok := ts.Value(hostKey{}).(*lab.Host)
	if !ok || neg || len(args) != 0 {
		ts.Fatalf("usage: restart, on a host")
	}
	ts.Check(host.Stop())
	ts.Check(host.Start(context.Background()))
}

// lookUpVersion is what the daemon says it is.
func lookUpVersion(h *lab.Host, path string) string {
	c := exec.Command("docker", "version", "--format", "{{.Server.Version}}")
	c.Env = []string{"PATH=" + path, "DOCKER_HOST=unix://" + h.Socket()}
	out, err := c.Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
