// Swarmd is the daemon of one host: a member of the swarm that runs containers,
// and serves the Docker Engine API on a unix socket.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/real/network/nameserver"
	"github.com/swarmd/swarmd/real/runtime"
	"github.com/swarmd/swarmd/real/runtime/logwriter"
)

// version is set when the program is built.
var version = "dev"

// logWriterProgram writes the log of a container; see cmd/swarmd-log.
const logWriterProgram = "swarmd-log"

// shimProgram finds the shim of a container; see cmd/swarmd-shim.
const shimProgram = "swarmd-shim"

// The first argument under which the program is something else than the daemon:
// what it starts must outlive it, and there is one file to install.
const (
	logWriterArgument = "log-writer" // writes what one container says to its log
	initArgument      = "init"       // is the first process of a container
	namesArgument     = "names"      // answers what containers look up
)

func main() {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case logWriterArgument:
			os.Exit(logwriter.Run(os.Args[2:]))
		case initArgument:
			os.Exit(runtime.RunInit(os.Args[2:], os.Stderr))
		case namesArgument:
			os.Exit(nameserver.Run(os.Args[2:]))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "swarmd:", err)
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	options := defaultOptions()
	root := &cobra.Command{
		Use:   "swarmd",
		Short: "One host of a swarm: runs containers, and serves the Docker Engine API",
		Long: `Swarmd makes this host a member of a swarm, or lets it become one.

Point the docker CLI at its socket and go on as with Docker:

  export DOCKER_HOST=unix:///run/swarmd.sock
  docker swarm init
  docker service create --name website --publish 80:80 nginx:alpine

Containers outlive the daemon: it may be stopped, killed and upgraded under them.`,
		Args:          cobra.NoArgs,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			return serve(c.Context(), *options)
		},
	}
	root.SetVersionTemplate("swarmd version {{.Version}}\n")
	options.flags(root.Flags())
	root.AddCommand(newCleanup(), newNetwork())
	return root
}

// newCleanup returns the command that takes away what a daemon has left.
func newCleanup() *cobra.Command {
	options := defaultOptions()
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove the containers and the network that a stopped daemon has left on this host",
		Long: `Cleanup ends and removes every container of the daemon whose directories are
given, and its part of this host's network. The daemon must not be running. The
swarm's state and the images stay: with them the daemon can be started again.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return cleanup(c.Context(), *options)
		},
	}
	options.places(c.Flags())
	return c
}
