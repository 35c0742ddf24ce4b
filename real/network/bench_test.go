package network

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
)

// thousand is a plan of 1000 published ports with 10 backends each.
func thousand() netplan.Plan {
	p := netplan.Plan{Gateway: netip.MustParsePrefix("172.20.0.1/16")}
	for s := range 1000 {
		published := netplan.Published{Protocol: "tcp", Port: uint16(10000 + s)}
		for i := range 10 {
			a := netip.AddrFrom4([4]byte{172, 20, byte(s / 25), byte(1 + s%25*10 + i)})
			published.Backends = append(published.Backends, netplan.Backend{Address: a, Port: 80})
		}
		p.Published = append(p.Published, published)
	}
	return p
}

// cpu reports the processor time that the loop took, the kernel's included: on a
// busy machine it says more than time does. Benchmarks that stop the timer
// count what they do meanwhile too.
func cpu(b *testing.B) func() {
	used := func() int64 {
		var r unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return r.Utime.Nano() + r.Stime.Nano()
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

func (l *lab) converge(p netplan.Plan) {
	w, err := want(p, l.net.config, l.net.last)
	if err != nil {
		l.t.Fatal(err)
	}
	l.net.last = &w
	if failed, err := l.net.kernel.converge(w); err != nil || len(failed) > 0 {
		l.t.Fatal(failed, err)
	}
}

// BenchmarkRebuild makes the table anew, 1000 ports of 10 backends.
func BenchmarkRebuild(b *testing.B) {
	l := newLab(b)
	p := thousand()
	l.converge(p)
	defer cpu(b)()
	for b.Loop() {
		b.StopTimer()
		if err := l.net.kernel.table.remove(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		l.converge(p)
	}
}

// BenchmarkAdopt reads it back and finds it right, as after a restart.
func BenchmarkAdopt(b *testing.B) {
	l := newLab(b)
	p := thousand()
	l.converge(p)
	defer cpu(b)()
	for b.Loop() {
		l.net.kernel.forget()
		l.converge(p)
	}
}

// toggle measures a backend that is taken away and put back.
func (l *lab) toggle(b *testing.B, p netplan.Plan, at *netplan.Published) {
	l.converge(p)
	all := at.Backends
	defer cpu(b)()
	for i := 0; b.Loop(); i++ {
		at.Backends = all
		if i%2 == 0 {
			at.Backends = all[1:]
		}
		l.converge(p)
	}
}

// BenchmarkOneBackend takes one backend of 10000 away, or puts it back.
func BenchmarkOneBackend(b *testing.B) {
	l := newLab(b)
	p := thousand()
	l.toggle(b, p, &p.Published[500])
}

// BenchmarkOneBackendOfFew does the same on a node with 20 ports.
func BenchmarkOneBackendOfFew(b *testing.B) {
	l := newLab(b)
	p := thousand()
	p.Published = p.Published[:20]
	l.toggle(b, p, &p.Published[10])
}

// BenchmarkOneBackendOfManyNodes does the same on one node of 500.
func BenchmarkOneBackendOfManyNodes(b *testing.B) {
	l := newLab(b)
	p := thousand()
	p.Published = p.Published[:20]
	p.Mesh.Underlay, p.Mesh.Port, p.Mesh.Subnet = netip.AddrFrom4([4]byte{10, 1, 0, 1}), 4789, netip.MustParsePrefix("10.0.0.0/16")
	for i := range 499 {
		p.Mesh.Peers = append(p.Mesh.Peers, netplan.Peer{
			Underlay: netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(2 + i%250)}), Address: netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(2 + i%250)}),
		})
	}
	l.toggle(b, p, &p.Published[10])
}

func endpoints(n int) netplan.Plan {
	p := netplan.Plan{Gateway: netip.MustParsePrefix("172.20.0.1/16")}
	for i := range n {
		p.Endpoints = append(p.Endpoints, netplan.Endpoint{
			Task: state.TaskID(fmt.Sprintf("task%d", i)), Address: netip.AddrFrom4([4]byte{172, 20, byte(i / 250), byte(2 + i%250)}),
		})
	}
	return p
}

// BenchmarkEndpoint makes an endpoint beside 50 others.
func BenchmarkEndpoint(b *testing.B) {
	l := newLab(b)
	less, more := endpoints(50), endpoints(51)
	defer cpu(b)()
	for b.Loop() {
		b.StopTimer()
		l.converge(less)
		b.StartTimer()
		l.converge(more)
	}
}

// BenchmarkSweep compares 50 endpoints and the table with the plan.
func BenchmarkSweep(b *testing.B) {
	l := newLab(b)
	p := endpoints(50)
	p.Published = thousand().Published[:50]
	l.converge(p)
	w, err := want(p, l.net.config, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer cpu(b)()
	for b.Loop() {
		if lines, err := l.net.kernel.difference(w, false); err != nil || len(lines) > 0 {
			b.Fatal(lines, err)
		}
	}
}
