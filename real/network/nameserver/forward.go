package nameserver

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	forwardTimeout  = 4 * time.Second  // for one name server
	forwardPatience = 10 * time.Second // for all of them
	upstreamMax     = 3                // name servers that are asked, one after the other, as resolv.conf(5) has it
	forwardedBytes  = 4096             // of an answer by UDP
)

// forward asks others. What nobody answers is a failure of the server, so that
// the task asks again.
func (l *listener) forward(q *dns.Msg, network string) *dns.Msg {
	t := l.get()
	if t.Alone {
		return failure(q, dns.RcodeServerFailure)
	}
	for _, slots := range []chan struct{}{l.slots, l.server.slots} {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			return failure(q, dns.RcodeServerFailure)
		}
	}
	servers := t.Upstream
	if len(servers) == 0 {
		servers = l.server.resolvers.read()
	}
	ctx, cancel := context.WithTimeout(l.server.running, forwardPatience)
	defer cancel()
	var last *dns.Msg
	for _, server := range servers[:min(len(servers), upstreamMax)] {
		m, err := l.server.ask(ctx, q, network, server)
		if err != nil {
			l.server.config.Logger.Debug("a name server did not answer", "server", server, "task", t.ID, "err", err)
			continue
		}
		if m.Rcode != dns.RcodeServerFailure && m.Rcode != dns.RcodeRefused {
			return m
		}
		last = m
	}
	if last != nil {
		return last
	}
	return failure(q, dns.RcodeServerFailure)
}

// ask asks one name server, under a number of its own.
func (s *Server) ask(ctx context.Context, q *dns.Msg, network string, server netip.Addr) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	conn, err := s.config.Dial(ctx, network, netip.AddrPortFrom(server, s.config.Port).String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	asked := q.Copy()
	asked.Id = dns.Id()
	client := dns.Client{Net: network, Timeout: forwardTimeout, UDPSize: forwardedBytes}
	m, _, err := client.ExchangeWithConnContext(ctx, asked, &dns.Conn{Conn: conn, UDPSize: forwardedBytes})
	if err != nil {
		return nil, err
	}
	if len(m.Question) != 1 || !strings.EqualFold(m.Question[0].Name, q.Question[0].Name) || m.Question[0].Qtype != q.Question[0].Qtype {
		return nil, fmt.Errorf("%s answered another question", server)
	}
	m.Id = q.Id
	return m, nil
}

// resolvers are the node's own name servers, as a file has them.
type resolvers struct {
	file string

	mu      sync.Mutex
	changed time.Time
	servers []netip.Addr
}

func newResolvers(file string) *resolvers {
	if file == "" {
		file = "/etc/resolv.conf"
	}
	return &resolvers{file: file}
}

// read looks at the file again if it has changed.
func (r *resolvers) read() []netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := os.Stat(r.file)
	if err != nil || info.ModTime().Equal(r.changed) {
		return r.servers
	}
	text, err := os.ReadFile(r.file)
	if err != nil {
		return r.servers
	}
	r.changed, r.servers = info.ModTime(), nil
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			r.servers = append(r.servers, a)
		}
	}
	return r.servers
}
