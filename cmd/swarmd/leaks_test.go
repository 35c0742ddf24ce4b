package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/real/lab"
)

// secrets are what must be nowhere but where it belongs, by what they are.
type secrets map[string]string

// A swarm lives its life, at the most talkative: nothing of what it must keep to
// itself is in a log, in a file that it does not belong to, or in an answer of the
// API, and what is on disk is for root alone.
func TestSecretsStay(t *testing.T) {
	c := newCluster(t, 2, "--log-level", "debug")
	a, b := c.hosts[0], c.hosts[1]
	kept := secrets{}
	c.docker(a, "swarm", "init", "--advertise-addr", a.Addr)
	kept.tokens(c, a, "first")
	c.docker(b, "swarm", "join", "--token", c.docker(a, "swarm", "join-token", "-q", "manager"), a.Addr)
	kept.keys(c, "before the lock")
	c.runWithPassword(a, kept)

	t.Log("tokens, the root and the unlock key are rotated; a manager is locked and unlocked")
	c.docker(a, "swarm", "join-token", "--rotate", "-q", "worker")
	c.docker(a, "swarm", "join-token", "--rotate", "-q", "manager")
	kept.tokens(c, b, "second")
	root := newAuthority(t)
	kept.add("the root's key", keyText(root.key)...)
	c.rotateTo(a, root)
	kept.tokens(c, b, "third")
	c.relocked(b, "swarm", "update", "--autolock")
	kept.add("the first unlock key", c.docker(a, "swarm", "unlock-key", "-q"))
	c.relocked(b, "swarm", "unlock-key", "--rotate", "-q")
	unlock := c.docker(a, "swarm", "unlock-key", "-q")
	kept.add("the second unlock key", unlock)
	c.kill(b)
	c.restart(b)
	c.until(b, is("locked"), "info", "--format", "{{.Swarm.LocalNodeState}}")
	if out, err := c.unlock(b, "SWMKEY-1-"+strings.Repeat("x", 43)); err == nil || !strings.Contains(out, "invalid key provided") {
		t.Errorf("another key: %v %s", err, out)
	}
	if out, err := c.unlock(b, unlock); err != nil {
		t.Fatalf("the key: %v %s", err, out)
	}
	c.whole(a, 1)
	kept.nowhere(c)

	t.Log("the lock is taken off, and one after another leaves")
	c.docker(a, "swarm", "update", "--autolock=false")
	c.docker(a, "node", "demote", "swarm-01")
	c.until(b, is("false"), "info", "--format", "{{.Swarm.ControlAvailable}}")
	kept.keys(c, "after the lock")
	kept.nowhere(c)
	c.docker(b, "swarm", "leave")
	c.docker(a, "swarm", "leave", "--force")
	kept.nowhere(c)
}

func (s secrets) add(what string, texts ...string) {
	for _, text := range texts {
		s[text] = what
	}
}

func (s secrets) tokens(c *cluster, h *lab.Host, which string) {
	for _, role := range []string{"worker", "manager"} {
		s.add("the "+which+" token of a "+role, secretOf(c.docker(h, "swarm", "join-token", "-q", role)))
	}
}

// keys takes in what is in the hosts' key files as they are now.
func (s secrets) keys(c *cluster, when string) {
	c.t.Helper()
	for _, h := range c.hosts {
		s.add("the key of "+h.Name+" "+when, keyText(readFile(c, keyFile(h)))...)
	}
}

func keyFile(h *lab.Host) string { return filepath.Join(certificates(h), "swarm-node.key") }

// keyText is what of a PEM is secret: the key of the log, in a header, and the first
// line, which has the private half of the key, or most of it.
func keyText(pem []byte) []string {
	var texts []string
	for _, find := range []string{`(?m)^raft-dek: (\S{40,})$`, `(?m)^([A-Za-z0-9+/=]{64})$`} {
		if found := regexp.MustCompile(find).FindSubmatch(pem); found != nil {
			texts = append(texts, string(found[1]))
		}
	}
	return texts
}

// runWithPassword has a service run whose image is from a registry with a password.
func (c *cluster) runWithPassword(h *lab.Host, kept secrets) {
	c.t.Helper()
	const password = "correct-horse-battery-staple"
	login := base64.URLEncoding.EncodeToString([]byte(`{"username":"somebody","password":"` + password + `"}`))
	kept.add("a password of a registry", password)
	kept.add("a password of a registry, encoded", login)
	replicas := uint64(2)
	host := &crashed{client: h.Client(), header: http.Header{"X-Registry-Auth": {login}}}
	if err := host.request(http.MethodPost, "/services/create", swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: "web"},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "busybox:latest", Command: []string{"sleep", "100000"}}},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
	}, nil); err != nil {
		c.t.Fatal(err)
	}
	c.replicas(h, "2/2")
}

// nowhere fails if a secret is where it does not belong, or a file is for others.
func (s secrets) nowhere(c *cluster) {
	c.t.Helper()
	for _, h := range c.hosts {
		s.notIn(c, h.Name+": the log", readFile(c, h.LogFile()))
		for _, path := range []string{"/info", "/nodes", "/services", "/tasks", "/networks", "/containers/json", "/images/json", "/metrics", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
			s.notIn(c, h.Name+": GET "+path, c.get(h, path))
		}
		for _, dir := range []string{"data", "run"} {
			s.notBelow(c, h, dir, true)
		}
	}
}

// notBelow looks at all that is in a directory. open says that others than root get
// as far as that.
func (s secrets) notBelow(c *cluster, h *lab.Host, dir string, open bool) {
	c.t.Helper()
	path := filepath.Join(h.Dir, dir)
	info, err := os.Stat(path)
	if err != nil {
		return // it has gone meanwhile
	}
	open = open && info.Mode().Perm()&0o001 != 0
	entries, err := os.ReadDir(path)
	if err != nil && !os.IsNotExist(err) {
		c.t.Error(err)
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		info, err := e.Info()
		switch {
		case err != nil || name == "run/netns": // what is in there are no files
		case e.IsDir():
			s.notBelow(c, h, name, open)
		case open && info.Mode().Type() != fs.ModeSymlink && info.Mode().Perm()&0o007 != 0:
			c.t.Errorf("%s: %s is for others too: it has mode %v", h.Name, name, info.Mode())
		case info.Mode().IsRegular() && name != "data/swarm/certificates/swarm-node.key":
			s.notIn(c, h.Name+": "+name, readFile(c, filepath.Join(h.Dir, name)))
		}
	}
}

// get is what the API answers, whatever it is.
func (c *cluster) get(h *lab.Host, path string) []byte {
	c.t.Helper()
	client := h.Client()
	defer client.CloseIdleConnections()
	response, err := client.Get("http://daemon" + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return text
}

// relocked types a command on a manager that changes how its key is locked, and
// waits until it is.
func (c *cluster) relocked(h *lab.Host, words ...string) {
	c.t.Helper()
	name := keyFile(h)
	before := readFile(c, name)
	c.docker(h, words...)
	c.await(name+" has changed", func() (string, bool) { return "", !bytes.Equal(readFile(c, name), before) })
}

// unlock gives a manager an unlock key.
func (c *cluster) unlock(h *lab.Host, key string) (string, error) {
	command := h.Command(context.Background(), filepath.Join(c.programs.cli, "docker"), "swarm", "unlock")
	command.Stdin = strings.NewReader(key + "\n")
	out, err := command.CombinedOutput()
	return string(out), err
}

func (s secrets) notIn(c *cluster, where string, text []byte) {
	c.t.Helper()
	for secret, what := range s {
		if bytes.Contains(text, []byte(secret)) {
			c.t.Errorf("%s has %s", where, what)
		}
	}
}

func readFile(c *cluster, name string) []byte {
	text, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		c.t.Error(err)
	}
	return text
}
