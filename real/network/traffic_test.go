package network

import (
	"fmt"
	"testing"

	"github.com/vishvananda/netns"
)

const website = `
	gateway 172.20.0.1/16
	endpoint web.1 172.20.0.2
	endpoint web.2 172.20.0.3
	endpoint web.3 172.20.0.4
	publish 8080/tcp 172.20.0.2:80 172.20.0.3:80 172.20.0.4:80
	publish 8080/udp 172.20.0.2:80
	publish 9000/tcp
	publish 9000/udp
	publish 192.0.2.1:7000/tcp 172.20.0.3:80
	publish 127.0.0.1:7001/tcp 172.20.0.3:80
	publish 192.0.2.1:7002/tcp
`

func (l *lab) website() {
	l.t.Helper()
	l.must(website)
	for i := range 3 {
		name := fmt.Sprintf("web.%d", i+1)
		l.serve(l.task(name), name, 80)
	}
}

// Whoever may connect to a published port reaches a task, and the task knows
// who it is where that can be.
func TestPublishedPortsAnswer(t *testing.T) {
	l := newLab(t)
	l.website()
	l.serve(l.client, "outside", 5000)
	l.serve(l.host, "host", 9000)
	l.serve(l.host, "host", 7000)
	web := func(i int) netns.NsHandle { return l.task(fmt.Sprintf("web.%d", i)) }
	for _, c := range []struct {
		what             string
		from             netns.NsHandle
		network, address string
		want             string
	}{
		{"a client elsewhere, seen as itself", l.client, "udp4", hostAddress + ":8080", "web.1 " + clientAddress},
		{"the host, by its address", l.host, "udp4", hostAddress + ":8080", "web.1 " + hostAddress},
		{"the host, by loopback", l.host, "udp4", "127.0.0.1:8080", "web.1 172.20.0.1"},
		{"the host, by the bridge's address", l.host, "udp4", "172.20.0.1:8080", "web.1 172.20.0.1"},
		{"another container", web(2), "udp4", hostAddress + ":8080", "web.1 172.20.0.1"},
		{"another container, by the gateway", web(2), "udp4", "172.20.0.1:8080", "web.1 172.20.0.1"},
		{"the very container", web(1), "udp4", hostAddress + ":8080", "web.1 172.20.0.1"},
		{"a container out into the world, as the host", web(1), "tcp4", clientAddress + ":5000", "outside " + hostAddress},
		{"and by UDP", web(1), "udp4", clientAddress + ":5000", "outside " + hostAddress},

		{"published on one address", l.client, "tcp4", hostAddress + ":7000", "web.2 " + clientAddress},
		{"published on one address, at another", l.host, "tcp4", "127.0.0.1:7000", "host 127.0.0.1"},
		{"published on loopback, from the host", l.host, "tcp4", "127.0.0.1:7001", "web.2 172.20.0.1"},
		{"published on loopback, from elsewhere", l.client, "tcp4", hostAddress + ":7001", "refused"},
		{"no backend, on one address", l.client, "tcp4", hostAddress + ":7002", "refused"},

		{"no backend", l.client, "tcp4", hostAddress + ":9000", "refused"},
		{"no backend, by loopback", l.host, "tcp4", "127.0.0.1:9000", "refused"},
		{"no backend, from a container", web(1), "tcp4", hostAddress + ":9000", "refused"},
		{"no backend, UDP", l.client, "udp4", hostAddress + ":9000", "refused"},
		{"no backend, UDP, by loopback", l.host, "udp4", "127.0.0.1:9000", "refused"},
		{"not published", l.client, "tcp4", hostAddress + ":8081", "refused"},
	} {
		if got := l.ask(c.from, c.network, c.address); got != c.want {
			t.Errorf("%s: %s %s: got %q, want %q", c.what, c.network, c.address, got, c.want)
		}
	}
}

// Each of n backends takes an n-th of the connections, whoever makes them.
func TestConnectionsAreBalanced(t *testing.T) {
	l := newLab(t)
	l.website()
	for _, c := range []struct {
		from    netns.NsHandle
		address string
	}{{l.client, hostAddress + ":8080"}, {l.host, "127.0.0.1:8080"}, {l.task("web.1"), hostAddress + ":8080"}} {
		count := map[string]int{}
		for range 12 {
			var name, from string
			fmt.Sscan(l.ask(c.from, "tcp4", c.address), &name, &from)
			count[name]++
		}
		for i := range 3 {
			if name := fmt.Sprintf("web.%d", i+1); count[name] != 4 {
				t.Errorf("%s: of 12 connections %s took %d, want 4 (%v)", c.address, name, count[name], count)
			}
		}
	}
}
