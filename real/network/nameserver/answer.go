package nameserver

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine/netplan"
)

// lifetimeSeconds is how long an answer may be remembered, as in Docker.
const lifetimeSeconds = 600

// A zone is a Zone to look things up in.
type zone struct {
	label     string
	names     map[string][]netip.Addr
	addresses map[netip.Addr]string // by the name that belongs to an address most
}

func newZone(z Zone) *zone {
	out := &zone{label: strings.ToLower(z.Label), names: make(map[string][]netip.Addr, len(z.Names)), addresses: make(map[netip.Addr]string)}
	for _, n := range z.Names {
		out.names[n.Name] = n.Addresses
		for _, a := range n.Addresses {
			if other, is := out.addresses[a]; !is || closer(n, netplan.Name{Name: other, Addresses: out.names[other]}, a) {
				out.addresses[a] = n.Name
			}
		}
	}
	return out
}

// closer says whose name says more of an address: that of fewer addresses of its
// kind; of two with as many, the longer, as a container's is longer than its
// service's.
func closer(a, b netplan.Name, of netip.Addr) bool {
	return cmp.Or(
		cmp.Compare(alike(a.Addresses, of), alike(b.Addresses, of)), cmp.Compare(len(b.Name), len(a.Name)), strings.Compare(a.Name, b.Name),
	) < 0
}

func alike(list []netip.Addr, of netip.Addr) (n int) {
	for _, a := range list {
		if a.BitLen() == of.BitLen() {
			n++
		}
	}
	return n
}

// ServeDNS implements [dns.Handler].
func (l *listener) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	overUDP := w.RemoteAddr().Network() == "udp"
	reply := l.reply(q)
	if reply == nil {
		reply = l.forward(q, w.RemoteAddr().Network())
	}
	if overUDP {
		reply.Truncate(room(q))
	}
	if err := w.WriteMsg(reply); err != nil {
		l.server.config.Logger.Debug("an answer could not be sent", "task", l.get().ID, "err", err)
	}
}

// room is how long an answer by UDP may be.
func room(q *dns.Msg) int {
	if o := q.IsEdns0(); o != nil {
		return max(int(o.UDPSize()), dns.MinMsgSize)
	}
	return dns.MinMsgSize
}

// reply answers what the swarm knows; nil is what it does not.
func (l *listener) reply(q *dns.Msg) *dns.Msg {
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		return failure(q, dns.RcodeNotImplemented)
	}
	question := q.Question[0]
	if question.Qclass != dns.ClassINET {
		return nil
	}
	zones := l.zones()
	if question.Qtype == dns.TypePTR {
		if a, ok := reverse(question.Name); ok {
			return replyName(q, zones, a)
		}
	}
	addresses, known := lookUp(zones, question.Name)
	if !known {
		return nil
	}
	m := success(q)
	for _, a := range addresses {
		header := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: lifetimeSeconds}
		switch {
		case question.Qtype == dns.TypeA && a.Is4():
			m.Answer = append(m.Answer, &dns.A{Hdr: header, A: a.AsSlice()})
		case question.Qtype == dns.TypeAAAA && a.Is6():
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: header, AAAA: a.AsSlice()})
		}
	}
	// Whoever takes the first is to get one or another.
	rand.Shuffle(len(m.Answer), func(i, j int) { m.Answer[i], m.Answer[j] = m.Answer[j], m.Answer[i] })
	return m
}

func (l *listener) zones() []*zone {
	l.server.mu.RLock()
	defer l.server.mu.RUnlock()
	var out []*zone
	for _, id := range l.get().Networks {
		if z, is := l.server.zones[id]; is {
			out = append(out, z)
		}
	}
	return out
}

// lookUp finds a name on the first network that has it; it may name the network.
func lookUp(zones []*zone, name string) ([]netip.Addr, bool) {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	for _, z := range zones {
		if a, is := z.names[name]; is {
			return a, true
		}
	}
	for _, z := range zones {
		if short, is := strings.CutSuffix(name, "."+z.label); is && z.label != "" {
			if a, is := z.names[short]; is {
				return a, true
			}
		}
	}
	return nil, false
}

func replyName(q *dns.Msg, zones []*zone, a netip.Addr) *dns.Msg {
	for _, z := range zones {
		name, is := z.addresses[a]
		if !is {
			continue
		}
		if z.label != "" {
			name += "." + z.label
		}
		m := success(q)
		header := dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: lifetimeSeconds}
		m.Answer = append(m.Answer, &dns.PTR{Hdr: header, Ptr: dns.Fqdn(name)})
		return m
	}
	return nil
}

// reverse reads the address off a name below in-addr.arpa or ip6.arpa.
func reverse(name string) (netip.Addr, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if digits, is := strings.CutSuffix(name, ".in-addr.arpa"); is {
		parts := strings.Split(digits, ".")
		slices.Reverse(parts)
		a, err := netip.ParseAddr(strings.Join(parts, "."))
		return a, err == nil && a.Is4()
	}
	digits, is := strings.CutSuffix(name, ".ip6.arpa")
	parts := strings.Split(digits, ".")
	if !is || len(parts) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(parts)
	var b strings.Builder
	for i, p := range parts {
		if i > 0 && i%4 == 0 {
			b.WriteByte(':')
		}
		b.WriteString(p)
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil && a.Is6() && len(digits) == 63
}

func success(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable, m.Compress = true, true
	return m
}

func failure(q *dns.Msg, code int) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(q, code)
	m.RecursionAvailable = true
	return m
}

// identity is which file is at a path.
func identity(path string) (device, inode uint64, err error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return 0, 0, err
	}
	return s.Dev, s.Ino, nil
}
