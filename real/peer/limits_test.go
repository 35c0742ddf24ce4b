package peer

import (
	"fmt"
	"net"
	"testing"
)

// A caller is a connection from an address, of which nothing else is known.
type caller struct {
	net.Conn
	addr net.Addr
}

func (c *caller) RemoteAddr() net.Addr { return c.addr }

func from(text string) *caller {
	addr, err := net.ResolveTCPAddr("tcp", text)
	if err != nil {
		panic(err)
	}
	return &caller{addr: addr}
}

// One address gets so many and no more, whoever its connections say they are from.
func TestLimitOfAddress(t *testing.T) {
	for name, next := range map[string]func(i int) string{
		"a port":              func(i int) string { return fmt.Sprintf("10.0.0.1:%d", 1000+i) },
		"IPv4 in IPv6":        func(i int) string { return fmt.Sprintf("[::ffff:10.0.0.1]:%d", 1000+i) },
		"an address of a /64": func(i int) string { return fmt.Sprintf("[2001:db8:1:2::%x]:1000", i+1) },
	} {
		l := newLimits()
		var last func()
		for i := range pendingOfAddrMax {
			release, surplus := l.admit(from(next(i)))
			if surplus != nil {
				t.Fatalf("%s: connection %d is too many", name, i)
			}
			last = release
		}
		one := from(next(pendingOfAddrMax))
		if _, surplus := l.admit(one); surplus != one {
			t.Errorf("%s: %d connections are not too many", name, pendingOfAddrMax+1)
		}
		last()
		last() // once only
		if _, surplus := l.admit(from(next(0))); surplus != nil {
			t.Errorf("%s: there is no room where one has gone", name)
		}
		if _, surplus := l.admit(one); surplus != one {
			t.Errorf("%s: what has gone once has made room for two", name)
		}
	}
}

// However many addresses hold all the room there is, one that comes from elsewhere
// gets in; the addresses that have the most give up their oldest.
func TestLimitOfAll(t *testing.T) {
	l := newLimits()
	for i := range pendingMax {
		addr := fmt.Sprintf("10.0.%d.1:%d", i%16, 1000+i) // 16 each
		if _, surplus := l.admit(from(addr)); surplus != nil {
			t.Fatalf("connection %d of %d is too many", i, pendingMax)
		}
	}
	release, surplus := l.admit(from("10.1.0.1:1"))
	if surplus == nil || surplus.RemoteAddr().String() != "10.0.0.1:1000" {
		t.Errorf("the newcomer displaces %v", surplus)
	}
	if same := from("10.0.5.1:9"); surplus == nil {
		t.Error("there is more room than there is")
	} else if _, surplus := l.admit(same); surplus != same {
		t.Errorf("one of those with the most displaces %v", surplus)
	}
	release()
	if _, surplus := l.admit(from("10.1.0.2:1")); surplus != nil {
		t.Errorf("there is room, and %v is displaced", surplus.RemoteAddr())
	}
	if len(l.oldest) != pendingMax {
		t.Errorf("%d wait, %d are counted", pendingMax, len(l.oldest))
	}
}
