package peer_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
	"github.com/swarmd/swarmd/real/ca"
	"github.com/swarmd/swarmd/real/peer"
)

// A swarm is what its nodes agree on: a root, and who knows which secret.
type swarm struct {
	root, key []byte
	digest    string

	mu     sync.Mutex
	secret string
	admits map[string]state.NodeID // by key digest
}

func newSwarm(t *testing.T) *swarm {
	t.Helper()
	made := make(chan engine.AuthorityCreated, 1)
	a := ca.New(func(e engine.Event) { made <- e.(engine.AuthorityCreated) })
	a.CreateAuthority("c")
	a.Close()
	e := <-made
	if e.Err != nil {
		t.Fatal(e.Err)
	}
	return &swarm{root: e.Cert, key: e.Key, digest: e.Digest, secret: "secret", admits: map[string]state.NodeID{}}
}

func (s *swarm) credentials(t *testing.T, id state.NodeID, manager bool, expiry time.Duration, now time.Time) *ca.Credentials {
	t.Helper()
	key, err := ca.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := ca.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(request, ca.Subject{Node: id, Cluster: "c", Manager: manager}, expiry, s.root, s.key, now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ca.NewCredentials(cert, key, s.root)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// certify is a manager's answer to requests: who knows the secret is let in, once.
func (s *swarm) certify(_ context.Context, r peer.Request) (peer.Certified, *control.Failed) {
	key, err := ca.KeyDigest(r.Signing)
	if err != nil {
		return peer.Certified{}, &control.Failed{Kind: control.Invalid, Message: err.Error()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.Node
	if id == "" {
		if r.Secret != s.secret {
			return peer.Certified{}, &control.Failed{Kind: control.Invalid, Message: "A valid join token is necessary to join this cluster"}
		}
		if s.admits[string(key)] == "" {
			s.admits[string(key)] = state.NodeID(fmt.Sprintf("n%d", len(s.admits)))
		}
		id = s.admits[string(key)]
	}
	cert, err := ca.Sign(r.Signing, ca.Subject{Node: id, Cluster: "c"}, 0, s.root, s.key, time.Now())
	if err != nil {
		return peer.Certified{}, &control.Failed{Kind: control.Internal, Message: err.Error()}
	}
	return peer.Certified{Node: id, Cluster: "c", Certificate: cert, Root: s.root}, nil
}

// spoken is where the sessions begin that are used to see whether one is heard.
const spoken = 990_000

// A host is one node's connections, and what came over them.
type host struct {
	*peer.Peers
	id       state.NodeID
	addr     string
	received chan string
	spoken   uint64
	called   func(context.Context, peer.Party, control.Call) control.Answer
	log      *lines

	mu     sync.Mutex
	roster membership.Roster
}

// lines is a log that can be waited for.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
	more *sync.Cond
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.more.Broadcast()
	return l.text.Write(b)
}

// await waits until the log has the text.
func (l *lines) await(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !strings.Contains(l.text.String(), text) {
		l.more.Wait()
	}
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// start runs a node; a manager listens.
func (s *swarm) start(t *testing.T, c *ca.Credentials) *host {
	t.Helper()
	h := &host{id: c.Node, received: make(chan string, 100), log: &lines{}}
	h.log.more = sync.NewCond(&h.log.mu)
	h.called = func(_ context.Context, from peer.Party, call control.Call) control.Answer {
		return control.Created{ID: fmt.Sprintf("%s called %T", from.Node, call)}
	}
	h.Peers = peer.New(peer.Config{
		Certificate: func() (*tls.Certificate, error) { return &c.TLS, nil },
		Verify: func(chain []*x509.Certificate, _ peer.Purpose) (peer.Party, error) {
			subject, err := c.Verify(chain, time.Now())
			if err != nil {
				return peer.Party{}, err
			}
			_, digest, err := ca.Claimed(chain)
			return peer.Party{
				Bearer:  membership.Bearer{Node: subject.Node, Manager: subject.Manager, Key: digest, Version: subject.Version},
				Cluster: subject.Cluster, Expires: chain[0].NotAfter,
			}, err
		},
		Judge: func(b membership.Bearer) membership.Verdict {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.roster.Judge(b)
		},
		Received: func(from state.NodeID, m wire.Message) { h.received <- fmt.Sprintf("%s: %+v", from, m) },
		Called: func(ctx context.Context, from peer.Party, call control.Call) control.Answer {
			return h.called(ctx, from, call)
		},
		Certify: s.certify,
		Stream: func(_ context.Context, from peer.Party, request []byte, stream net.Conn) error {
			_, err := fmt.Fprintf(stream, "%s for %s", request, from.Node)
			return err
		},
		Logger: slog.New(slog.NewTextHandler(h.log, nil)),
	})
	t.Cleanup(h.Close)
	if c.Manager {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h.addr = listener.Addr().String()
		h.Serve(listener)
	}
	return h
}

func (s *swarm) node(t *testing.T, id state.NodeID, manager bool) *host {
	t.Helper()
	return s.start(t, s.credentials(t, id, manager, 0, time.Now()))
}

// reach has h keep links to managers, and waits for them.
func (h *host) reach(managers ...*host) {
	var all []wire.Manager
	for _, m := range managers {
		all = append(all, wire.Manager{ID: m.id, Addr: m.addr})
	}
	h.Reach(h.id, all)
	for _, m := range managers {
		h.speak(m)
	}
}

// speak says something to a manager until it is heard: what is sent without a link
// is lost.
func (h *host) speak(m *host) {
	h.spoken++
	h.say(m, wire.Quit{Session: spoken + h.spoken})
}

// say repeats a message to a manager until that has it.
func (h *host) say(m *host, said wire.Message) {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case got := <-m.received:
			if got == fmt.Sprintf("%s: %+v", h.id, said) {
				return
			}
		case <-again.C:
			h.Send(m.id, said)
		}
	}
}

func (h *host) expect(t *testing.T, want string) {
	t.Helper()
	got := <-h.received
	for strings.Contains(got, fmt.Sprintf("{Session:%d", spoken/1000)) { // see speak
		got = <-h.received
	}
	if got != want {
		t.Errorf("%s received %s, want %s", h.id, got, want)
	}
}

// Messages go both ways over a worker's link, and to any manager.
func TestMessages(t *testing.T) {
	s := newSwarm(t)
	m1, m2, w := s.node(t, "m1", true), s.node(t, "m2", true), s.node(t, "w", false)
	w.reach(m1, m2)
	m1.Send("w", wire.Bye{Session: 1, Leader: "m2"})
	w.expect(t, "m1: {Session:1 Leader:m2 Addr: Term:0 Removed:false}")
	w.Send("m2", wire.Hello{Session: 2, ManagerAddr: "w:2377"}) // a worker's is no manager's address
	m2.expect(t, "w: {Session:2 Addr: ManagerAddr: Certificate:0 Description:{Hostname: Platform:{Architecture: OS:} Resources:{NanoCPUs:0 MemoryBytes:0 GenericResources:[]} Engine:{EngineVersion: Labels:map[] Plugins:[]} TLSInfo:{TrustRoot: CertIssuerSubject:[] CertIssuerPublicKey:[]} CSIInfo:[]} DataPath:}")
	m1.Send("nobody", wire.Bye{}) // is lost
	m1.Send("m2", wire.Bye{})     // there is no link
	m2.reach(m1)
	m1.Send("m2", wire.Bye{Session: 3})
	m2.expect(t, "m1: {Session:3 Leader: Addr: Term:0 Removed:false}")
}

// A worker that speaks as a manager loses its link, and is told of.
func TestRoles(t *testing.T) {
	s := newSwarm(t)
	m, w := s.node(t, "m", true), s.node(t, "w", false)
	w.reach(m)
	w.Send("m", wire.Assign{Session: 1})
	m.log.await("a worker may not do that")
	w.speak(m) // over the next link
	if _, err := w.Call(t.Context(), "m", control.NodeList{}); err != nil && !errors.Is(err, peer.ErrLost) {
		t.Fatal(err)
	} else if err == nil {
		t.Error("a worker's call was answered")
	}
	if conn, err := w.Raft().Dial("m", m.addr, time.Minute); err == nil {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a worker has a stream of the log")
		}
		_ = conn.Close()
	}
	m.log.await("has no part in the log")
}

// A manager's call is made by another and answered, also when it is large; one that
// is on its way when the link ends is lost.
func TestCalls(t *testing.T) {
	s := newSwarm(t)
	m1, m2 := s.node(t, "m1", true), s.node(t, "m2", true)
	if _, err := m1.Call(t.Context(), "m2", control.NodeList{}); !errors.Is(err, peer.ErrUnlinked) {
		t.Errorf("without a link: %v", err)
	}
	m1.reach(m2)
	answer, err := m1.Call(t.Context(), "m2", control.NodeList{Filters: control.Filters{"name": {strings.Repeat("x", 3<<20)}}})
	if created, ok := answer.(control.Created); err != nil || !ok || created.ID != "m1 called control.NodeList" {
		t.Fatalf("%v %v", answer, err)
	}
	large := control.Created{ID: strings.Repeat("y", 4<<20)}
	m2.called = func(context.Context, peer.Party, control.Call) control.Answer { return large }
	if answer, err = m1.Call(t.Context(), "m2", control.NodeList{}); err != nil || answer.(control.Created).ID != large.ID {
		t.Fatalf("a large answer: %v", err)
	}
	// Back over the same link.
	if answer, err = m2.Call(t.Context(), "m1", control.NodeInspect{}); err != nil || answer.(control.Created).ID != "m2 called control.NodeInspect" {
		t.Fatalf("%v %v", answer, err)
	}
	began := make(chan bool, 2)
	m2.called = func(ctx context.Context, _ peer.Party, _ control.Call) control.Answer {
		began <- true
		<-ctx.Done() // it is told that the caller has gone
		return control.Done{}
	}
	failed := make(chan error, 1)
	go func() {
		_, err := m1.Call(context.Background(), "m2", control.NodeList{})
		failed <- err
	}()
	<-began
	m2.Unserve()
	m1.Relink()
	if err := <-failed; !errors.Is(err, peer.ErrLost) {
		t.Errorf("the link was ended: %v", err)
	}
}

// Many calls at a time are told apart.
func TestManyCalls(t *testing.T) {
	s := newSwarm(t)
	m1, m2 := s.node(t, "m1", true), s.node(t, "m2", true)
	m1.reach(m2)
	m2.called = func(_ context.Context, _ peer.Party, call control.Call) control.Answer {
		return control.Created{ID: call.(control.NodeInspect).Ref}
	}
	var calls sync.WaitGroup
	for i := range 200 {
		calls.Go(func() {
			ref := strings.Repeat("z", i*100)
			if answer, err := m1.Call(t.Context(), "m2", control.NodeInspect{Ref: ref}); err != nil || answer.(control.Created).ID != ref {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	calls.Wait()
}

// A stream comes from the node that was asked, by way of whichever link there is.
func TestStreams(t *testing.T) {
	s := newSwarm(t)
	m, w := s.node(t, "m", true), s.node(t, "w", false)
	if _, err := m.OpenStream(t.Context(), "w", []byte("logs")); !errors.Is(err, peer.ErrUnlinked) {
		t.Errorf("without a link: %v", err)
	}
	w.reach(m)
	stream, err := m.OpenStream(t.Context(), "w", []byte("logs"))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := stream.Read(b)
	if string(b[:n]) != "logs for m" {
		t.Errorf("%q %v", b[:n], err)
	}
	_ = stream.Close()
	// A worker may not ask for one.
	if stream, err := w.OpenStream(t.Context(), "m", nil); err == nil {
		t.Error("a worker has a stream of a manager's", stream)
	}
	m.log.await("a worker may not do that")
}

// Managers have byte streams for the log, while there is a log.
func TestRaft(t *testing.T) {
	s := newSwarm(t)
	m1, m2 := s.node(t, "m1", true), s.node(t, "m2", true)
	there := m2.Raft()
	out, err := m1.Raft().Dial("m2", m2.addr, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	in, err := there.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := in.Read(b); err != nil || string(b) != "hello" {
		t.Errorf("%q %v", b, err)
	}
	if _, err := m1.Raft().Dial("m3", m2.addr, time.Minute); err == nil || !strings.Contains(err.Error(), "is node m2, and not m3") {
		t.Errorf("another node at the address: %v", err)
	}
	_ = there.Close()
	if _, err := there.Accept(); err == nil {
		t.Error("a closed log takes connections")
	}
	if out, err = m1.Raft().Dial("m2", m2.addr, time.Minute); err == nil {
		if _, err := out.Read(b); err == nil {
			t.Error("there is no log, and somebody answers")
		}
	}
}

// A manager that goes and comes back is linked again; what is dead and does not
// say so is found out.
func TestLinksComeBack(t *testing.T) {
	s := newSwarm(t)
	c := s.credentials(t, "m", true, 0, time.Now())
	m, w := s.start(t, c), s.node(t, "w", false)
	w.reach(m)
	m.Close()
	w.log.await("there is no link to the manager")
	again := s.start(t, c)
	w.reach(again) // at another address
}

// A host that accepts and says nothing more is no link for long.
func TestSilence(t *testing.T) {
	s := newSwarm(t)
	m, w := s.node(t, "m", true), s.node(t, "w", false)
	// Between the two is somebody who can stop passing bytes on.
	middle, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer middle.Close()
	silent, direct := make(chan struct{}), m.addr
	go func() {
		for {
			conn, err := middle.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", direct)
			if err != nil {
				return
			}
			pass := func(a, b net.Conn) {
				buffer := make([]byte, 4096)
				for {
					n, err := a.Read(buffer)
					select {
					case <-silent:
						return // and the connection stays
					default:
					}
					if _, werr := b.Write(buffer[:n]); err != nil || werr != nil {
						_ = b.Close()
						return
					}
				}
			}
			go pass(conn, to)
			go pass(to, conn)
		}
	}()
	m.addr = middle.Addr().String()
	w.reach(m)
	close(silent)
	began := time.Now()
	w.log.await("i/o timeout")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v to find that nobody speaks", took)
	}
	m.addr = direct
	w.reach(m)
}
