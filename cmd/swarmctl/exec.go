package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/docker/cli/opts"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
)

func newContainerExec(s *session) *cobra.Command {
	var (
		options     client.ExecCreateOptions
		detach      bool
		env, files  []string
		interactive bool
	)
	c := &cobra.Command{
		Use:               "exec [OPTIONS] CONTAINER COMMAND [ARG...]",
		Short:             "Execute a command in a running container",
		Args:              minArgs(2),
		ValidArgsFunction: s.completeContainers(false),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if options.Env, err = opts.ReadKVEnvStrings(files, env); err != nil {
				return err
			}
			options.Cmd = args[1:]
			options.AttachStdout, options.AttachStderr, options.AttachStdin = !detach, !detach, interactive && !detach
			return runInside(c.Context(), s, args[0], options, detach)
		},
	}
	flags := c.Flags()
	flags.SetInterspersed(false)
	flags.StringVar(&options.DetachKeys, "detach-keys", "", "Override the key sequence for detaching a container")
	flags.BoolVarP(&interactive, "interactive", "i", false, "Keep STDIN open even if not attached")
	flags.BoolVarP(&options.TTY, "tty", "t", false, "Allocate a pseudo-TTY")
	flags.BoolVarP(&detach, "detach", "d", false, "Detached mode: run command in the background")
	flags.StringVarP(&options.User, "user", "u", "", `Username or UID (format: "<name|uid>[:<group|gid>]")`)
	flags.BoolVar(&options.Privileged, "privileged", false, "Give extended privileges to the command")
	request.List(flags, &env, "env", "e", "Set environment variables", nil)
	request.List(flags, &files, "env-file", "", "Read in a file of environment variables", nil)
	flags.StringVarP(&options.WorkingDir, "workdir", "w", "", "Working directory inside the container")
	return c
}

// runInside runs a command in a container, connected to this program's streams
// unless detached, and ends with the command's exit code.
func runInside(ctx context.Context, s *session, name string, options client.ExecCreateOptions, detach bool) error {
	// A container that does not exist is worse than a missing terminal, and both
	// must be known before the daemon keeps something.
	if _, err := s.client.ContainerInspect(ctx, name, client.ContainerInspectOptions{}); err != nil {
		return err
	}
	keyboard := terminal(s.in)
	if !detach && options.AttachStdin && options.TTY && keyboard == nil {
		return errors.New("the input device is not a TTY")
	}
	if options.TTY {
		options.ConsoleSize = consoleSize(terminal(s.out))
	}
	made, err := s.client.ExecCreate(ctx, name, options)
	if err != nil {
		return err
	}
	if made.ID == "" {
		return errors.New("exec ID empty")
	}
	if detach {
		_, err := s.client.ExecStart(ctx, made.ID, client.ExecStartOptions{Detach: true, TTY: options.TTY, ConsoleSize: options.ConsoleSize})
		return err
	}
	attached, err := s.client.ExecAttach(ctx, made.ID, client.ExecAttachOptions{TTY: options.TTY, ConsoleSize: options.ConsoleSize})
	if err != nil {
		return err
	}
	defer attached.Close()
	if options.TTY && keyboard != nil {
		if options.AttachStdin {
			restore, err := rawTerminals(keyboard, terminal(s.out))
			if err != nil {
				return err
			}
			defer restore()
		}
		watch, stop := context.WithCancel(ctx)
		defer stop()
		go s.followSize(watch, made.ID)
	}
	if err := s.connectStreams(ctx, attached.HijackedResponse, options); err != nil {
		return err
	}
	ended, err := s.client.ExecInspect(ctx, made.ID, client.ExecInspectOptions{})
	if err != nil {
		return err
	}
	if ended.ExitCode != 0 {
		return exitError{code: ended.ExitCode}
	}
	return nil
}

// connectStreams copies both ways until the command has ended; what is left to
// type does not keep it.
func (s *session) connectStreams(ctx context.Context, attached client.HijackedResponse, options client.ExecCreateOptions) error {
	if options.AttachStdin {
		go func() { // ends with its stream: the program's end, at the latest
			_, _ = io.Copy(attached.Conn, s.in)
			_ = attached.CloseWrite()
		}()
	}
	output := make(chan error, 1)
	go func() {
		var err error
		if options.TTY {
			_, err = io.Copy(s.out, attached.Reader)
		} else {
			_, err = stdcopy.StdCopy(s.out, s.errs, attached.Reader)
		}
		output <- err
	}()
	select {
	case err := <-output:
		return err
	case <-ctx.Done():
		attached.Close()
		<-output //nolint:errcheck // it has been cut short
		return ctx.Err()
	}
}

// terminal is the file behind a stream if it is a terminal; else nil.
func terminal(stream any) *os.File {
	if file, ok := stream.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return file
	}
	return nil
}

func consoleSize(screen *os.File) client.ConsoleSize {
	if screen == nil {
		return client.ConsoleSize{}
	}
	width, height, err := term.GetSize(int(screen.Fd()))
	if err != nil || width < 0 || height < 0 {
		return client.ConsoleSize{}
	}
	return client.ConsoleSize{Height: uint(height), Width: uint(width)}
}

// rawTerminals gives every key to the command; restore takes that back.
func rawTerminals(keyboard, screen *os.File) (restore func(), err error) {
	was, err := term.MakeRaw(int(keyboard.Fd()))
	if err != nil {
		return nil, err
	}
	undo := rawScreen(screen)
	return func() {
		undo()
		_ = term.Restore(int(keyboard.Fd()), was)
	}, nil
}

// resize tells a command how large its terminal is.
func (s *session) resize(ctx context.Context, id string) {
	size := consoleSize(terminal(s.out))
	if size.Height == 0 && size.Width == 0 {
		return
	}
	// Failing is not worth disturbing the screen: the next change tries again.
	_, _ = s.client.ExecResize(ctx, id, client.ExecResizeOptions(size))
}
