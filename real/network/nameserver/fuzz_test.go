package nameserver

import (
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/swarmd/swarmd/engine/netplan"
)

// A writer keeps what is answered.
type writer struct {
	dns.ResponseWriter // nothing else of it is used
	from               net.Addr
	answer             *dns.Msg
}

func (w *writer) RemoteAddr() net.Addr           { return w.from }
func (w *writer) WriteMsg(answer *dns.Msg) error { w.answer = answer; return nil }

func asked(name string, kind uint16, change func(*dns.Msg)) []byte {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), kind)
	if change != nil {
		change(q)
	}
	text, err := q.Pack()
	if err != nil {
		return nil
	}
	return text
}

// FuzzQuestion asks whatever comes in the form of a message: there is an answer, it
// is that question's, and it has the length that whoever asks can take in.
func FuzzQuestion(f *testing.F) {
	for _, text := range [][]byte{
		nil,
		make([]byte, 12),
		asked("web", dns.TypeA, nil),
		asked("WEB.Back", dns.TypeAAAA, nil),
		asked("tasks.web", dns.TypeA, func(q *dns.Msg) { q.SetEdns0(1232, true) }),
		asked("tasks.web", dns.TypeA, func(q *dns.Msg) { q.SetEdns0(0, false) }),
		asked("2.1.0.10.in-addr.arpa", dns.TypePTR, nil),
		asked("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa", dns.TypePTR, nil),
		asked("1.2.3.in-addr.arpa", dns.TypePTR, nil),
		asked(".", dns.TypeNS, nil),
		asked("web", dns.TypeANY, func(q *dns.Msg) { q.Question[0].Qclass = dns.ClassCHAOS }),
		asked("web", dns.TypeA, func(q *dns.Msg) { q.Opcode = dns.OpcodeUpdate }),
		asked("web", dns.TypeA, func(q *dns.Msg) { q.Question = append(q.Question, q.Question[0]) }),
		asked("web", dns.TypeA, func(q *dns.Msg) { q.Response = true }),
	} {
		f.Add(text, true)
		f.Add(text, false)
	}
	server := New(Config{})
	many := netplan.Name{Name: "tasks.web"}
	for i := range 200 {
		many.Addresses = append(many.Addresses, netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}))
	}
	server.zones["red"] = newZone(Zone{Network: "red", Label: "back", Names: []netplan.Name{
		{Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("fd00:1::2")}}, many,
	}})
	asks := &listener{server: server, slots: make(chan struct{}, ofTaskMax), task: Task{ID: "one", Networks: []string{"red", "gone"}, Alone: true}}
	f.Fuzz(func(t *testing.T, text []byte, byTCP bool) {
		q := new(dns.Msg)
		if q.Unpack(text) != nil {
			return // the library answers that
		}
		w := &writer{from: &net.UDPAddr{}}
		if byTCP {
			w.from = &net.TCPAddr{}
		}
		asks.ServeDNS(w, q)
		a := w.answer
		if a == nil || !a.Response || a.Id != q.Id {
			t.Fatalf("%v\nis answered\n%v", q, a)
		}
		packed, err := a.Pack()
		if err != nil {
			t.Fatalf("%v\nis answered with what cannot be sent, %v:\n%v", q, err, a)
		}
		if len(packed) > dns.MaxMsgSize || !byTCP && len(packed) > room(q) {
			t.Fatalf("%v\nis answered with %d bytes, which are more than %d:\n%v", q, len(packed), room(q), a)
		}
	})
}
