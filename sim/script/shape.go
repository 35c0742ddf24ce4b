package script

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/sim"
)

// shape reads a command about the swarm's shape, and reports whether it was one.
func (p *parsing) shape(r *reader) (bool, error) {
	var read func(*reader) error
	switch {
	case r.peek() == "swarm" && (len(r.words) == 1 || strings.HasPrefix(r.words[1], "--")):
		read = p.swarmLine
	case r.peek() == "host":
		read = p.hostLine
	case r.peek() == "image":
		read = p.imageLine
	default:
		return false, nil
	}
	if p.begun {
		return true, r.want("what the swarm is made of to stand before everything that happens")
	}
	p.begin(r.next())
	if err := read(r); err != nil {
		return true, err
	}
	return true, r.end()
}

func (p *parsing) swarmLine(r *reader) error {
	c := &p.script.Config
	managers, workers := 0, 0
	err := r.flags([]flag{
		numberFlag("managers", &managers), numberFlag("workers", &workers),
		seedFlag("seed", &c.Seed),
		durationFlag("heartbeat", &c.Heartbeat), numberFlag("snapshot-entries", &c.SnapshotEntries),
		numberFlag("trailing-entries", &c.TrailingEntries), durationFlag("snapshot-interval", &c.SnapshotInterval),
	})
	if err != nil {
		return err
	}
	if managers+workers > sim.HostsMax {
		return expected(strconv.Itoa(managers+workers)+" hosts", "at most %d", sim.HostsMax)
	}
	for i := range managers {
		p.host(fmt.Sprintf("m%d", i+1)).Manager = true
	}
	for i := range workers {
		p.host(fmt.Sprintf("w%d", i+1))
	}
	if managers == 0 && len(c.Hosts) == 0 {
		return expected("a swarm without a manager", "--managers 1 or more, or host lines with --manager before this one")
	}
	return nil
}

// seedFlag is what a scenario is drawn from where nobody says otherwise.
func seedFlag(name string, to *uint64) flag {
	return flag{name: name, what: "a seed: a whole number", set: func(v string) (err error) {
		*to, err = strconv.ParseUint(v, 10, 64)
		return err
	}}
}

// host returns the host of a name, which is made if there is none.
func (p *parsing) host(name string) *sim.HostConfig {
	hosts := &p.script.Config.Hosts
	if i := slices.IndexFunc(*hosts, func(h sim.HostConfig) bool { return h.Name == name }); i >= 0 {
		return &(*hosts)[i]
	}
	p.names[name] = true
	*hosts = append(*hosts, sim.HostConfig{Name: name, NodeLabels: map[string]string{}, EngineLabels: map[string]string{}})
	return &(*hosts)[len(*hosts)-1]
}

// sortHosts puts the managers first, as a world wants them.
func sortHosts(c *sim.Config) {
	slices.SortStableFunc(c.Hosts, func(a, b sim.HostConfig) int {
		switch {
		case a.Manager == b.Manager:
			return 0
		case a.Manager:
			return -1
		default:
			return 1
		}
	})
}

func (p *parsing) hostLine(r *reader) error {
	name := r.peek()
	if !plainName(name) {
		return r.want("the name of a host, of letters, digits and dashes")
	}
	r.at++
	h := p.host(name)
	return r.flags([]flag{
		onFlag("manager", &h.Manager),
		numberFlag("cpus", &h.CPUs),
		{name: "memory", what: "an amount such as 512M or 8G", set: func(v string) (err error) {
			h.MemoryBytes, err = units.RAMInBytes(v)
			return err
		}},
		pairFlag("label", h.NodeLabels),
		pairFlag("engine-label", h.EngineLabels),
		{name: "platform", what: "system/architecture such as windows/amd64", set: func(v string) error {
			system, architecture, ok := strings.Cut(v, "/")
			if !ok || system == "" || architecture == "" {
				return fmt.Errorf("%s is no platform", v)
			}
			h.Platform = swarm.Platform{OS: system, Architecture: architecture}
			return nil
		}},
		{name: "generic", what: "kind=amount such as gpu=2, or kind=name", set: func(v string) error { return addGeneric(h, v) }},
		{name: "availability", what: "active, pause or drain", set: func(v string) error {
			h.Availability = swarm.NodeAvailability(v)
			return oneOf(v, "active", "pause", "drain")
		}},
	})
}

func addGeneric(h *sim.HostConfig, v string) error {
	kind, value, ok := strings.Cut(v, "=")
	if !ok || kind == "" || value == "" {
		return fmt.Errorf("%s is no generic resource", v)
	}
	g := swarm.GenericResource{NamedResourceSpec: &swarm.NamedGenericResource{Kind: kind, Value: value}}
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		g = swarm.GenericResource{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: kind, Value: n}}
	}
	h.Generic = append(h.Generic, g)
	return nil
}

func (p *parsing) imageLine(r *reader) error {
	name := r.peek()
	if name == "" || strings.HasPrefix(name, "-") {
		return r.want("the name of an image, such as web:bad")
	}
	r.at++
	image := p.script.Config.Images[name]
	stop := time.Duration(0)
	err := r.flags([]flag{
		onFlag("missing", &image.Missing), onFlag("oom", &image.OOM), onFlag("stubborn", &image.Stubborn),
		durationFlag("pull", &image.PullTime), durationFlag("create", &image.CreateTime), durationFlag("start", &image.StartTime),
		durationFlag("after", &image.RunTime), durationFlag("stop", &stop), durationFlag("healthy", &image.Healthy),
		chanceFlag("create-fail", &image.CreateFail), chanceFlag("start-fail", &image.StartFail), chanceFlag("flaps", &image.Flaps),
		{name: "exits", what: "exit codes such as 1 or 0,1", set: func(v string) error {
			image.Exits = true
			for word := range strings.SplitSeq(v, ",") {
				code, err := strconv.ParseUint(word, 10, 8)
				if err != nil {
					return err
				}
				image.Codes = append(image.Codes, int(code))
			}
			return nil
		}},
	})
	image.StopTime = stop
	p.script.Config.Images[name] = image
	return err
}

// plainName reports whether a word can name a host.
func plainName(word string) bool {
	return word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == "" &&
		!slices.Contains(targetWords(), word)
}

func oneOf(word string, known ...string) error {
	if !slices.Contains(known, word) {
		return fmt.Errorf("%q is not one of %s", word, strings.Join(known, ", "))
	}
	return nil
}
