package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	"github.com/spf13/pflag"

	"github.com/swarmd/swarmd/real/runtime"
)

// Where a daemon keeps things unless told otherwise.
const (
	defaultHost    = "unix:///run/swarmd.sock"
	defaultDataDir = "/var/lib/swarmd"
	defaultRunDir  = "/run/swarmd"
)

// hostsMax is how many sockets a daemon listens on.
const hostsMax = 16

// options are what the command line says.
type options struct {
	hosts      []string
	dataDir    string
	runDir     string
	containerd string
	advertise  string
	listen     string
	dataPath   string
	insecure   []string
	labels     []string
	generic    []string
	dns        []string
	dnsSearch  []string
	dnsOptions []string
	logLevel   string
	logFormat  string
}

func defaultOptions() *options {
	return &options{hosts: []string{defaultHost}, dataDir: defaultDataDir, runDir: defaultRunDir, logLevel: "info", logFormat: "text"}
}

// places are the flags that say which daemon is meant.
func (o *options) places(f *pflag.FlagSet) {
	f.StringVar(&o.dataDir, "data-dir", o.dataDir, "Directory of what must outlive a reboot: the swarm's log, images, volumes, logs")
	f.StringVar(&o.runDir, "run-dir", o.runDir, "Directory of what need not: sockets and network namespaces")
	f.StringVar(&o.containerd, "containerd", o.containerd, "Socket of the containerd to use (default: a private one, started and watched by swarmd)")
	f.StringVar(&o.logLevel, "log-level", o.logLevel, "Least level that is logged: debug, info, warn, error")
	f.StringVar(&o.logFormat, "log-format", o.logFormat, "Form of the log: text, json")
}

func (o *options) flags(f *pflag.FlagSet) {
	o.places(f)
	f.StringArrayVarP(&o.hosts, "host", "H", o.hosts, "Unix socket to serve the API on, as unix:///path; may be repeated")
	f.StringVar(&o.advertise, "advertise-addr", "", "Address or interface that other nodes reach this host at, with or without a port. A member of a swarm whose address has changed is started with the new one, and the others learn of it (default: what swarm init or swarm join said)")
	f.StringVar(&o.dataPath, "data-path-addr", "", "Address or interface that traffic between containers of different hosts goes by (default: what swarm init or swarm join said, or else the advertised address)")
	f.StringVar(&o.listen, "listen-addr", "", "Address or interface that a manager listens on for other nodes, with or without a port (default: what swarm init or swarm join said)")
	f.StringSliceVar(&o.insecure, "insecure-registry", nil, "Registry (host, host:port or CIDR) that may be spoken to without TLS; may be repeated")
	f.StringArrayVar(&o.labels, "label", nil, "Label of this engine, key=value, for placement constraints; may be repeated")
	f.StringArrayVar(&o.generic, "generic-resource", nil, "Resource that tasks can reserve: kind=number, or kind=name once for each; may be repeated")
	f.StringSliceVar(&o.dns, "dns", nil, "DNS server of containers (default: those of the host); may be repeated")
	f.StringSliceVar(&o.dnsSearch, "dns-search", nil, "Search domain of containers; may be repeated")
	f.StringSliceVar(&o.dnsOptions, "dns-opt", nil, "Resolver option of containers; may be repeated")
}

// check completes the options, or says what is wrong with them.
func (o *options) check() error {
	for _, dir := range []*string{&o.dataDir, &o.runDir} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	if len(o.hosts) == 0 || len(o.hosts) > hostsMax {
		return fmt.Errorf("--host must be given once at least and %d times at most", hostsMax)
	}
	for _, host := range o.hosts {
		if _, err := socketPath(host); err != nil {
			return err
		}
	}
	return nil
}

// socketPath is the path in unix:///path.
func socketPath(host string) (string, error) {
	path, ok := strings.CutPrefix(host, "unix://")
	if !ok || !filepath.IsAbs(path) {
		return "", fmt.Errorf("--host %q is not served: give a unix socket, such as %s", host, defaultHost)
	}
	return path, nil
}

// logger writes to stderr, in the form and from the level asked for.
func (o *options) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level %q is none of debug, info, warn, error", o.logLevel)
	}
	handler := &slog.HandlerOptions{Level: level}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, handler)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, handler)), nil
	default:
		return nil, fmt.Errorf("--log-format %q is neither text nor json", o.logFormat)
	}
}

// namespace is the daemon's own in containerd. Names of cgroups derive from it, so
// two daemons on one machine must not share one.
func (o *options) namespace() string {
	if o.dataDir == defaultDataDir {
		return "swarmd"
	}
	sum := sha256.Sum256([]byte(o.dataDir))
	return "swarmd-" + hex.EncodeToString(sum[:4])
}

func (o *options) resolver() (runtime.DNS, error) {
	dns := runtime.DNS{Search: o.dnsSearch, Options: o.dnsOptions}
	for _, text := range o.dns {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return dns, fmt.Errorf("--dns %q is not an IP address", text)
		}
		dns.Servers = append(dns.Servers, addr)
	}
	return dns, nil
}

// engineLabels are the labels by their keys.
func (o *options) engineLabels() (map[string]string, error) {
	labels := map[string]string{}
	for _, text := range o.labels {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--label %q is not of the form key=value", text)
		}
		labels[key] = value
	}
	return labels, nil
}

// genericResources reads gpu=2 as a number of gpus, and gpu=UUID1 as one by name.
func (o *options) genericResources() ([]swarm.GenericResource, error) {
	var resources []swarm.GenericResource
	for _, text := range o.generic {
		kind, value, ok := strings.Cut(text, "=")
		if !ok || kind == "" || value == "" {
			return nil, fmt.Errorf("--generic-resource %q is not of the form kind=value", text)
		}
		number, err := strconv.ParseInt(value, 10, 64)
		switch {
		case err == nil && number < 0, errors.Is(err, strconv.ErrRange):
			return nil, fmt.Errorf("--generic-resource %q: the number must not be negative, nor larger than an int64", text)
		case err == nil:
			resources = append(resources, swarm.GenericResource{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: kind, Value: number}})
		default:
			resources = append(resources, swarm.GenericResource{NamedResourceSpec: &swarm.NamedGenericResource{Kind: kind, Value: value}})
		}
	}
	return resources, nil
}
