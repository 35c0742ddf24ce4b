package control

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"
)

// Context is what a template in a service's spec can name. Its fields are
// Docker's; here they are filled with words that stand for what is not known
// before a task has been placed.
type Context struct {
	Service struct {
		ID     string
		Name   string
		Labels map[string]string
	}
	Node struct {
		ID       string
		Hostname string
		Platform Platform
	}
	Task struct {
		ID   string
		Name string
		Slot string
	}
}

// Platform is a node's platform as a template sees it.
type Platform struct {
	Architecture string
	OS           string
}

// expansions tries the templates of a container and returns the targets that its
// mounts would have, which must differ. The order in which faults are found is
// Docker's.
func expansions(c *swarm.ContainerSpec) ([]string, *Failed) {
	ctx := &Context{}
	ctx.Service.ID, ctx.Service.Name = "serviceid", "servicename"
	ctx.Node.ID, ctx.Node.Hostname = "nodeid", "nodeHostname"
	ctx.Node.Platform = Platform{Architecture: "architecture", OS: "os"}
	ctx.Task.Name, ctx.Task.Slot = "taskname", "1"
	for _, env := range c.Env {
		_, value, _ := strings.Cut(env, "=")
		if _, err := ctx.expand(value); err != nil {
			return nil, invalid("expanding env failed: expanding env %q: %s", env, err)
		}
	}
	targets := make([]string, len(c.Mounts))
	for i := range c.Mounts {
		target, err := ctx.expandMount(&c.Mounts[i])
		if err != nil {
			return nil, invalid("expanding mounts failed: %s", err)
		}
		targets[i] = target
	}
	if _, err := ctx.expand(c.Hostname); err != nil {
		return nil, invalid("expanding hostname failed: %s", err)
	}
	return targets, nil
}

// expandMount tries a mount's templates and returns its target.
func (ctx *Context) expandMount(m *mount.Mount) (string, error) {
	if _, err := ctx.expand(m.Source); err != nil {
		return "", fmt.Errorf("expanding mount source %q: %w", m.Source, err)
	}
	target, err := ctx.expand(m.Target)
	if err != nil {
		return "", fmt.Errorf("expanding mount target %q: %w", m.Target, err)
	}
	if m.VolumeOptions == nil {
		return target, nil
	}
	if err := ctx.expandValues(m.VolumeOptions.Labels); err != nil {
		return "", fmt.Errorf("expanding volume labels: %w", err)
	}
	if m.VolumeOptions.DriverConfig != nil {
		if err := ctx.expandValues(m.VolumeOptions.DriverConfig.Options); err != nil {
			return "", fmt.Errorf("expanding volume driver config: %w", err)
		}
	}
	return target, nil
}

func (ctx *Context) expandValues(values map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if _, err := ctx.expand(values[k]); err != nil {
			return fmt.Errorf("expanding map entry %q=%q: %w", k, values[k], err)
		}
	}
	return nil
}

// expand executes one text. What a template can cost is bounded: no loops but
// over labels, no templates within, no output larger than templateOutputsMax.
func (ctx *Context) expand(text string) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	if len(text) > templateBytesMax {
		return "", fmt.Errorf("a template may have at most %d bytes", templateBytesMax)
	}
	t, err := template.New("expansion").Option("missingkey=error").Funcs(boundedFuncs()).Parse(text)
	if err != nil {
		return "", err
	}
	if len(t.Templates()) > 1 || t.Tree == nil {
		return "", errors.New("a template may not define others")
	}
	if err := bounded(t.Root, templateDepthMax, false); err != nil {
		return "", err
	}
	out := limitedText{}
	if err := t.Execute(&out, ctx); err != nil {
		// Docker's type has the same name in another package.
		return "", errors.New(strings.ReplaceAll(strings.ReplaceAll(err.Error(),
			"control.Context", "template.Context"), "control.Platform", "template.Platform"))
	}
	return out.text.String(), nil
}

// limitedText is a writer that refuses to grow beyond templateOutputsMax.
type limitedText struct{ text strings.Builder }

func (l *limitedText) Write(p []byte) (int, error) {
	if l.text.Len()+len(p) > templateOutputsMax {
		return 0, tooLong()
	}
	return l.text.Write(p)
}

func tooLong() error {
	return fmt.Errorf("a template may come to at most %d bytes", templateOutputsMax)
}

// boundedFuncs are the functions of Docker's templates: join, and of text/template's
// own those that make text, with a bound on how much.
func boundedFuncs() template.FuncMap {
	short := func(s string) (string, error) {
		if len(s) > templateOutputsMax {
			return "", tooLong()
		}
		return s, nil
	}
	return template.FuncMap{
		"join": func(s ...string) (string, error) {
			if len(s) == 0 {
				return "", errors.New("join wants a separator")
			}
			return short(strings.Join(s[1:], s[0]))
		},
		"print":   func(a ...any) (string, error) { return short(fmt.Sprint(a...)) },
		"println": func(a ...any) (string, error) { return short(fmt.Sprintln(a...)) },
		"printf": func(format string, a ...any) (string, error) {
			if wide(format) {
				return "", errors.New("printf: width or precision too large")
			}
			return short(fmt.Sprintf(format, a...))
		},
		"html":     func(a ...any) (string, error) { return short(template.HTMLEscaper(a...)) },
		"js":       func(a ...any) (string, error) { return short(template.JSEscaper(a...)) },
		"urlquery": func(a ...any) (string, error) { return short(template.URLQueryEscaper(a...)) },
	}
}

// wide reports whether a format has a width or precision of more than three
// digits, or one taken from an argument.
func wide(format string) bool {
	digits := 0
	for _, c := range format {
		switch {
		case c >= '0' && c <= '9':
			if digits++; digits > 3 {
				return true
			}
		case c == '*':
			return true
		default:
			digits = 0
		}
	}
	return false
}

// bounded refuses what could run for long: loops over anything but a field, loops
// in loops, and deep nesting.
func bounded(n parse.Node, depth int, looping bool) error {
	if depth == 0 {
		return errors.New("a template may not nest so deep")
	}
	branch := func(b *parse.BranchNode, looping bool) error {
		if err := bounded(b.List, depth-1, looping); err != nil || b.ElseList == nil {
			return err
		}
		return bounded(b.ElseList, depth-1, looping)
	}
	switch n := n.(type) {
	case *parse.ListNode:
		for _, child := range n.Nodes {
			if err := bounded(child, depth-1, looping); err != nil {
				return err
			}
		}
	case *parse.IfNode:
		return branch(&n.BranchNode, looping)
	case *parse.WithNode:
		return branch(&n.BranchNode, looping)
	case *parse.RangeNode:
		if looping || len(n.Pipe.Cmds) != 1 || len(n.Pipe.Cmds[0].Args) != 1 {
			return errors.New("a template may loop over .Service.Labels only")
		}
		if f, ok := n.Pipe.Cmds[0].Args[0].(*parse.FieldNode); !ok || !slices.Equal(f.Ident, []string{"Service", "Labels"}) {
			return errors.New("a template may loop over .Service.Labels only")
		}
		return branch(&n.BranchNode, true)
	case *parse.TemplateNode:
		return errors.New("a template may not call others")
	}
	return nil
}
