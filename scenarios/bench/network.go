package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	dockerswarm "github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/real/lab"
)

// networkName is what -only has for the network.
const networkName = "network"

// lookupsArgument is what this program is when it measures a name server.
const lookupsArgument = "lookups"

// Names of what is measured of the network, as the table has them: of each way, the
// requests a second on connections that are kept, and on new ones.
const (
	wayDirect       = "direct, host to its own container"
	wayLocal        = "mesh, a task of this node"
	wayRemote       = "mesh, a task of another node, source kept"
	wayRemoteMasked = "mesh, of another node, a node as client"
	wayContainer    = "container to container, another node"
	wayVIP          = "container to VIP, another node"
	wayVIPLocal     = "container to VIP, this node"
	perKept         = ": kept, /s"
	perNew          = ": new, /s"
	ratioKept       = ": kept, of direct"
	ratioNew        = ": new, of direct"
	nameLatency     = "a name looked up, median"
	nameLatencyMost = "a name looked up, of 100 the slowest"
	storyPace       = "ab -n 3000 -c 150, by another node, %d running"
	mapsRebuilt     = "1000 ports × 10 backends, CPU"
	mapsChanged     = "one backend of 10,000, CPU"
)

const (
	wayPeriod    = 2 * time.Second
	wayClients   = 4
	lookupsCount = 3000
	storyTasks   = 5
)

// Services of the network that is measured: a web server, and clients for what they are
// named after.
const (
	clientContainer = "client-container"
	clientVIP       = "client-vip"
	clientVIPLocal  = "client-vip-local"
)

var networkServices = []string{"web", clientContainer, clientVIP, clientVIPLocal}

// A way is one from clients to a web server.
type way struct {
	name   string
	from   *lab.Host
	in     string // the task, whose network the clients are in; empty: the host's
	target string
}

// measureNetwork makes a swarm of two nodes and a client, and measures each way to a
// container, one after the other, as often as there are rounds.
func measureNetwork(ctx context.Context, dir string, o options, add func(map[string]float64)) (err error) {
	l, err := newNetwork(ctx, dir, o.swarmd)
	if l != nil {
		defer func() { err = errors.Join(err, l.Remove()) }()
	}
	if err != nil {
		return err
	}
	ways, err := l.ways(ctx)
	if err != nil {
		return err
	}
	for range o.rounds {
		for keep, names := range map[bool]measured{true: {perKept, ratioKept}, false: {perNew, ratioNew}} {
			values, err := l.compare(ctx, ways, keep, names)
			if err != nil {
				return err
			}
			add(values)
		}
		values, err := l.lookups(ctx, ways[len(ways)-1])
		if err != nil {
			return err
		}
		add(values)
	}
	return l.story(ctx, o.rounds, add)
}

// measured names what is measured of a way: its pace, and that of the direct one's.
type measured struct{ pace, ratio string }

// compare measures each way between two measurements of the direct one, which is what
// it is a ratio of: the machine is faster in one minute than in another.
func (l *load) compare(ctx context.Context, ways []way, keep bool, names measured) (map[string]float64, error) {
	pace := func(w way) (float64, error) {
		fmt.Fprintf(os.Stderr, "%-60s %s\n", w.name+names.pace, lab.Swarmd)
		value, err := l.measure(ctx, w, keep)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", w.name+names.pace, err)
		}
		return value, nil
	}
	direct := ways[0]
	before, err := pace(direct)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{direct.name + names.pace: before}
	for _, w := range ways[1:] {
		value, err := pace(w)
		if err != nil {
			return nil, err
		}
		after, err := pace(direct)
		if err != nil {
			return nil, err
		}
		values[w.name+names.pace] = value
		values[w.name+names.ratio] = 2 * value / (before + after)
		before = after
	}
	return values, nil
}

// story is a person with ab, who asks one task, and then five, by a node that runs
// none of them. Where ab is not installed, nobody asks.
func (l *load) story(ctx context.Context, rounds int, add func(map[string]float64)) error {
	if _, missing := exec.LookPath("ab"); missing != nil {
		return nil //nolint:nilerr // it is nothing that must be there
	}
	for _, n := range []uint64{1, storyTasks} {
		err := l.s.update(ctx, func(s *dockerswarm.ServiceSpec) { s.Mode.Replicated.Replicas = &n })
		if err := errors.Join(err, l.settled(ctx, int(n)+len(networkServices)-1)); err != nil { // and the clients
			return err
		}
		for range rounds {
			out, err := l.outside.Command(ctx, "ab", "-q", "-n", "3000", "-c", "150", fmt.Sprintf("http://%s:%d/", l.Hosts[1].Addr, loadPort)).CombinedOutput()
			if err != nil {
				return fmt.Errorf("ab: %w: %s", err, out)
			}
			pace := regexp.MustCompile(`Requests per second:\s+([0-9.]+)`).FindSubmatch(out)
			if pace == nil || !regexp.MustCompile(`Failed requests:\s+0\n`).Match(out) {
				return fmt.Errorf("ab has lost requests:\n%s", out)
			}
			value, err := strconv.ParseFloat(string(pace[1]), 64)
			if err != nil {
				return err
			}
			add(map[string]float64{fmt.Sprintf(storyPace, n): value})
		}
	}
	return nil
}

// newNetwork is two nodes, with a web server and a client on the first and two clients
// on the second, and a host that is none. Each client asks one way alone: the server
// would see what came by two as one, and its closed connections of the one would hold
// up the other.
func newNetwork(ctx context.Context, dir, swarmd string) (*load, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	archive := filepath.Join(dir, "network.tar")
	if err := (lab.Image{Names: []string{"load:1"}, Program: self, Arguments: []string{serveArgument}}).WriteFile(archive); err != nil {
		return nil, err
	}
	l, err := newHosts(ctx, filepath.Join(dir, "n"), swarmd, archive, 1, 1)
	if err != nil {
		return l, err
	}
	var made dockerswarm.NetworkSpec
	if err := ask(ctx, l.Hosts[0], http.MethodPost, "/networks/create", map[string]string{"Name": "back", "Driver": "overlay"}, &made); err != nil {
		return l, err
	}
	for _, name := range networkServices {
		spec := l.s.spec(name, 1)
		c := spec.TaskTemplate.ContainerSpec
		c.Image, c.Command = "load:1", nil
		spec.TaskTemplate.Networks = []dockerswarm.NetworkAttachmentConfig{{Target: "back"}}
		host := "host-00"
		if name == clientContainer || name == clientVIP {
			host = "host-01"
		}
		spec.TaskTemplate.Placement = &dockerswarm.Placement{Constraints: []string{"node.hostname==" + host}}
		if name == "web" {
			spec.EndpointSpec = webPorts()
		}
		if err := l.s.post(ctx, "/services/create", spec); err != nil {
			return l, err
		}
	}
	return l, l.settled(ctx, len(networkServices))
}

// ways are all that are measured, the direct one first.
func (l *load) ways(ctx context.Context) ([]way, error) {
	a, b := l.Hosts[0], l.Hosts[1]
	mesh := func(h *lab.Host) string { return fmt.Sprintf("%s:%d", h.Addr, loadPort) }
	tasks := map[string]dockerswarm.Task{}
	for _, name := range networkServices {
		var list []dockerswarm.Task
		if err := l.s.get(ctx, `/tasks?filters={"service":{"`+name+`":true}}`, &list); err != nil || len(list) != 1 {
			return nil, errors.Join(err, fmt.Errorf("%s has %d tasks", name, len(list)))
		}
		tasks[name] = list[0]
	}
	var web dockerswarm.Service
	if err := l.s.get(ctx, "/services/web", &web); err != nil {
		return nil, err
	}
	vip, overlay := "", ""
	for _, at := range tasks["web"].NetworksAttachments {
		if at.Network.Spec.Name == "back" && len(at.Addresses) > 0 {
			overlay = at.Addresses[0].Addr().String()
			for _, v := range web.Endpoint.VirtualIPs {
				if v.NetworkID == at.Network.ID {
					vip = v.Addr.Addr().String()
				}
			}
		}
	}
	out, err := inTask(ctx, a, tasks["web"].ID, "ip", "-4", "-o", "addr")
	if err != nil {
		return nil, err
	}
	own := regexp.MustCompile(`inet (172\.31\.[0-9.]+)/`).FindStringSubmatch(out)
	if own == nil || vip == "" || overlay == "" {
		return nil, fmt.Errorf("the web server's addresses are not known: %q, %q, %s", vip, overlay, out)
	}
	return []way{
		{wayDirect, a, "", own[1] + ":80"},
		{wayLocal, a, "", mesh(a)},
		{wayRemote, l.outside, "", mesh(b)},
		{wayRemoteMasked, b, "", mesh(b)},
		{wayContainer, b, tasks[clientContainer].ID, overlay + ":80"},
		{wayVIP, b, tasks[clientVIP].ID, vip + ":80"},
		{wayVIPLocal, a, tasks[clientVIPLocal].ID, vip + ":80"},
	}, nil
}

func namespaceOf(h *lab.Host, task string) string {
	return "--net=" + filepath.Join(h.Dir, "run", "netns", task)
}

// inTask runs a program in the network of a task.
func inTask(ctx context.Context, h *lab.Host, task string, words ...string) (string, error) {
	out, err := h.Command(ctx, "nsenter", append([]string{namespaceOf(h, task)}, words...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%v: %w: %s", words, err, out)
	}
	return string(out), nil
}

// measure is how many requests a second go a way.
func (l *load) measure(ctx context.Context, w way, keep bool) (float64, error) {
	kept, fresh := wayClients, 0
	if !keep {
		kept, fresh = 0, wayClients
	}
	var before []string
	if w.in != "" {
		before = []string{"nsenter", namespaceOf(w.from, w.in)}
	}
	g, err := startClientsIn(ctx, w.from, before, "-targets", w.target, "-path", "?", "-keep", fmt.Sprint(kept), "-new", fmt.Sprint(fresh))
	if err != nil {
		return 0, err
	}
	err = rest(ctx, wayPeriod)
	t, failed := g.stop()
	if err := errors.Join(err, failed); err != nil {
		return 0, err
	}
	if t.Failed > 0 {
		return 0, fmt.Errorf("%d of %d requests failed: %s", t.Failed, t.Requests, strings.Join(t.Failures, "; "))
	}
	return float64(t.Requests) / t.Seconds, nil
}

// lookups measures the name server of a task.
func (l *load) lookups(ctx context.Context, w way) (map[string]float64, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	out, err := inTask(ctx, w.from, w.in, self, lookupsArgument, "-name", "web", "-count", fmt.Sprint(lookupsCount))
	if err != nil {
		return nil, err
	}
	var took []float64
	if err := json.Unmarshal([]byte(out), &took); err != nil {
		return nil, err
	}
	slices.Sort(took)
	return map[string]float64{nameLatency: took[len(took)/2], nameLatencyMost: took[len(took)*99/100]}, nil
}

// lookUps asks the name server of the task that it is in the network of, and prints
// the milliseconds that each answer took.
func lookUps(arguments []string) error {
	flags := flag.NewFlagSet(lookupsArgument, flag.ContinueOnError)
	name := flags.String("name", "", "what is looked up")
	count := flags.Int("count", 1, "how often")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.11:53")
	}}
	var took []float64
	for range *count {
		start := time.Now()
		if _, err := resolver.LookupNetIP(context.Background(), "ip4", *name+"."); err != nil {
			return err
		}
		took = append(took, float64(time.Since(start).Microseconds())/1000)
	}
	return json.NewEncoder(os.Stdout).Encode(took)
}

// measureTables runs the benchmarks of the kernel's tables. tests are those of
// real/network, compiled.
func measureTables(ctx context.Context, tests string) (map[string]float64, error) {
	c := exec.CommandContext(ctx, tests, "-test.run", "^$", "-test.bench", "^Benchmark(Rebuild|OneBackend)$", "-test.benchtime", "50x")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("the tables of the network cannot be measured: %w\n%s", err, out)
	}
	values := map[string]float64{}
	for benchmark, name := range map[string]string{"Rebuild": mapsRebuilt, "OneBackend": mapsChanged} {
		found := regexp.MustCompile(`(?m)^Benchmark` + benchmark + `(?:-\d+)?\s.*?(\d+) cpu-ns/op`).FindSubmatch(out)
		if found == nil {
			return nil, fmt.Errorf("%s was not measured:\n%s", benchmark, out)
		}
		took, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil {
			return nil, err
		}
		values[name] = took / 1e6
	}
	return values, nil
}
