package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/swarmd/swarmd/real/lab"
)

const (
	requestPatience = 10 * time.Second // after which a request counts as lost
	lateAfter       = time.Second
	failuresShown   = 5 // of one client
)

// A Tally is what became of requests.
type tally struct {
	Requests int
	Failed   int
	Connects int      // connections made
	Failures []string // the first, in words
	Late     int      // answered, after more than a second
	Lates    []string // the first
	Seconds  float64
}

func (t *tally) add(o tally) {
	t.Requests += o.Requests
	t.Failed += o.Failed
	t.Connects += o.Connects
	t.Failures = append(t.Failures, o.Failures...)
	t.Late += o.Late
	t.Lates = append(t.Lates, o.Lates...)
	t.Seconds = max(t.Seconds, o.Seconds)
}

// runClients asks the targets, in turn, until the standard input ends and there were
// as many requests as there are to be, and prints the tally as JSON. Clients with keep-alive use each connection for as long as it
// lasts; as any HTTP client does, they ask again if it was closed before they had
// an answer's first byte.
func runClients(arguments []string) error {
	flags := flag.NewFlagSet(clientsArgument, flag.ContinueOnError)
	targets := flags.String("targets", "", "addresses and ports, with commas between")
	keep := flags.Int("keep", 1, "clients with keep-alive")
	fresh := flags.Int("new", 1, "clients with a new connection for each request")
	pause := flags.Duration("pause", 0, "how long a client waits between two requests")
	least := flags.Int("least", 0, "how many requests there are to be at least")
	ports := flags.Int("ports", 0, "how many ports of its own the host has for connections; 0: as many as it has")
	path := flags.String("path", "", "what is asked for; empty: / mostly, and /slow")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if *ports > 0 {
		restore, err := fewPorts(*ports)
		if err != nil {
			return err
		}
		defer restore()
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	list := strings.Split(*targets, ",")
	tallies := make([]tally, *keep+*fresh)
	each := (*least + len(tallies) - 1) / len(tallies)
	began := time.Now()
	var clients sync.WaitGroup
	for i := range tallies {
		clients.Go(func() { tallies[i] = askOn(ctx, list, *path, i, i < *keep, each, *pause) })
	}
	clients.Wait()
	var all tally
	for _, t := range tallies {
		all.add(t)
	}
	all.Seconds = time.Since(began).Seconds()
	return json.NewEncoder(os.Stdout).Encode(all)
}

// fewPorts leaves the host so many ports of its own for connections: clients use the
// same ones for connections to several nodes all the time then.
func fewPorts(ports int) (restore func(), err error) {
	const settingsOf, first, last = "/proc/sys/net/ipv4/", 40000, 65535
	if ports > last-first+1 {
		return nil, fmt.Errorf("clients can have %d ports at most, not %d", last-first+1, ports)
	}
	settings := map[string]string{"ip_local_port_range": fmt.Sprintf("%d %d", first, first+ports-1), "tcp_tw_reuse": "1"}
	before := map[string][]byte{}
	restore = func() {
		for name, value := range before {
			_ = os.WriteFile(settingsOf+name, value, 0o644)
		}
	}
	for name, value := range settings {
		was, err := os.ReadFile(settingsOf + name)
		if err == nil {
			err = os.WriteFile(settingsOf+name, []byte(value), 0o644)
		}
		if err != nil {
			restore()
			return nil, err
		}
		before[name] = was
	}
	return restore, nil
}

// askOn is one client.
func askOn(ctx context.Context, targets []string, path string, number int, keep bool, least int, pause time.Duration) tally {
	var t tally
	var connects sync.Mutex
	own := "no connection"
	dialer := net.Dialer{}
	transport := &http.Transport{
		DisableKeepAlives: !keep, MaxIdleConnsPerHost: 1, DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			connects.Lock()
			t.Connects++
			own = "no connection"
			connects.Unlock()
			c, err := dialer.DialContext(ctx, network, address)
			if err == nil {
				connects.Lock()
				own = c.LocalAddr().String()
				connects.Unlock()
			}
			return c, err
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: requestPatience}
	for n := number; ctx.Err() == nil || t.Requests < least; n++ {
		asked := path
		if path == "" && n%slowShare == 0 {
			asked = "slow"
		}
		t.Requests++
		time.Sleep(pause)
		at := time.Now()
		url := "http://" + targets[n%len(targets)] + "/" + asked
		err := askOnce(client, url)
		took := time.Since(at)
		if err == nil && took < lateAfter {
			continue
		}
		connects.Lock()
		says := fmt.Sprintf("%s UTC, keep-alive %t, %s to %s, after %.3f s", at.UTC().Format("15:04:05.000"), keep, own, url, took.Seconds())
		connects.Unlock()
		if err == nil {
			t.Late++
			t.Lates = few(t.Lates, says)
			continue
		}
		t.Failed++
		t.Failures = few(t.Failures, says+": "+err.Error())
	}
	return t
}

// few appends, if there are not many yet.
func few(list []string, says string) []string {
	if len(list) < failuresShown {
		return append(list, says)
	}
	return list
}

func askOnce(client *http.Client, url string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}

// A group is clients on one host that are at work.
type group struct {
	command *exec.Cmd
	stdin   io.Closer
	stdout  strings.Builder
	stderr  strings.Builder
}

// startClients has clients on a host ask the targets, until they are stopped.
func startClients(ctx context.Context, h *lab.Host, arguments ...string) (*group, error) {
	return startClientsIn(ctx, h, nil, arguments...)
}

// startClientsIn runs them by another program on the host.
func startClientsIn(ctx context.Context, h *lab.Host, by []string, arguments ...string) (*group, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	words := slices.Concat(by, []string{program, clientsArgument}, arguments)
	g := &group{command: h.Command(ctx, words[0], words[1:]...)}
	g.command.Stdout, g.command.Stderr = &g.stdout, &g.stderr
	if g.stdin, err = g.command.StdinPipe(); err != nil {
		return nil, err
	}
	return g, g.command.Start()
}

// stop ends the clients' work and returns what came of it.
func (g *group) stop() (tally, error) {
	var t tally
	err := errors.Join(g.stdin.Close(), g.command.Wait())
	if err != nil {
		return t, fmt.Errorf("clients: %w: %s", err, g.stderr.String())
	}
	return t, json.Unmarshal([]byte(g.stdout.String()), &t)
}
