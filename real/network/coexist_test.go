package network

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/google/nftables"
)

// A firewall of the host that drops what is forwarded is told of, with what it has
// to let through; and a port that another program has is named.
func TestHostInTheWay(t *testing.T) {
	l := newLab(t)
	var log bytes.Buffer
	l.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	l.restart()
	if log.Len() > 0 {
		t.Errorf("this kernel lacks something: %s", &log)
	}
	var table *nftables.Table
	tables := func(f func(c *nftables.Conn)) {
		err := inside(l.host, func() error {
			conn, err := openTables()
			if err != nil {
				return err
			}
			defer conn.CloseLasting()
			f(conn)
			return conn.Flush()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	tables(func(c *nftables.Conn) {
		table = c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "filter"})
		drop := nftables.ChainPolicyDrop
		c.AddChain(&nftables.Chain{
			Table: table, Name: "FORWARD", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward,
			Priority: nftables.ChainPriorityFilter, Policy: &drop,
		})
	})
	l.must("gateway 172.20.0.1/16")
	if want := `table=filter chain=FORWARD interfaces="swarmd0 ing-*"`; !strings.Contains(log.String(), want) {
		t.Errorf("%s is not in %q", want, &log)
	}
	tables(func(c *nftables.Conn) { c.DelTable(table) })

	var taken net.PacketConn
	err := inside(l.host, func() (err error) {
		taken, err = net.ListenPacket("udp4", ":4789")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	const plan = "gateway 172.20.0.1/16\nmesh " + hostAddress + " 4096 10.0.0.0/24 10.0.0.201\n" +
		"network red 4097 10.0.1.1/24\nendpoint red.1 172.20.0.2 red=10.0.1.2"
	a := l.apply(plan)
	if want := "another program of this host uses UDP port 4789"; a.Err == nil || !strings.Contains(a.Err.Error(), want) || !strings.Contains(a.Failed["red.1"], want) {
		t.Errorf("the answer is %v", a)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	l.must(plan)
}

// What the kernel lacks is told, and a host without what the mesh needs is in none.
func TestWhatTheKernelLacks(t *testing.T) {
	newLab(t) // as root only
	lacks := func() error { return errors.New("not supported") }
	has := func() error { return nil }
	for _, x := range []struct {
		what   string
		wishes []wish
		want   lacking
		told   string
	}{
		{"this kernel", wishes(), lacking{}, ""},
		{"no VXLAN", []wish{{feature{"VXLAN", lacks}, "no mesh", lacking{mesh: true}}, {feature{"more", has}, "nothing", lacking{}}}, lacking{mesh: true}, "the kernel lacks VXLAN: no mesh"},
		{"no zones", []wish{{feature{"zones", lacks}, "one answer", lacking{zones: true}}, {feature{"VXLAN", has}, "no mesh", lacking{mesh: true}}}, lacking{zones: true}, "the kernel lacks zones: one answer"},
		{"no hashes", []wish{{feature{"VXLAN", has}, "no mesh", lacking{mesh: true}}, {feature{"hashes", lacks}, "none sticky", lacking{}}}, lacking{}, "the kernel lacks hashes: none sticky"},
	} {
		var log bytes.Buffer
		if got := probeWishes(x.wishes, slog.New(slog.NewTextHandler(&log, nil))); got != x.want {
			t.Errorf("%s: it lacks %v", x.what, got)
		}
		if got := log.String(); !strings.Contains(got, x.told) || (got == "") != (x.told == "") {
			t.Errorf("%s: it is told %q", x.what, got)
		}
	}
}
