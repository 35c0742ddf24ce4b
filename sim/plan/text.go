package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settlePatience is how long a healed core may take to come to rest.
const settlePatience = "2h"

// Scenario is the plan as a scenario, which [Parse] reads back.
func (p *Plan) Scenario() string {
	var b strings.Builder
	for _, s := range p.Sentence {
		fmt.Fprintf(&b, "# %s\n", s)
	}
	fmt.Fprintf(&b, "swarm --managers %d --workers %d --seed %d%s\n", p.Managers, p.Workers, p.Seed, prefixed(p.Knobs))
	for _, line := range p.Hosts {
		fmt.Fprintln(&b, line)
	}
	for _, line := range p.Images {
		if p.names(strings.Fields(line)[1]) {
			fmt.Fprintln(&b, line)
		}
	}
	for _, line := range p.Rules {
		fmt.Fprintln(&b, line)
	}
	for i, e := range p.Events {
		e.write(&b, "t"+strconv.Itoa(i+1), p.Calm)
	}
	fmt.Fprintf(&b, "advance %v\n", p.Calm)
	b.WriteString("settle " + settlePatience)
	if len(p.Broken) > 0 {
		b.WriteString(" --broken " + strings.Join(p.Broken, ","))
	}
	b.WriteString("\n")
	return b.String()
}

func prefixed(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}

// write writes the lines of an event, whose target is called name there. What is
// undone only after the calm has begun is healed by then, or broken for good.
func (e *Event) write(b *strings.Builder, name string, calm time.Duration) {
	if e.Target != "" {
		fmt.Fprintf(b, "at %v: pick %s %s\n", e.At, name, e.Target)
	}
	fmt.Fprintf(b, "at %v: %s\n", e.At, strings.ReplaceAll(e.Do, "%", name))
	if e.Undo != "" && e.At+e.Lasts <= calm {
		fmt.Fprintf(b, "at %v: %s\n", e.At+e.Lasts, strings.ReplaceAll(e.Undo, "%", name))
	}
}

// Parse reads what [Plan.Scenario] has written, also after somebody has left out
// or changed lines of it. Other scenarios are no plans.
func Parse(text string) (*Plan, error) {
	p := &Plan{}
	reader := planReader{Plan: p, open: map[string]int{}}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if about, ok := strings.CutPrefix(line, "#"); ok {
			p.Sentence = append(p.Sentence, strings.TrimSpace(about))
			continue
		}
		if line == "" {
			continue
		}
		if err := reader.line(line); err != nil {
			return nil, fmt.Errorf("line %d: %w; a plan is a swarm, its hosts and images, always and never, commands at their times, advance and settle", i+1, err)
		}
	}
	if p.Managers == 0 || p.Calm == 0 {
		return nil, fmt.Errorf("this is no plan: it needs a swarm line with --managers, and an advance before settle")
	}
	return p, nil
}

// A planReader reads a plan line by line.
type planReader struct {
	*Plan
	open map[string]int // events by the names of their targets
}

func (r *planReader) line(line string) error {
	words := strings.Fields(line)
	switch words[0] {
	case "swarm":
		return r.swarm(words[1:])
	case "host":
		r.Hosts = append(r.Hosts, line)
	case "image":
		r.Images = append(r.Images, line)
	case "always", "never":
		r.Rules = append(r.Rules, line)
	case "at":
		when, command, ok := strings.Cut(strings.TrimPrefix(line, "at "), ": ")
		at, err := time.ParseDuration(strings.TrimSpace(when))
		if err != nil || !ok {
			return fmt.Errorf("found %q, expected a time and a colon after at", when)
		}
		r.event(at, strings.TrimSpace(command))
	case "advance":
		d, err := time.ParseDuration(words[len(words)-1])
		if err != nil {
			return fmt.Errorf("found %q, expected a duration after advance", words[len(words)-1])
		}
		r.Calm = d
	case "settle":
		for i, w := range words {
			if w == "--broken" && i+1 < len(words) {
				r.Broken = strings.Split(words[i+1], ",")
			}
		}
	default:
		return fmt.Errorf("found %q, which is not of a plan", words[0])
	}
	return nil
}

func (r *planReader) swarm(words []string) error {
	var knobs []string
	for i := 0; i < len(words); i++ {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		var err error
		switch words[i] {
		case "--managers":
			r.Managers, err = strconv.Atoi(value)
		case "--workers":
			r.Workers, err = strconv.Atoi(value)
		case "--seed":
			r.Seed, err = strconv.ParseUint(value, 10, 64)
		default:
			knobs = append(knobs, words[i], value)
		}
		if err != nil {
			return fmt.Errorf("found %q, expected a number after %s", value, words[i])
		}
		i++
	}
	r.Knobs = strings.Join(knobs, " ")
	return nil
}

// event takes in a command: the picking of a target begins an event, the next that
// speaks of it is what is done, and the one after that undoes it.
func (r *planReader) event(at time.Duration, command string) {
	words := strings.Fields(command)
	if words[0] == "pick" && len(words) == 3 {
		r.open[words[1]] = len(r.Events)
		r.Events = append(r.Events, Event{At: at, Target: words[2], Fault: "fault"})
		return
	}
	for _, w := range words {
		i, ok := r.open[strings.TrimSuffix(w, ":")]
		if !ok {
			continue
		}
		e := &r.Events[i]
		command = anonymous(words, strings.TrimSuffix(w, ":"))
		if e.Do == "" {
			e.Do, e.Fault = command, kindOf(command)
		} else {
			e.Undo, e.Lasts = command, at-e.At
		}
		return
	}
	r.Events = append(r.Events, Event{At: at, Do: command, Fault: kindOf(command)})
}

// anonymous puts % in the place of a target's name.
func anonymous(words []string, name string) string {
	words = slices.Clone(words)
	for i, w := range words {
		if strings.TrimSuffix(w, ":") == name {
			words[i] = strings.Replace(w, name, "%", 1)
		}
	}
	return strings.Join(words, " ")
}

// kindOf is the kind of fault that a command is, "" for operations.
func kindOf(command string) string {
	switch word := strings.Fields(command)[0]; word {
	case "try", "on", "service", "network", "node", "swarm", "docker", "clients":
		return ""
	default:
		return word
	}
}
