package main

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// never is the line at which something ends that has not ended.
const never = -1

// A drawing is what a page shows of a trace. It tells moments by the number of
// their line, counted from 0: the page has the lines.
type drawing struct {
	Hosts      []*drawnHost      `json:"hosts"`
	Messages   []drawnMessage    `json:"messages"`
	Kinds      []string          `json:"kinds"` // of messages
	Marks      []drawnMark       `json:"marks"`
	Violations []int             `json:"violations"`
	Names      map[string]string `json:"names"` // of hosts and tasks, by identifier

	numbers map[string]int // of hosts, by name
	kinds   map[string]int
	bars    map[string]*drawnBar // by host and task, of containers that run
	sent    map[string]*sending  // by sender, receiver and text
}

// A drawnHost is a lane.
type drawnHost struct {
	Name    string      `json:"name"`
	Manager bool        `json:"manager"`
	Leads   []drawnSpan `json:"leads"`   // of a term
	Daemon  []drawnSpan `json:"daemon"`  // down or paused
	Paths   []drawnSpan `json:"paths"`   // that are not sound
	Bars    []*drawnBar `json:"bars"`    // containers that run
	Commits []int       `json:"commits"` // entries that it applied
	Calls   []int       `json:"calls"`   // that clients made

	bad     map[string]string // paths that are not sound, by where they lead
	pathsAt time.Duration     // when they last changed
}

// A drawnSpan is a time of which something holds.
type drawnSpan struct {
	Text string `json:"text"`
	From int    `json:"from"`
	To   int    `json:"to"`
}

// A drawnBar is the process of a container.
type drawnBar struct {
	Task  string `json:"task"`
	Label string `json:"label"`
	From  int    `json:"from"`
	To    int    `json:"to"`
	Code  int    `json:"code"`
}

// A drawnMessage is where it was sent and where it was received, in numbers: its
// kind, the sender, the line, the receiver, the line.
type drawnMessage [5]int

// A drawnMark is a command of the scenario, what became of it, or a fault.
type drawnMark struct {
	Line  int    `json:"line"`
	Kind  string `json:"kind"` // step, done, refused, or fault
	Text  string `json:"text"`
	Hosts []int  `json:"hosts"`
}

// A sending is a message under way; a late copy of it may still come once it has
// arrived.
type sending struct {
	waiting []int // messages, by number
	last    drawnMessage
}

// draw makes a drawing of a trace.
func draw(lines []string, naming *naming) *drawing {
	d := &drawing{
		Names: naming.all(), numbers: map[string]int{}, kinds: map[string]int{},
		bars: map[string]*drawnBar{}, sent: map[string]*sending{},
	}
	for _, name := range naming.order {
		d.host(name).Manager = naming.managers[name]
	}
	for i, line := range lines {
		if e, ok := parseEntry(line); ok {
			d.add(i, e)
		}
	}
	slices.SortStableFunc(d.Hosts, func(a, b *drawnHost) int {
		switch {
		case a.Manager == b.Manager:
			return 0
		case a.Manager:
			return -1
		default:
			return 1
		}
	})
	d.renumber()
	return d
}

// host returns the lane of a host.
func (d *drawing) host(name string) *drawnHost {
	n, known := d.numbers[name]
	if !known {
		n = len(d.Hosts)
		d.numbers[name] = n
		d.Hosts = append(d.Hosts, &drawnHost{Name: name, bad: map[string]string{}})
	}
	return d.Hosts[n]
}

// renumber has hosts told by the number of their lane.
func (d *drawing) renumber() {
	lanes := make([]int, len(d.Hosts))
	for i, h := range d.Hosts {
		lanes[d.numbers[h.Name]] = i
	}
	for i := range d.Messages {
		m := &d.Messages[i]
		m[1], m[3] = lanes[m[1]], lanes[m[3]]
	}
	for i := range d.Marks {
		for j, n := range d.Marks[i].Hosts {
			d.Marks[i].Hosts[j] = lanes[n]
		}
	}
}

// add draws a line.
func (d *drawing) add(line int, e entry) {
	words := strings.Fields(e.what)
	if len(words) == 0 {
		return
	}
	switch e.sign {
	case "!":
		d.command(line, e.what, words)
	case "#":
		d.note(line, e, words)
	case "<":
		d.event(line, d.host(e.host), words)
	case ">":
		if words[0] == "send" && len(words) > 2 {
			d.send(line, e.host, words)
		}
	}
}

// event draws what an engine took in.
func (d *drawing) event(line int, h *drawnHost, words []string) {
	switch words[0] {
	case "started":
		end(h.Daemon, line)
	case "committed":
		h.Commits = append(h.Commits, line)
	case "called":
		h.Calls = append(h.Calls, line)
	case "deposed":
		end(h.Leads, line)
	case "leader-changed":
		if len(words) < 2 || d.Names[words[1]] != h.Name {
			end(h.Leads, line)
		}
	case "received":
		if len(words) > 2 {
			d.receive(line, h.Name, words)
		}
	}
}

// command draws a command, or a fault.
func (d *drawing) command(line int, what string, words []string) {
	switch {
	case words[0] == "host":
		return
	case words[0] == "raft:" && len(words) == 5:
		h := d.host(words[1])
		end(h.Leads, line)
		h.Leads = append(h.Leads, drawnSpan{words[4], line, never})
		return
	}
	mark := drawnMark{Line: line, Kind: "fault", Text: what, Hosts: []int{}}
	switch words[0] {
	case "line":
		mark.Kind = "step"
		if _, text, ok := strings.Cut(what, ": "); ok {
			mark.Text = text
		}
	case "done:", "refused:", "user:":
		mark.Kind = strings.TrimSuffix(words[0], ":")
	default:
		for _, w := range words {
			if n, ok := d.numbers[w]; ok && !slices.Contains(mark.Hosts, n) {
				mark.Hosts = append(mark.Hosts, n)
			}
		}
	}
	d.Marks = append(d.Marks, mark)
}

// note draws what really happened.
func (d *drawing) note(line int, e entry, words []string) {
	if words[0] == "violated:" {
		d.Violations = append(d.Violations, line)
		return
	}
	if e.host == "-" {
		return
	}
	h := d.host(e.host)
	switch {
	case words[0] == "killed", words[0] == "powered-off":
		end(h.Leads, line)
		if n := len(h.Daemon); n > 0 && h.Daemon[n-1] == (drawnSpan{"down", h.Daemon[n-1].From, never}) {
			return // it was
		}
		end(h.Daemon, line)
		h.Daemon = append(h.Daemon, drawnSpan{"down", line, never})
	case words[0] == "paused":
		h.Daemon = append(h.Daemon, drawnSpan{"paused", line, never})
	case words[0] == "resumed":
		end(h.Daemon, line)
	case words[0] == "path" && len(words) == 3:
		h.path(line, e.at, words[1], words[2])
	case words[0] == "runs" && len(words) > 1:
		label := d.Names[words[1]]
		if label == "" {
			label = short(words[1])
		}
		b := &drawnBar{words[1], label, line, never, 0}
		d.bars[e.host+" "+b.Task] = b
		h.Bars = append(h.Bars, b)
	case words[0] == "ended" && len(words) > 1:
		if b := d.bars[e.host+" "+words[1]]; b != nil {
			b.To = line
			if len(words) > 2 {
				b.Code, _ = strconv.Atoi(words[2]) // 0 if it is not known
			}
			delete(d.bars, e.host+" "+words[1])
		}
	}
}

// path draws a time in which messages from the host do not all arrive.
func (h *drawnHost) path(line int, at time.Duration, to, fare string) {
	delete(h.bad, to)
	if fare != "sound" {
		h.bad[to] = fare
	}
	end(h.Paths, line)
	if len(h.bad) == 0 {
		return
	}
	text := fare + " to " + to
	if len(h.bad) > 1 {
		text = strconv.Itoa(len(h.bad)) + " paths are not sound, such as " + fare + " to " + to
	}
	if n := len(h.Paths); n > 0 && h.pathsAt == at { // changed with others
		line = h.Paths[n-1].From
		h.Paths = h.Paths[:n-1]
	}
	h.Paths, h.pathsAt = append(h.Paths, drawnSpan{text, line, never}), at
}

// end ends the last span, if it has not ended.
func end(spans []drawnSpan, line int) {
	if n := len(spans); n > 0 && spans[n-1].To == never {
		spans[n-1].To = line
	}
}

// send draws a message that is not received, unless a line to come says it is.
func (d *drawing) send(line int, host string, words []string) {
	to := d.Names[words[1]]
	if _, known := d.numbers[to]; !known {
		return
	}
	d.host(host)
	kind, known := d.kinds[words[2]]
	if !known {
		kind = len(d.Kinds)
		d.kinds[words[2]] = kind
		d.Kinds = append(d.Kinds, words[2])
	}
	key := host + ">" + to + " " + strings.Join(words[2:], " ")
	s := d.sent[key]
	if s == nil {
		s = &sending{}
		d.sent[key] = s
	}
	s.waiting = append(s.waiting, len(d.Messages))
	s.last = drawnMessage{kind, d.numbers[host], line, d.numbers[to], never}
	d.Messages = append(d.Messages, s.last)
}

// receive draws where a message arrived: the first such that is under way, or
// else one more copy of the last.
func (d *drawing) receive(line int, host string, words []string) {
	s := d.sent[d.Names[words[1]]+">"+host+" "+strings.Join(words[2:], " ")]
	switch {
	case s == nil:
	case len(s.waiting) > 0:
		d.Messages[s.waiting[0]][4] = line
		s.waiting = s.waiting[1:]
	default:
		late := s.last
		late[4] = line
		d.Messages = append(d.Messages, late)
	}
}
