package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/moby/moby/api/types/common"
	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/real/network"
)

// checkWait is how long a daemon may take to compare its network with the plan.
const checkWait = time.Minute

// network is the configuration of the host's network. The program is the daemon's file.
func (o *options) network(program string, log *slog.Logger, post func(engine.Event)) network.Config {
	return network.Config{
		Bridge: bridgeName, Table: tableName, NetnsDir: filepath.Join(o.runDir, "netns"), Logger: log, Post: post,
		NameServer: []string{program, namesArgument}, NameSocket: filepath.Join(o.runDir, "names.sock"),
	}
}

// newNetwork returns the commands about the network of a host.
func newNetwork() *cobra.Command {
	c := &cobra.Command{Use: "network", Short: "Look at this host's part of the swarm's network", Args: cobra.NoArgs}
	c.AddCommand(newNetworkCheck())
	return c
}

func newNetworkCheck() *cobra.Command {
	host, repair := defaultHost, false
	c := &cobra.Command{
		Use:   "check",
		Short: "Compare the kernel's network with what the swarm planned for this host",
		Long: `Check asks the daemon of this host to read the whole of its network from the
kernel (interfaces, addresses, routes, who is behind which node, rules and maps, and
the same in every container) and to compare it with the plan. It prints a line for
each difference, nothing if there is none, and fails if there is any.

The daemon does the same every half a minute, and repairs what it finds.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return checkNetwork(c.Context(), c.OutOrStdout(), host, repair)
		},
	}
	c.Flags().StringVarP(&host, "host", "H", host, "Unix socket of the daemon, as unix:///path")
	c.Flags().BoolVar(&repair, "repair", false, "Repair at once what differs")
	return c
}

// checkNetwork prints how the network of a daemon's host differs from its plan; the
// error is that it does.
func checkNetwork(ctx context.Context, out io.Writer, host string, repair bool) error {
	lines, err := askForCheck(ctx, host, repair)
	if err != nil {
		return err
	}
	for _, line := range lines {
		fmt.Fprintln(out, line)
	}
	switch {
	case len(lines) == 0:
		return nil
	case repair:
		return fmt.Errorf("the network differed from its plan in %d ways, and has been repaired", len(lines))
	default:
		return fmt.Errorf("the network differs from its plan in %d ways", len(lines))
	}
}

func askForCheck(ctx context.Context, host string, repair bool) ([]string, error) {
	path, err := socketPath(host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	method, url := http.MethodGet, "http://swarmd/debug/network"
	if repair {
		method, url = http.MethodPost, url+"/repair"
	}
	request, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, fmt.Errorf("the daemon at %s does not answer: %w", path, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		var refused common.ErrorResponse
		if err := json.NewDecoder(response.Body).Decode(&refused); err != nil || refused.Message == "" {
			return nil, fmt.Errorf("the daemon at %s answers %s", path, response.Status)
		}
		return nil, fmt.Errorf("the daemon at %s: %s", path, refused.Message)
	}
	var lines []string
	if err := json.NewDecoder(response.Body).Decode(&lines); err != nil {
		return nil, fmt.Errorf("the daemon at %s answers what cannot be read: %w", path, err)
	}
	return lines, nil
}
