package network

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/vishvananda/netlink"
	"pgregory.net/rapid"
)

// The scripts of testdata: a plan goes in, what the kernel then holds comes out.
//
//	plan     applies a plan and shows maps, endpoints and the bridge
//	rules    shows everything else of the table
//	restart  begins anew, as another process
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/plans", func(t *testing.T, path string) {
		l := newLab(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "plan":
				a := l.apply(d.Input)
				var out strings.Builder
				for _, task := range sorted(a.Failed) {
					fmt.Fprintf(&out, "failed %s: %s\n", task, a.Failed[task])
				}
				if a.Err != nil {
					fmt.Fprintf(&out, "error: %v\n", a.Err)
				}
				return out.String() + l.dump()
			case "rules":
				return l.dumpRules()
			case "restart":
				l.restart()
				return "ok\n"
			}
			d.Fatalf(t, "there is no command %s", d.Cmd)
			return ""
		})
	})
}

func (l *lab) dumpRules() string {
	c, err := l.net.kernel.table.read()
	if err != nil {
		l.t.Fatal(err)
	}
	if !c.there {
		return "nothing\n"
	}
	return regexp.MustCompile(` #[0-9a-f]{8}\b`).ReplaceAllString(strings.Join(c.lines, "\n")+"\n", "")
}

func (l *lab) dump() string {
	var out strings.Builder
	k := l.net.kernel
	link, err := k.findLink(l.config.Bridge)
	if err != nil {
		l.t.Fatal(err)
	}
	if link != nil {
		has, err := addresses(k.host.link, link)
		if err != nil {
			l.t.Fatal(err)
		}
		fmt.Fprintf(&out, "bridge %s %v %s\n", l.config.Bridge, has, link.Attrs().HardwareAddr)
	}
	files, err := listNamespaces(l.config.NetnsDir)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasPrefix(name, ".") {
			continue // not a task's
		}
		l.in(l.task(name), func(h *netlink.Handle) error {
			inner, err := h.LinkByName(innerName)
			if err != nil {
				return err
			}
			has, err := addresses(h, inner)
			fmt.Fprintf(&out, "endpoint %s %v %s\n", name, has, inner.Attrs().HardwareAddr)
			return err
		})
	}
	c, err := k.table.read()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, p := range sortedPorts(c.ports) {
		fmt.Fprintf(&out, "published %s %v\n", p, c.ports[p])
	}
	for _, line := range c.lines {
		if strings.HasPrefix(line, "chain lb") && !strings.Contains(line, " rule ") {
			out.WriteString(line + "\n")
		}
	}
	for _, line := range c.damaged {
		out.WriteString("damaged " + line + "\n")
	}
	if out.Len() == 0 {
		return "nothing\n"
	}
	return out.String()
}

// Arranging keeps what is wanted in its place, and every backend once.
func TestArrange(t *testing.T) {
	backend := rapid.Custom(func(t *rapid.T) netip.AddrPort {
		last := rapid.ByteRange(1, 9).Draw(t, "address")
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), 80)
	})
	rapid.Check(t, func(t *rapid.T) {
		present := rapid.SliceOfN(backend, 0, 8).Draw(t, "present")
		want := rapid.SliceOfN(backend, 0, 8).Draw(t, "want")
		got := arrange(present, want)
		a, b := slices.SortedFunc(slices.Values(got), netip.AddrPort.Compare), slices.SortedFunc(slices.Values(want), netip.AddrPort.Compare)
		if !slices.Equal(a, b) {
			t.Fatalf("%v is not an arrangement of %v", got, want)
		}
		if again := arrange(got, want); !slices.Equal(again, got) {
			t.Fatalf("%v became %v, and nothing else is wanted", got, again)
		}
		kept, keepable := 0, 0
		places := present[:min(len(present), len(want))]
		for i, p := range places {
			if got[i] == p {
				kept++
			}
			if count(places[:i], p) < count(want, p) {
				keepable++
			}
		}
		if kept != keepable {
			t.Fatalf("%d of %d stayed in place: %v to %v", kept, keepable, present, got)
		}
	})
}

func count(list []netip.AddrPort, b netip.AddrPort) (n int) {
	for _, x := range list {
		if x == b {
			n++
		}
	}
	return n
}
