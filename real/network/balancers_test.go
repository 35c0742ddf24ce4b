package network

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A transaction is what nftables tell of one: the chains that it made, and the
// elements of maps.
type transaction struct {
	chains   []string
	elements [][]byte
	anew     bool // the table is new, too
}

// transactions listens to the nftables of a namespace, and returns what tells of those
// since.
func transactions(t *testing.T, ns netns.NsHandle) func() []transaction {
	t.Helper()
	fd := -1
	err := inside(ns, func() (err error) {
		if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	})
	t.Cleanup(func() { unix.Close(fd) })
	if err != nil {
		t.Fatal(err)
	}
	return func() (all []transaction) {
		t.Helper()
		var now transaction
		buffer := make([]byte, 1<<20)
		for {
			n, _, err := unix.Recvfrom(fd, buffer, 0)
			if err == unix.EAGAIN {
				return all
			}
			messages, parsed := syscall.ParseNetlinkMessage(buffer[:max(n, 0)])
			if err != nil || parsed != nil {
				t.Fatal(err, parsed)
			}
			for _, m := range messages {
				const header = 4 // nfgenmsg
				switch m.Header.Type & 0xff {
				case unix.NFT_MSG_NEWTABLE:
					now.anew = true
				case unix.NFT_MSG_NEWCHAIN:
					now.chains = append(now.chains, attributeOf(m.Data[header:], unix.NFTA_CHAIN_NAME))
				case unix.NFT_MSG_NEWSETELEM:
					now.elements = append(now.elements, bytes.Clone(m.Data))
				case unix.NFT_MSG_NEWGEN:
					all, now = append(all, now), transaction{}
				}
			}
		}
	}
}

// attributeOf is the text of a kind in a list of attributes.
func attributeOf(list []byte, kind uint16) string {
	for len(list) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(list))
		if n < unix.SizeofRtAttr || n > len(list) {
			return ""
		}
		if binary.NativeEndian.Uint16(list[2:]) == kind {
			return strings.TrimRight(string(list[unix.SizeofRtAttr:n]), "\x00")
		}
		list = list[min(len(list), (n+3)&^3):]
	}
	return ""
}

// A packet under way looks a balancer up in what is in force from now on, and its rules
// in what was: those of one that has just been made are none, and the packet would pass
// untranslated. So a balancer is there before anything leads to it.
func TestBalancersComeFirst(t *testing.T) {
	c := newCluster(t)
	places := []place{{host: 0, task: "client", mesh: "10.0.0.10", on: []string{"red=10.0.1.2,fd00:1::2"}}}
	for i := range 4 {
		places = append(places, place{host: 1, task: fmt.Sprintf("web.%d", i), mesh: fmt.Sprintf("10.0.0.%d", 11+i), on: []string{fmt.Sprintf("red=10.0.1.%d,fd00:1::%d", 3+i, 3+i)}})
	}
	with := func(n int) []string {
		text := twoNetworks + "\npublish 8080/tcp"
		four, six := "\nvip red 10.0.1.100", "\nvip red fd00:1::100"
		for i := range n {
			text += fmt.Sprintf(" 10.0.0.%d:80", 11+i)
			four += fmt.Sprintf(" 10.0.1.%d", 3+i)
			six += fmt.Sprintf(" fd00:1::%d", 3+i)
		}
		return plans(places, text+four+six)
	}
	c.must(with(1))
	l := c.hosts[0]
	told := map[string]func() []transaction{"the host": transactions(t, l.host), "the task": transactions(t, l.task("client"))}
	for _, n := range []int{2, 3, 4, 1} {
		c.must(with(n))
	}
	for where, all := range told {
		made, led := 0, 0
		for _, x := range all() {
			if x.anew {
				t.Errorf("%s: the table was made anew", where)
			}
			made += len(x.chains)
			for _, e := range x.elements {
				if bytes.Contains(e, []byte("lb")) {
					led++
				}
				for _, name := range x.chains {
					if bytes.Contains(e, []byte(name+"\x00")) {
						t.Errorf("%s: one transaction makes %s and leads to it", where, name)
					}
				}
			}
		}
		if made == 0 || led == 0 {
			t.Errorf("%s: %d balancers were made and %d ports or services led to one", where, made, led)
		}
	}
}
