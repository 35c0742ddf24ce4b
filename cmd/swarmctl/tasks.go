package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/command/formatter"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// A taskListing is what service ps and node ps share.
type taskListing struct {
	listing

	noResolve bool
}

func newTaskListing(c *cobra.Command) *taskListing {
	l := &taskListing{listing: listing{
		columns: []column{
			{"ID", "ID"},
			{"Name", "NAME"},
			{"Image", "IMAGE"},
			{"Node", "NODE"},
			{"DesiredState", "DESIRED STATE"},
			{"CurrentState", "CURRENT STATE"},
			{"Error", "ERROR"},
			{"Ports", "PORTS"},
		},
		shown: "table {{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}\t{{.Ports}}",
	}}
	l.flags(c, "Only display task IDs")
	l.trunc(c)
	c.Flags().BoolVar(&l.noResolve, "no-resolve", false, "Do not map IDs to Names")
	return l
}

// show prints tasks: by name, the newest first, earlier ones of a slot indented.
func (l *taskListing) show(ctx context.Context, s *session, tasks []swarm.Task) error {
	const errorMax = 30
	l.noTrunc = l.noTrunc || l.quiet
	names := newResolver(s, l.noResolve)
	named := slices.Clone(tasks)
	for i, task := range named {
		slot := task.NodeID
		if task.Slot != 0 {
			slot = fmt.Sprint(task.Slot)
		}
		named[i].Name = names.service(ctx, task.ServiceID) + "." + slot
	}
	slices.SortStableFunc(named, func(a, b swarm.Task) int {
		return cmp.Or(compareNatural(a.Name, b.Name), b.CreatedAt.Compare(a.CreatedAt))
	})
	table := l.format == "" || strings.HasPrefix(l.format, "table")
	rows := make([]row, 0, len(named))
	for i, task := range named {
		name := task.Name
		if table && i > 0 && named[i-1].Name == name {
			name = ` \_ ` + name
		}
		image, failure := "", task.Status.Err
		if task.Spec.ContainerSpec != nil {
			image = task.Spec.ContainerSpec.Image
		}
		if !l.noTrunc {
			image, failure = familiar(image), formatter.Ellipsis(failure, errorMax)
		}
		if failure != "" {
			failure = `"` + failure + `"`
		}
		rows = append(rows, row{
			"ID": l.short(task.ID), "Name": name, "Image": image, "Node": names.node(ctx, task.NodeID),
			"DesiredState": title(string(task.DesiredState)),
			"CurrentState": title(string(task.Status.State)) + " " + strings.ToLower(ago(task.Status.Timestamp)),
			"Error":        failure,
			"Ports":        taskPorts(task.Status.PortStatus.Ports),
		})
	}
	return l.write(s, rows)
}

func taskPorts(ports []swarm.PortConfig) string {
	shown := make([]string, 0, len(ports))
	for _, p := range ports {
		shown = append(shown, fmt.Sprintf("*:%d->%d/%s", p.PublishedPort, p.TargetPort, p.Protocol))
	}
	return strings.Join(shown, ",")
}

// A resolver finds the names of services and nodes, each once.
type resolver struct {
	s     *session
	off   bool
	known map[string]string
}

func newResolver(s *session, off bool) *resolver {
	return &resolver{s: s, off: off, known: map[string]string{}}
}

// find returns the name that ask finds; an ID without a name is its own.
func (r *resolver) find(id string, ask func() string) string {
	if r.off {
		return id
	}
	name, ok := r.known[id]
	if !ok {
		name = ask()
		r.known[id] = name
	}
	return name
}

func (r *resolver) service(ctx context.Context, id string) string {
	return r.find(id, func() string {
		found, err := r.s.client.ServiceInspect(ctx, id, client.ServiceInspectOptions{})
		if err != nil {
			return id
		}
		return found.Service.Spec.Name
	})
}

func (r *resolver) node(ctx context.Context, id string) string {
	return r.find(id, func() string {
		found, err := r.s.client.NodeInspect(ctx, id, client.NodeInspectOptions{})
		if err != nil {
			return id
		}
		return cmp.Or(found.Node.Spec.Name, found.Node.Description.Hostname, id)
	})
}

// familiar is an image's name as people write it, without its digest.
func familiar(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	if tagged, ok := named.(reference.NamedTagged); ok {
		if plain, err := reference.WithTag(reference.TrimNamed(named), tagged.Tag()); err == nil {
			return reference.FamiliarString(plain)
		}
	}
	return image
}

// title writes a word with a capital.
func title(word string) string {
	first, size := utf8.DecodeRuneInString(word)
	if size == 0 {
		return ""
	}
	return string(unicode.ToUpper(first)) + word[size:]
}

// ago says how long ago something happened.
func ago(t time.Time) string { return units.HumanDuration(time.Since(t)) + " ago" }

// compareNatural orders names with numbers in them as people do: web.2 before
// web.10.
func compareNatural(a, b string) int {
	digits := func(s string) int {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		return n
	}
	left, right := a, b
	for left != "" && right != "" {
		i, j := digits(left), digits(right)
		if i == 0 || j == 0 {
			if left[0] != right[0] {
				return cmp.Compare(left[0], right[0])
			}
			left, right = left[1:], right[1:]
			continue
		}
		m, n := strings.TrimLeft(left[:i], "0"), strings.TrimLeft(right[:j], "0")
		if order := cmp.Or(cmp.Compare(len(m), len(n)), cmp.Compare(m, n)); order != 0 {
			return order
		}
		left, right = left[i:], right[j:]
	}
	return cmp.Or(cmp.Compare(len(left), len(right)), cmp.Compare(a, b))
}
