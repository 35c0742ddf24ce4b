package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// logFlags are the flags of service logs; container logs has some of them.
type logFlags struct {
	noResolve, noTrunc, noTaskIDs, raw bool
	follow, timestamps, details        bool
	since, until, tail                 string
}

func (f *logFlags) common(flags *pflag.FlagSet) {
	flags.BoolVarP(&f.follow, "follow", "f", false, "Follow log output")
	flags.StringVar(&f.since, "since", "", `Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	flags.BoolVarP(&f.timestamps, "timestamps", "t", false, "Show timestamps")
	flags.BoolVar(&f.details, "details", false, "Show extra details provided to logs")
	flags.StringVarP(&f.tail, "tail", "n", "all", "Number of lines to show from the end of the logs")
}

func newServiceLogs(s *session) *cobra.Command {
	f := &logFlags{}
	c := &cobra.Command{
		Use:               "logs [OPTIONS] SERVICE|TASK",
		Short:             "Fetch the logs of a service or task",
		Args:              exactArgs(1),
		ValidArgsFunction: s.completeServices,
		RunE:              func(c *cobra.Command, args []string) error { return serviceLogs(c.Context(), s, f, args[0]) },
	}
	flags := c.Flags()
	flags.BoolVar(&f.noResolve, "no-resolve", false, "Do not map IDs to Names in output")
	flags.BoolVar(&f.noTrunc, "no-trunc", false, "Do not truncate output")
	flags.BoolVar(&f.raw, "raw", false, "Do not neatly format logs")
	flags.BoolVar(&f.noTaskIDs, "no-task-ids", false, "Do not include task IDs in output")
	f.common(flags)
	return c
}

func serviceLogs(ctx context.Context, s *session, f *logFlags, name string) error {
	tty, width, isTask, err := s.logTarget(ctx, name)
	switch {
	case err != nil:
		return err
	case tty && !f.raw:
		return errors.New("tty service logs only supported with --raw")
	}
	// Whose line it is stands in the details: they are needed unless it is raw.
	details := f.details || !f.raw
	var stream io.ReadCloser
	if isTask {
		stream, err = s.client.TaskLogs(ctx, name, client.TaskLogsOptions{
			ShowStdout: true, ShowStderr: true, Since: f.since, Timestamps: f.timestamps, Follow: f.follow, Tail: f.tail, Details: details,
		})
	} else {
		stream, err = s.client.ServiceLogs(ctx, name, client.ServiceLogsOptions{
			ShowStdout: true, ShowStderr: true, Since: f.since, Timestamps: f.timestamps, Follow: f.follow, Tail: f.tail, Details: details,
		})
	}
	if err != nil {
		return err
	}
	defer stream.Close()
	if tty {
		_, err = io.Copy(s.out, stream)
		return err
	}
	out, errs := s.out, s.errs
	if !f.raw {
		names := newResolver(s, f.noResolve)
		prefixes := map[[3]string]string{}
		label := func(node, service, task string) (string, error) {
			key := [3]string{node, service, task}
			if _, ok := prefixes[key]; !ok {
				prefix, err := f.prefix(ctx, names, node, service, task, width)
				if err != nil {
					return "", err
				}
				prefixes[key] = prefix
			}
			return prefixes[key], nil
		}
		out, errs = &logLines{f, s.out, label}, &logLines{f, s.errs, label}
	}
	_, err = stdcopy.StdCopy(out, errs, stream)
	return err
}

// logTarget finds the service or task, whether it has a terminal, and how many
// digits its slots may have.
func (s *session) logTarget(ctx context.Context, name string) (tty bool, width int, task bool, err error) {
	found, err := s.client.ServiceInspect(ctx, name, client.ServiceInspectOptions{})
	if err == nil {
		spec := found.Service.Spec
		width = 1
		if spec.Mode.Replicated != nil && spec.Mode.Replicated.Replicas != nil {
			width = len(fmt.Sprint(*spec.Mode.Replicated.Replicas))
		}
		return spec.TaskTemplate.ContainerSpec != nil && spec.TaskTemplate.ContainerSpec.TTY, width, false, nil
	}
	if !errdefs.IsNotFound(err) {
		return false, 0, false, err
	}
	one, err := s.client.TaskInspect(ctx, name, client.TaskInspectOptions{})
	switch {
	case errdefs.IsNotFound(err):
		return false, 0, false, fmt.Errorf("no such task or service: %s", name)
	case err != nil:
		return false, 0, false, err
	}
	run := one.Task.Spec.ContainerSpec
	return run != nil && run.TTY, len(fmt.Sprint(one.Task.Slot)), true, nil
}

// prefix says whose lines follow: web.1.<task>@node, padded so that the lines of
// all slots align.
func (f *logFlags) prefix(ctx context.Context, names *resolver, node, service, task string, width int) (string, error) {
	nodeName, serviceName := names.node(ctx, node), names.service(ctx, service)
	found, err := names.s.client.TaskInspect(ctx, task, client.TaskInspectOptions{})
	if err != nil {
		return "", err
	}
	slot := fmt.Sprint(found.Task.Slot)
	name := serviceName + "." + slot
	switch {
	case f.noTaskIDs:
	case f.noTrunc:
		name += "." + found.Task.ID
	default:
		name += "." + short(found.Task.ID)
	}
	return name + "@" + nodeName + strings.Repeat(" ", max(width-len(slot), 0)), nil
}

// logLines writes lines of a service's log: each Write is one.
type logLines struct {
	flags *logFlags
	out   io.Writer
	label func(node, service, task string) (string, error)
}

func (l *logLines) Write(line []byte) (int, error) {
	stamp, rest := "", string(line)
	if l.flags.timestamps {
		var ok bool
		if stamp, rest, ok = strings.Cut(rest, " "); !ok {
			return 0, fmt.Errorf("invalid context in log message: %s", line)
		}
		stamp += " "
	}
	context, text, ok := strings.Cut(rest, " ")
	if !ok {
		return 0, fmt.Errorf("invalid context in log message: %s", line)
	}
	details, err := parseDetails(context)
	if err != nil {
		return 0, err
	}
	ids := make([]string, 0, 3)
	for _, what := range []string{"node", "service", "task"} {
		key := "com.docker.swarm." + what + ".id"
		id, ok := details[key]
		if !ok {
			return 0, fmt.Errorf("missing %s id in details: %v", what, details)
		}
		delete(details, key)
		ids = append(ids, id)
	}
	label, err := l.label(ids[0], ids[1], ids[2])
	if err != nil {
		return 0, err
	}
	extra := ""
	if l.flags.details {
		pairs := []string{}
		for _, key := range slices.Sorted(maps.Keys(details)) {
			pairs = append(pairs, key+"="+details[key])
		}
		extra = strings.Join(pairs, ",") + " "
	}
	if _, err := io.WriteString(l.out, stamp+label+"    | "+extra+text); err != nil {
		return 0, err
	}
	return len(line), nil
}

// parseDetails reads key=value pairs, escaped as in URLs.
func parseDetails(text string) (map[string]string, error) {
	details := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("invalid details format")
		}
		key, err := url.QueryUnescape(key)
		if err != nil {
			return nil, err
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, err
		}
		details[key] = value
	}
	return details, nil
}
