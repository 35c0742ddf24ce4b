package runtime

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"
)

// hostResolvers are where the host's DNS servers are named; the first has a stub
// on loopback where systemd-resolved runs, which containers cannot reach.
func hostResolvers() []string {
	return []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}
}

// writeFiles writes what is mounted into a container's /etc.
func (r *Runtime) writeFiles(i *instance) error {
	dns, err := r.dnsOf(i)
	if err != nil {
		return err
	}
	hosts, err := hostsOf(&i.record)
	if err != nil {
		return err
	}
	if r.config.NameServer != nil {
		if own := r.config.NameServer(i.record.Container.Task); own.IsValid() {
			dns = dns.through(own, i.record.Container.Spec.DNSConfig)
		}
	}
	files := map[string]string{
		"hostname":    i.record.Hostname + "\n",
		"hosts":       hosts,
		"resolv.conf": dns.text(),
	}
	for name, text := range files {
		// Not replaced but written anew: a mounted file must stay the same one.
		if err := os.WriteFile(filepath.Join(r.runDir(i.id()), name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("cannot write the container's %s: %w", name, err)
		}
	}
	return nil
}

// dnsOf is what a container's spec says of DNS; what it leaves out is the
// node's, and else the host's.
func (r *Runtime) dnsOf(i *instance) (DNS, error) {
	dns := r.config.DNS
	if c := i.record.Container.Spec.DNSConfig; c != nil {
		dns = DNS{
			Servers: firstOf(c.Nameservers, dns.Servers),
			Search:  firstOf(c.Search, dns.Search),
			Options: firstOf(c.Options, dns.Options),
		}
	}
	if len(dns.Servers) > 0 && len(dns.Search) > 0 {
		return dns, nil
	}
	host, err := hostDNS(hostResolvers())
	if err != nil {
		return dns, err
	}
	return DNS{
		Servers: firstOf(dns.Servers, host.Servers),
		Search:  firstOf(dns.Search, host.Search),
		Options: firstOf(dns.Options, host.Options),
	}, nil
}

// through has a container ask its own name server, which asks the others. As in
// Docker, a name without a dot is then that of a service, unless the spec says
// what it is.
func (d DNS) through(own netip.Addr, spec *swarm.DNSConfig) DNS {
	dots := func(option string) bool { return strings.HasPrefix(option, "ndots:") }
	d.Servers = []netip.Addr{own}
	if spec == nil || !slices.ContainsFunc(spec.Options, dots) {
		d.Options = append(slices.DeleteFunc(slices.Clone(d.Options), dots), "ndots:0")
	}
	return d
}

func firstOf[T any](a, b []T) []T {
	if len(a) > 0 {
		return a
	}
	return b
}

// hostDNS reads the first of the files that names a server which can be reached
// from elsewhere than the host.
func hostDNS(files []string) (DNS, error) {
	var dns DNS
	for _, name := range files {
		text, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return dns, fmt.Errorf("cannot read the host's resolver configuration: %w", err)
		}
		dns = parseResolvConf(string(text))
		dns.Servers = slices.DeleteFunc(dns.Servers, func(a netip.Addr) bool { return a.IsLoopback() })
		if len(dns.Servers) > 0 {
			return dns, nil
		}
	}
	return dns, nil
}

// parseResolvConf reads a resolv.conf(5); what it does not know it passes over.
func parseResolvConf(text string) DNS {
	var dns DNS
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(fields[1]); err == nil {
				dns.Servers = append(dns.Servers, a)
			}
		case "search", "domain":
			dns.Search = fields[1:]
		case "options":
			dns.Options = append(dns.Options, fields[1:]...)
		}
	}
	return dns
}

// text is a resolv.conf. A search of "." means none, as in Docker.
func (d DNS) text() string {
	var b strings.Builder
	b.WriteString("# Written by swarmd for this container.\n")
	for _, s := range d.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(d.Search) > 0 && (len(d.Search) != 1 || d.Search[0] != ".") {
		fmt.Fprintf(&b, "search %s\n", strings.Join(d.Search, " "))
	}
	if len(d.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(d.Options, " "))
	}
	return b.String()
}

// hostsOf is a container's /etc/hosts.
func hostsOf(rec *record) (string, error) {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	for _, entry := range rec.Container.Spec.Hosts {
		fields := strings.Fields(entry)
		if len(fields) < 2 {
			return "", invalidf("invalid extra host %q: an address and a name are expected", entry)
		}
		if _, err := netip.ParseAddr(fields[0]); err != nil {
			return "", invalidf("invalid extra host %q: %q is not an IP address", entry, fields[0])
		}
		fmt.Fprintf(&b, "%s\t%s\n", fields[0], strings.Join(fields[1:], " "))
	}
	if a := rec.Container.Address; a.IsValid() {
		fmt.Fprintf(&b, "%s\t%s\n", a, rec.Hostname)
	}
	return b.String(), nil
}
