package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/real/ca"
	"github.com/swarmd/swarmd/real/lab"
)

// Three hosts change everything that they trust each other by: the root is rotated,
// certificates expire while hosts are off, a manager is demoted, and the swarm goes
// on without the other manager. Containers do not notice what happens to nodes that
// are there.
func TestTrust(t *testing.T) {
	c := newCluster(t, 3)
	a, b, w := c.hosts[0], c.hosts[1], c.hosts[2]
	c.docker(a, "swarm", "init", "--advertise-addr", a.Addr)
	c.docker(b, "swarm", "join", "--token", c.docker(a, "swarm", "join-token", "-q", "manager"), a.Addr)
	c.docker(w, "swarm", "join", "--token", c.docker(a, "swarm", "join-token", "-q", "worker"), a.Addr)
	c.docker(a, "service", "create", "--no-resolve-image", "-d", "--name", "web", "--mode", "global", "busybox", "sh", "-c", "trap exit TERM; sleep 100000 & wait")
	c.replicas(a, "3/3")
	running := c.containers(a, b, w)

	c.rotate(a, b)
	c.unmoved(running, "the root was rotated", a, b, w)
	root := newAuthority(t)
	c.rotateTo(a, root)
	c.onlyRoot(root.cert)
	c.unmoved(running, "the root was rotated again", a, b, w)
	c.expire(root, a, b, w)
	c.demote(a, b, w)
	c.replicas(a, "3/3")
	running = c.containers(a, b, w) // who is off is taken for dead, and what it ran is replaced
	c.refound(a, b, w)
	c.unmoved(running, "the swarm was founded anew", b, w)
}

// rotate rotates the root, asked for at a manager that follows.
func (c *cluster) rotate(a, b *lab.Host) {
	c.t.Helper()
	c.t.Log("the root is rotated")
	before := c.docker(a, "swarm", "ca")
	certs := map[string][]byte{}
	for _, h := range c.hosts {
		certs[h.Name] = certificate(c, h)
	}
	c.docker(b, "swarm", "ca", "--rotate", "--quiet")
	after := c.docker(a, "swarm", "ca")
	if after == before {
		c.t.Error("the root is the old one")
	}
	c.onlyRoot([]byte(after))
	for _, h := range c.hosts {
		if bytes.Equal(certificate(c, h), certs[h.Name]) {
			c.t.Errorf("%s has its old certificate", h.Name)
		}
	}
}

// onlyRoot waits until every host trusts one root alone and has a certificate of it.
func (c *cluster) onlyRoot(root []byte) {
	c.t.Helper()
	root = bytes.TrimSpace(root)
	for _, h := range c.hosts {
		c.await(h.Name+" trusts the new root alone", func() (string, bool) {
			has := bytes.TrimSpace(readFile(c, filepath.Join(certificates(h), "swarm-root-ca.crt")))
			return string(has), bytes.Equal(has, root)
		})
		signer, leaf := parse(c, root), parse(c, certificate(c, h))
		pool := x509.NewCertPool()
		pool.AddCert(signer)
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			c.t.Errorf("the certificate of %s: %v", h.Name, err)
		}
	}
	c.nodesTrust(c.hosts[0])
}

// nodesTrust waits until the swarm says that no node has to renew anything.
func (c *cluster) nodesTrust(h *lab.Host) {
	c.t.Helper()
	want := strings.TrimSpace(strings.Repeat("Ready\n", len(c.hosts)))
	c.until(h, is(want), "node", "ls", "--format", "{{.TLSStatus}}")
}

// expire has hosts be off for longer than their certificates live: one of them, and
// then all. It is told by what they find on disk when they are back.
func (c *cluster) expire(root authority, a, b, w *lab.Host) {
	c.t.Helper()
	c.t.Log("a worker is off until its certificate has expired, and the root was rotated once more")
	c.kill(w)
	root.age(c, w)
	c.nodes(a, "swarm-02 Down")
	root = newAuthority(c.t)
	c.rotateTo(a, root, "--detach") // else the CLI waits for the worker too
	c.until(a, is("false"), "info", "--format", "{{.Swarm.Cluster.RootRotationInProgress}}")
	c.restart(w)
	c.nodes(a, "swarm-02 Ready")
	c.fresh(w)
	c.onlyRoot(root.cert)
	c.t.Log("and all hosts at once")
	for _, h := range c.hosts {
		c.kill(h)
	}
	for _, h := range c.hosts {
		root.age(c, h)
	}
	for _, h := range c.hosts {
		c.restart(h)
	}
	c.whole(b, 1)
	for _, h := range c.hosts {
		c.fresh(h)
	}
}

// age gives a host, whose daemon does not run, the certificate that it would have had
// it been off until that has expired: of the same key, saying the same.
func (a authority) age(c *cluster, h *lab.Host) {
	c.t.Helper()
	has := stolen(c.t, h)
	signing, err := ca.NewRequest(has.Key)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := ca.Sign(signing, has.Subject, 2*time.Minute, a.cert, a.key, time.Now().Add(-3*time.Minute))
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(certificates(h), "swarm-node.crt"), cert, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// fresh waits until a host has a certificate that is good.
func (c *cluster) fresh(h *lab.Host) {
	c.t.Helper()
	c.await(h.Name+" has a certificate that is good", func() (string, bool) {
		until := parse(c, certificate(c, h)).NotAfter
		return until.String(), until.After(time.Now())
	})
}

// demote makes a manager a worker, whose old certificate is worth no more than that,
// and a manager again.
func (c *cluster) demote(a, b, w *lab.Host) {
	c.t.Helper()
	c.t.Log("a manager is demoted, and promoted again")
	x := &attacker{cluster: c, from: w, worker: stolen(c.t, b)}
	c.docker(a, "node", "demote", "swarm-01")
	c.until(b, is("false"), "info", "--format", "{{.Swarm.ControlAvailable}}")
	manager := func(x *attacker) *ca.Credentials { return x.worker }
	for _, one := range []attack{
		{"a demoted manager, the log", knock{protocol: "swarmd-raft/1", shows: manager}, "has no part in the log: the node's role was changed after the certificate was issued"},
		{"a demoted manager, a call", knock{protocol: "swarmd-control/1", shows: manager, says: call(control.NodeList{})}, "a worker may not do that: the node's role was changed after the certificate was issued"},
	} {
		x.try(one, a)
	}
	c.docker(a, "node", "promote", "swarm-01")
	c.whole(b, 1)
}

// refound loses a manager of two for ever, and has the other go on alone.
func (c *cluster) refound(a, b, w *lab.Host) {
	c.t.Helper()
	c.t.Log("the quorum is lost, and the swarm founded anew with the manager that is left")
	c.kill(a)
	c.await("there is no leader", func() (string, bool) {
		out, err := c.programs.docker(b, "node", "ls")
		return out, err != nil && strings.Contains(err.Error(), "does not have a leader")
	})
	c.docker(b, "swarm", "init", "--force-new-cluster", "--advertise-addr", b.Addr)
	c.nodes(b, "swarm-00 Down", "swarm-01 Ready Leader", "swarm-02 Ready")
	c.docker(b, "service", "create", "--no-resolve-image", "-d", "--name", "after", "--replicas", "2", "--replicas-max-per-node", "1", "busybox", "sleep", "100000")
	c.until(b, is("2/2 (max 1 per node)"), "service", "ls", "--filter", "name=after", "--format", "{{.Replicas}}")
	c.until(w, is("1"), "info", "--format", "{{len .Swarm.RemoteManagers}}")
	c.t.Log("the manager that was lost comes back, and is a worker")
	c.restart(a)
	c.nodes(b, "swarm-00 Ready")
	c.until(a, is("false"), "info", "--format", "{{.Swarm.ControlAvailable}}")
	c.replicas(b, "3/3")
}

// containers are those of the service, by host, with the time of their start.
func (c *cluster) containers(hosts ...*lab.Host) map[string]string {
	c.t.Helper()
	found := map[string]string{}
	for _, h := range hosts {
		id := ""
		c.until(h, func(out string) bool { id = out; return len(strings.Fields(out)) == 1 }, "ps", "-q", "--no-trunc", "--filter", "label=com.docker.swarm.service.name=web")
		found[h.Name] = c.docker(h, "inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.State.Pid}}", id)
	}
	return found
}

// unmoved fails if a container is another than before, on any of the hosts.
func (c *cluster) unmoved(before map[string]string, when string, hosts ...*lab.Host) {
	c.t.Helper()
	for name, now := range c.containers(hosts...) {
		if now != before[name] {
			c.t.Errorf("when %s, the container of %s was %s and is %s", when, name, before[name], now)
		}
	}
}

func certificates(h *lab.Host) string { return filepath.Join(h.Data, "swarm", "certificates") }

func certificate(c *cluster, h *lab.Host) []byte {
	return readFile(c, filepath.Join(certificates(h), "swarm-node.crt"))
}

// parse reads the first certificate of a PEM.
func parse(c *cluster, text []byte) *x509.Certificate {
	c.t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		c.t.Fatalf("%q is no PEM", text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert
}
