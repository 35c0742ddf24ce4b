package network

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netns"
)

// lookUp asks the task's name server and returns the answer as a line.
func (l *lab) lookUp(ns netns.NsHandle, network, name, kind string) string {
	l.t.Helper()
	return l.lookUpFor(patience, ns, network, name, kind)
}

// lookUpFor asks once, and waits for the answer for so long.
func (l *lab) lookUpFor(wait time.Duration, ns netns.NsHandle, network, name, kind string) string {
	l.t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), dns.StringToType[kind])
	conn, err := l.dial(ns, network, "127.0.0.11:53")
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	client := dns.Client{Net: network, Timeout: wait}
	m, _, err := client.ExchangeWithConn(q, &dns.Conn{Conn: conn})
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, r := range m.Answer {
		out = append(out, strings.Fields(r.String())[4])
	}
	slices.Sort(out)
	if m.Truncated {
		out = append(out, "truncated")
	}
	return strings.Join(append([]string{dns.RcodeToString[m.Rcode]}, out...), " ")
}

// outsideServer is a name server on the wire that knows every name below example.
func (l *lab) outsideServer(ns netns.NsHandle, address string) {
	l.t.Helper()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		if !strings.HasSuffix(q.Question[0].Name, "example.") {
			m.Rcode = dns.RcodeNameError
		} else if q.Question[0].Qtype == dns.TypeA {
			n := 1
			if strings.HasPrefix(q.Question[0].Name, "big.") {
				n = 100
			}
			for i := range n {
				header := dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}
				m.Answer = append(m.Answer, &dns.A{Hdr: header, A: []byte{198, 51, 100, byte(i)}})
			}
		}
		if w.RemoteAddr().Network() == "udp" {
			m.Truncate(dns.MinMsgSize)
		}
		_ = w.WriteMsg(m)
	})
	for _, network := range []string{"udp", "tcp"} {
		server := &dns.Server{Net: network, Addr: address + ":53", Handler: handler}
		ready := make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		go func() {
			_ = inside(ns, server.ListenAndServe)
		}()
		select {
		case <-ready:
		case <-time.After(patience):
			l.t.Fatal("the name server on the wire does not start")
		}
		l.t.Cleanup(func() { _ = server.Shutdown() })
	}
}

// A task finds by name what is on its networks, and by its node's name servers
// what is in the world.
func TestNames(t *testing.T) {
	c := newCluster(t)
	l := c.hosts[0]
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver "+clusterClient+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.config.Resolvers = file
	l.restart()
	l.outsideServer(c.client, clusterClient)
	l.outsideServer(c.far, farClient)
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, " 10.0.1.%d", 100+i)
	}
	places := []place{
		{host: 0, task: "one", on: []string{"red=10.0.1.2,fd00:1::2"}},
		{host: 0, task: "two", on: []string{"green=10.0.2.2", "red=10.0.1.3,fd00:1::3"}},
		{host: 0, task: "own", on: []string{"dns=" + farClient, "green=10.0.2.3"}},
		{host: 0, task: "closed", on: []string{"blue=10.0.1.2"}},
	}
	text := twoNetworks + `
		name red web 10.0.1.50 fd00:1::50
		name red tasks.web 10.0.1.2 10.0.1.3
		name red web.1.xyz 10.0.1.2 fd00:1::2
		name red many` + many.String() + `
		name green web 10.0.2.50
		name blue web 10.0.1.60`
	plan := plans(places, text)[0]
	l.must(plan)
	one, two, closed := l.task("one"), l.task("two"), l.task("closed")
	for _, x := range []struct {
		what             string
		from             netns.NsHandle
		network          string
		name, kind, want string
	}{
		{"a service", one, "udp", "web", "A", "NOERROR 10.0.1.50"},
		{"by TCP", one, "tcp", "web", "A", "NOERROR 10.0.1.50"},
		{"its IPv6 address", one, "udp", "web", "AAAA", "NOERROR fd00:1::50"},
		{"in other letters", one, "udp", "wEb", "A", "NOERROR 10.0.1.50"},
		{"with its network", one, "udp", "web.red-net", "A", "NOERROR 10.0.1.50"},
		{"what it has not", one, "udp", "tasks.web", "AAAA", "NOERROR"},
		{"nor this", one, "udp", "web", "MX", "NOERROR"},
		{"its tasks", one, "udp", "tasks.web", "A", "NOERROR 10.0.1.2 10.0.1.3"},
		{"whose address it is", one, "udp", "2.1.0.10.in-addr.arpa", "PTR", "NOERROR web.1.xyz.red-net."},
		{"whose IPv6 address it is", one, "udp", "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa", "PTR", "NOERROR web.1.xyz.red-net."},
		{"the first of its networks", two, "udp", "web", "A", "NOERROR 10.0.2.50"},
		{"the second, by name", two, "udp", "web.red-net", "A", "NOERROR 10.0.1.50"},
		{"a network that it is not on", closed, "udp", "tasks.web", "A", "SERVFAIL"},
		{"its own", closed, "udp", "web", "A", "NOERROR 10.0.1.60"},
		{"the world", one, "udp", "www.example", "A", "NOERROR 198.51.100.0"},
		{"the world, by TCP", one, "tcp", "www.example", "A", "NOERROR 198.51.100.0"},
		{"what nobody knows", one, "udp", "nowhere.test", "A", "NXDOMAIN"},
		{"whose address nobody knows", one, "udp", "9.9.9.9.in-addr.arpa", "PTR", "NXDOMAIN"},
		{"the world, by a server of its own", l.task("own"), "udp", "www.example", "A", "NOERROR 198.51.100.0"},
		{"the world, from an internal network", closed, "udp", "www.example", "A", "SERVFAIL"},
	} {
		if got := l.lookUp(x.from, x.network, x.name, x.kind); got != x.want {
			t.Errorf("%s: %s %s: got %q, want %q", x.what, x.kind, x.name, got, x.want)
		}
	}
	for _, name := range []string{"many", "big.example"} {
		if got := l.lookUp(one, "udp", name, "A"); !strings.HasSuffix(got, "truncated") {
			t.Errorf("%s: got %q by UDP, which has not the room", name, got)
		}
		if got := len(strings.Fields(l.lookUp(one, "tcp", name, "A"))); got != 101 {
			t.Errorf("%s: got %d addresses by TCP", name, got-1)
		}
	}
	// A program of the task may want port 53 for itself.
	l.serve(one, "own server", 53)

	// Names come and go while the task runs, and are there again after a restart.
	l.must(plan + "\nname red new 10.0.1.77")
	if got := l.lookUp(one, "udp", "new", "A"); got != "NOERROR 10.0.1.77" {
		t.Errorf("a new name: got %q", got)
	}
	l.must(plan)
	if got := l.lookUp(one, "udp", "new", "A"); got != "NXDOMAIN" {
		t.Errorf("a name that has gone: got %q", got)
	}
	for range 2 {
		l.net.write() // what is done once the plan has been answered
		l.restart()
		if got := l.lookUp(one, "udp", "web", "A"); got != "NOERROR 10.0.1.50" {
			t.Errorf("after a restart, before the first plan: got %q", got)
		}
	}
	l.must(plan)
	if got := l.lookUp(one, "udp", "web", "A"); got != "NOERROR 10.0.1.50" {
		t.Errorf("after a restart: got %q", got)
	}
	if on, off := l.net.NameServer("one"), l.net.NameServer("nobody"); on.String() != "127.0.0.11" || off.IsValid() {
		t.Errorf("the name server of one on an overlay is %s, of another %s", on, off)
	}
}
