// Swarmctl is the command line of swarmd for people without the docker CLI: the
// same grammar, formats, filters, tables and progress display.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// version is set when the program is built.
var version = "dev"

// defaultHost is where swarmd listens unless told otherwise.
const defaultHost = "unix:///run/swarmd.sock"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], session{in: os.Stdin, out: os.Stdout, errs: os.Stderr, env: os.Getenv})
	stop()
	os.Exit(code)
}

// exitInterrupted is the exit code after an interrupt, as a shell has it.
const exitInterrupted = 130

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, s session) int {
	root := newRoot(&s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if s.client != nil {
		_ = s.client.Close()
	}
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	text := err.Error()
	if client.IsErrConnectionFailed(err) { // in Docker's client's words
		text = strings.NewReplacer("the Docker daemon", "swarmd", "the docker daemon", "swarmd", "the docker API", "swarmd").Replace(text)
	}
	if text != "" {
		_, _ = fmt.Fprintln(s.errs, text)
	}
	if exit, ok := errors.AsType[exitError](err); ok {
		return exit.code
	}
	return 1
}

// An exitError ends the program with a code of its own.
type exitError struct {
	code int
	text string
}

func (e exitError) Error() string { return e.text }

// A session is what every command shares: the streams and the daemon.
type session struct {
	in   io.Reader
	out  io.Writer
	errs io.Writer
	env  func(string) string

	host   string
	client *client.Client
}

// connect makes the client of the daemon that -H, SWARMD_HOST or DOCKER_HOST
// names, in this order.
func (s *session) connect(*cobra.Command, []string) error {
	host := s.host
	for _, name := range []string{"SWARMD_HOST", "DOCKER_HOST"} {
		if host == "" {
			host = s.env(name)
		}
	}
	if host == "" {
		host = defaultHost
	}
	c, err := client.New(client.WithTLSClientConfigFromEnv(), client.WithHost(host), client.WithUserAgent("swarmctl/"+version))
	if err != nil {
		return fmt.Errorf("cannot use %q as the daemon's address: %w; try unix:///run/swarmd.sock", host, err)
	}
	s.client = c
	return nil
}

func (s *session) print(format string, args ...any) {
	_, _ = fmt.Fprintf(s.out, format, args...)
}

func (s *session) warn(format string, args ...any) {
	_, _ = fmt.Fprintf(s.errs, format, args...)
}

// newRoot returns the command tree.
func newRoot(s *session) *cobra.Command {
	root := &cobra.Command{
		Use:               "swarmctl",
		Short:             "Drive a swarm of swarmd hosts",
		Version:           version,
		TraverseChildren:  true, // -H stands before the command: history has another -H, service create another --host
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: s.connect,
		Args:              noArgs,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.errs)
	root.SetVersionTemplate("swarmctl version {{.Version}}\n")
	root.Flags().StringVarP(&s.host, "host", "H", "", "Daemon to talk to (default $SWARMD_HOST, $DOCKER_HOST or "+defaultHost+")")
	root.AddCommand(
		newSwarm(s), newNode(s), newService(s), newNetwork(s), newImage(s), newContainer(s),
		newInfo(s), newVersion(s), newEvents(s), newInspect(s),
	)
	root.AddCommand(newContainerShortcuts(s)...)
	root.AddCommand(newImageShortcuts(s)...)
	dress(root)
	return root
}

// group returns a command that only has subcommands.
func group(name, short string, subcommands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			c.SetOut(c.ErrOrStderr()) // nobody has asked for help
			return c.Help()
		},
	}
	c.AddCommand(subcommands...)
	return c
}

// each runs f for every name and goes on after an error; the errors are joined.
func each(names []string, f func(name string) error) error {
	var failed []error
	for _, name := range names {
		if err := f(name); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
