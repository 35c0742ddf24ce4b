package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/wire"
	"github.com/swarmd/swarmd/real/ca"
	"github.com/swarmd/swarmd/real/lab"
)

// promptMax is how long an API call may take while a swarm is attacked. Without a
// disturbance it is milliseconds; behind a connection that says nothing it would be
// more than that.
const promptMax = 3 * time.Second

// A crowd is so many connections at a time.
const (
	crowdAddrs = 20
	crowdEach  = 100
)

// An attack is one connection to a manager that must come to nothing.
type attack struct {
	name string
	knock
	why string // in the manager's log, on a line with the attacker's address
}

// attacks are those of who has a worker's certificate, and tokens that there are no
// more, or nothing at all.
func attacks() []attack {
	worker := func(x *attacker) *ca.Credentials { return x.worker }
	expired := func(x *attacker) *ca.Credentials { return x.expired }
	foreign := func(x *attacker) *ca.Credentials { return x.foreign }
	text := func(s string) func(*attacker) []byte { return func(*attacker) []byte { return []byte(s) } }
	const (
		noCertificate = "tls: client didn't provide a certificate"
		otherSwarm    = "x509: certificate signed by unknown authority"
		hasExpired    = "x509: certificate has expired or is not yet valid"
		noToken       = "A valid join token is necessary to join this cluster"
		workerMay     = "a worker may not do that"
		noFrame       = "that is no frame"
		noTLS         = "tls: first record does not look like a TLS handshake"
		noRequest     = "a request for a certificate cannot be read"
	)
	return []attack{
		{"no certificate, a link", knock{protocol: "swarmd-control/1"}, noCertificate},
		{"no certificate, the log", knock{protocol: "swarmd-raft/1"}, noCertificate},
		{"no certificate, a stream", knock{protocol: "swarmd-stream/1"}, noCertificate},
		{"no certificate, another certificate", knock{protocol: "swarmd-renew/1"}, noCertificate},
		{"another swarm's manager, a link", knock{protocol: "swarmd-control/1", shows: foreign}, otherSwarm},
		{"another swarm's manager, the log", knock{protocol: "swarmd-raft/1", shows: foreign}, otherSwarm},
		{"another swarm's manager, another certificate", knock{protocol: "swarmd-renew/1", shows: foreign}, otherSwarm},
		{"an expired manager's, a link", knock{protocol: "swarmd-control/1", shows: expired}, hasExpired},
		{"an expired manager's of another key, the log", knock{protocol: "swarmd-raft/1", shows: expired}, hasExpired},
		{"an expired manager's of another key, another certificate", knock{protocol: "swarmd-renew/1", shows: expired}, hasExpired},

		{"a worker, the log", knock{protocol: "swarmd-raft/1", shows: worker}, "has no part in the log: it is a worker"},
		{"a worker, a manager's call", knock{protocol: "swarmd-control/1", shows: worker, says: call(control.NodeList{})}, workerMay},
		{"a worker, a manager's message", knock{protocol: "swarmd-control/1", shows: worker, says: message(wire.Assign{Session: 1})}, workerMay},
		{"a worker, a stream from the manager", knock{protocol: "swarmd-control/1", shows: worker, says: func(*attacker) []byte { return frame(5, make([]byte, 16)) }}, workerMay},
		{"a worker, a stream that nobody asked for", knock{protocol: "swarmd-stream/1", shows: worker, says: func(*attacker) []byte { return frame(5, make([]byte, 16)) }}, "nobody waits for it"},

		{"an old worker's token", knock{protocol: "swarmd-join/1", says: asks(func(x *attacker) string { return secretOf(x.workerToken) })}, noToken},
		{"an old manager's token", knock{protocol: "swarmd-join/1", says: asks(func(x *attacker) string { return secretOf(x.managerToken) })}, noToken},
		{"a guessed token", knock{protocol: "swarmd-join/1", says: asks(func(*attacker) string { return strings.Repeat("0", 25) })}, noToken},
		{"no token", knock{protocol: "swarmd-join/1", says: asks(func(*attacker) string { return "" })}, noToken},
		{"a join replayed", knock{raw: func(x *attacker) []byte { return x.recorded }}, "tls: bad record MAC"},

		{"TLS 1.2", knock{protocol: "swarmd-control/1", version: tls.VersionTLS12, shows: worker}, "tls: client offered only unsupported versions"},
		{"TLS 1.2, to join", knock{protocol: "swarmd-join/1", version: tls.VersionTLS12}, "tls: client offered only unsupported versions"},
		{"another protocol", knock{protocol: "h2", shows: worker}, "tls: client requested unsupported application protocols"},
		{"no protocol", knock{shows: worker}, "it does not say what the connection is for"},
		{"HTTP", knock{raw: text("GET / HTTP/1.1\r\nHost: swarm\r\n\r\n")}, noTLS},
		{"zeros", knock{raw: text(strings.Repeat("\x00", 4096))}, noTLS},
		{"a TLS record that is too long", knock{raw: text("\x16\x03\x01\xff\xff" + strings.Repeat("x", 70000))}, "tls: oversized record"},
		{"a link, garbage", knock{protocol: "swarmd-control/1", shows: worker, says: text("\x00\x00\x00\x01\x7f")}, noFrame},
		{"a link, a frame of 4 GiB", knock{protocol: "swarmd-control/1", shows: worker, says: text("\xff\xff\xff\xff\x02")}, noFrame},
		{"a join, garbage", knock{protocol: "swarmd-join/1", says: text("\x00\x00\x00\x03\x07{]")}, noRequest},
		{"a join, a frame of 4 GiB", knock{protocol: "swarmd-join/1", says: text("\xff\xff\xff\xff\x07")}, noRequest},
	}
}

// removed are the attacks of who has the certificate of a node that was removed.
func removed() []attack {
	worker := func(x *attacker) *ca.Credentials { return x.worker }
	const why = "the node was removed from the swarm"
	return []attack{
		{"a removed node, a report", knock{protocol: "swarmd-control/1", shows: worker, says: message(wire.Report{Session: 1})}, why},
		{"a removed node, a call", knock{protocol: "swarmd-control/1", shows: worker, says: call(control.NodeList{})}, why},
		{"a removed node, the log", knock{protocol: "swarmd-raft/1", shows: worker}, why},
		{"a removed node, a stream", knock{protocol: "swarmd-stream/1", shows: worker}, why},
		{"a removed node, another certificate", knock{protocol: "swarmd-renew/1", shows: worker, says: asks(func(*attacker) string { return "" })}, "this node is not a member of the swarm: it was removed"},
	}
}

func secretOf(token string) string { return token[strings.LastIndex(token, "-")+1:] }

// call is one of a manager's, as it passes it on.
func call(c control.Call) func(*attacker) []byte {
	return func(x *attacker) []byte {
		data, err := control.EncodeCall(c)
		if err != nil {
			x.t.Fatal(err)
		}
		return frame(3, append([]byte{0, 0, 0, 0, 0, 0, 0, 1, 1}, data...))
	}
}

func message(m wire.Message) func(*attacker) []byte {
	return func(*attacker) []byte { return frame(2, wire.Append(nil, m)) }
}

// A swarm is attacked from one of its hosts, by who has more and more of what a
// member has. Nothing is had of it, every refusal is in the log with where it came
// from and why, and the API answers as ever.
func TestAttacks(t *testing.T) {
	c := newCluster(t, 3)
	a, b, w := c.hosts[0], c.hosts[1], c.hosts[2]
	x := c.besiege(a, b, w)

	t.Log("by who has a worker's certificate and old tokens")
	for _, one := range attacks() {
		x.try(one, a, b)
	}
	t.Log("the worker is removed, and its certificate is worth nothing")
	c.docker(a, "node", "rm", "--force", "swarm-02")
	c.until(w, is("inactive"), "info", "--format", "{{.Swarm.LocalNodeState}}")
	for _, one := range removed() {
		x.try(one, a, b)
	}

	t.Log("the other way round: a host is to join a swarm that is not the one of its token")
	token := c.docker(a, "swarm", "join-token", "-q", "worker")
	other := "SWMTKN-1-" + strings.Repeat("1", 50) + "-" + secretOf(token)
	c.refused(w, "remote CA does not match fingerprint. Expected: ", "swarm", "join", "--token", other, a.Addr)
	c.logged(w, "this node was not let in", a.Addr+":2377", "remote CA does not match fingerprint")
	c.logged(a, "from="+w.Addr+":", "remote error: tls: bad certificate")

	t.Logf("%d connections that say nothing, from %d addresses", crowdAddrs*crowdEach, crowdAddrs)
	x.besetFrom(w)
	ended := make(chan error, 1)
	go func() { ended <- x.crowd(a.Addr, crowdEach) }()
	c.logged(a, "from=10.77.1.", "too many connections have not said who they are")
	c.prompt(a, b)
	if got := c.docker(w, "swarm", "join", "--token", token, a.Addr); got != "This node joined a swarm as a worker." {
		t.Error(got)
	}
	c.prompt(a, b)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	c.whole(b, 1)
}

// besiege makes a swarm of two managers and a worker, and an attacker at the
// worker's place. The root is one whose key the test knows.
func (c *cluster) besiege(a, b, w *lab.Host) *attacker {
	c.t.Helper()
	c.docker(a, "swarm", "init", "--advertise-addr", a.Addr)
	c.docker(b, "swarm", "join", "--token", c.docker(a, "swarm", "join-token", "-q", "manager"), a.Addr)
	c.docker(w, "swarm", "join", "--token", c.docker(a, "swarm", "join-token", "-q", "worker"), a.Addr)
	root := newAuthority(c.t)
	c.rotateTo(a, root)

	x := &attacker{cluster: c, from: w, worker: stolen(c.t, w)}
	manager := stolen(c.t, b).Subject
	x.expired = root.credentials(c.t, manager, 3*time.Minute, 2*time.Minute)
	x.foreign = newAuthority(c.t).credentials(c.t, manager, 0, time.Hour)
	x.workerToken = c.docker(a, "swarm", "join-token", "-q", "worker")
	x.managerToken = c.docker(a, "swarm", "join-token", "-q", "manager")
	x.record(b.Addr, secretOf(x.workerToken))
	c.docker(a, "swarm", "join-token", "--rotate", "-q", "worker")
	c.docker(a, "swarm", "join-token", "--rotate", "-q", "manager")
	return x
}

// rotateTo has a swarm's root be one of the test's own, and all have it, unless the
// CLI is told not to wait for that.
func (c *cluster) rotateTo(a *lab.Host, root authority, flags ...string) {
	c.t.Helper()
	dir := c.t.TempDir()
	cert, key := filepath.Join(dir, "root.crt"), filepath.Join(dir, "root.key")
	for name, text := range map[string][]byte{cert: root.cert, key: root.key} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	c.docker(a, append([]string{"swarm", "ca", "--rotate", "--quiet", "--ca-cert", cert, "--ca-key", key}, flags...)...)
}

// try makes one attack on each of the managers.
func (x *attacker) try(one attack, managers ...*lab.Host) {
	x.t.Helper()
	for _, m := range managers {
		local, said, err := one.at(x, m.Addr)
		if err != nil {
			x.t.Fatalf("%s, at %s: %v", one.name, m.Name, err)
		}
		if strings.Contains(string(said), `"Certificate":"`) {
			x.t.Errorf("%s: %s has answered %q", one.name, m.Name, said)
		}
		x.logged(m, "from="+local.String(), one.why)
	}
	x.prompt(managers...)
}

// logged waits until a host's log has a line with all the texts.
func (c *cluster) logged(h *lab.Host, texts ...string) {
	c.t.Helper()
	c.await(fmt.Sprintf("the log of %s has a line with all of %q", h.Name, texts), func() (string, bool) {
		for line := range strings.Lines(strings.ReplaceAll(string(readFile(c, h.LogFile())), `\"`, `"`)) {
			if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
				return "", true
			}
		}
		return "", false
	})
}

// prompt has the API of every host answer soon.
func (c *cluster) prompt(hosts ...*lab.Host) {
	c.t.Helper()
	for _, h := range hosts {
		began := time.Now()
		c.docker(h, "node", "ls", "-q")
		if took := time.Since(began); took > promptMax {
			c.t.Errorf("%s has answered after %v", h.Name, took)
		}
	}
}

// besetFrom gives a host the addresses that a crowd comes from.
func (x *attacker) besetFrom(h *lab.Host) {
	x.t.Helper()
	x.from = h
	for i, m := range x.hosts[:2] {
		x.ip(m, "addr", "add", fmt.Sprintf("10.77.1.%d/24", 250+i), "dev", "eth0") // so that it can answer
	}
	for n := range crowdAddrs {
		x.ip(h, "addr", "add", fmt.Sprintf("10.77.1.%d/24", 1+n), "dev", "eth0")
	}
}

func (x *attacker) ip(h *lab.Host, words ...string) {
	x.t.Helper()
	words = append([]string{"-n", filepath.Base(h.NetworkNamespace())}, words...)
	if out, err := exec.Command("ip", words...).CombinedOutput(); err != nil {
		x.t.Fatalf("ip %v: %v: %s", words, err, out)
	}
}
