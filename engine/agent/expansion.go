package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"
)

// Limits of what one template in a spec may come to.
const (
	templateBytesMax   = 16 << 10
	templateOutputsMax = 64 << 10
	templateDepthMax   = 64
)

// A scope is what a template in a service's spec can name. Its fields are
// Docker's.
type scope struct {
	Service struct {
		ID     string
		Name   string
		Labels map[string]string
	}
	Node struct {
		ID       string
		Hostname string
		Platform platform
	}
	Task struct {
		ID   string
		Name string
		Slot string
	}
}

// A platform is a node's platform as a template sees it.
type platform struct {
	Architecture string
	OS           string
}

// contextOf is what the templates of a task can name.
func (a *Agent) contextOf(t *task) *scope {
	s := &scope{}
	s.Service.ID = string(t.task.Service)
	s.Service.Name = t.template.ServiceName
	s.Service.Labels = t.template.ServiceLabels
	s.Node.ID = string(a.config.Self)
	s.Node.Hostname = a.config.Hostname
	s.Node.Platform = platform{a.config.Platform.Architecture, a.config.Platform.OS}
	s.Task.ID = string(t.id)
	s.Task.Name = taskName(t.task, t.template)
	s.Task.Slot = slot(t.task)
	return s
}

// container returns a copy of a spec with its templates expanded.
func (s *scope) container(spec *swarm.ContainerSpec) (swarm.ContainerSpec, error) {
	c := *spec
	c.Env = slices.Clone(spec.Env)
	for i, env := range c.Env {
		name, value, ok := strings.Cut(env, "=")
		if !ok {
			continue
		}
		expanded, err := s.expand(value)
		if err != nil {
			return c, fmt.Errorf("expanding env failed: expanding env %q: %w", env, err)
		}
		c.Env[i] = name + "=" + expanded
	}
	c.Mounts = slices.Clone(spec.Mounts)
	for i := range c.Mounts {
		if err := s.mount(&c.Mounts[i]); err != nil {
			return c, fmt.Errorf("expanding mounts failed: %w", err)
		}
	}
	var err error
	if c.Hostname, err = s.expand(spec.Hostname); err != nil {
		return c, fmt.Errorf("expanding hostname failed: %w", err)
	}
	return c, nil
}

// mount expands the templates of a mount, which must not be the spec's own.
func (s *scope) mount(m *mount.Mount) error {
	var err error
	if m.Source, err = s.expand(m.Source); err != nil {
		return fmt.Errorf("expanding mount source %q: %w", m.Source, err)
	}
	if m.Target, err = s.expand(m.Target); err != nil {
		return fmt.Errorf("expanding mount target %q: %w", m.Target, err)
	}
	if m.VolumeOptions == nil {
		return nil
	}
	options := *m.VolumeOptions
	m.VolumeOptions = &options
	if options.Labels, err = s.values(options.Labels); err != nil {
		return fmt.Errorf("expanding volume labels: %w", err)
	}
	if options.DriverConfig != nil {
		driver := *options.DriverConfig
		options.DriverConfig = &driver
		if driver.Options, err = s.values(driver.Options); err != nil {
			return fmt.Errorf("expanding volume driver config: %w", err)
		}
	}
	return nil
}

func (s *scope) values(values map[string]string) (map[string]string, error) {
	if values == nil {
		return nil, nil
	}
	expanded := make(map[string]string, len(values))
	for _, k := range slices.Sorted(maps.Keys(values)) {
		text, err := s.expand(values[k])
		if err != nil {
			return nil, fmt.Errorf("expanding map entry %q=%q: %w", k, values[k], err)
		}
		expanded[k] = text
	}
	return expanded, nil
}

// expand executes one text. It has been tried before the service was admitted,
// with other words; what it can cost is bounded here once more.
func (s *scope) expand(text string) (string, error) {
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
	if err := t.Execute(&out, s); err != nil {
		// Docker's types have other names.
		return "", errors.New(strings.NewReplacer(
			"agent.scope", "template.Context", "agent.platform", "template.Platform").Replace(err.Error()))
	}
	return out.text.String(), nil
}
