package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swarmd/swarmd/engine/state"
)

// An entry is a line of a trace.
type entry struct {
	at   time.Duration
	host string
	sign string
	what string
}

func parseEntry(line string) (entry, bool) {
	at, rest, ok1 := strings.Cut(line, " ")
	host, rest, ok2 := strings.Cut(rest, " ")
	sign, what, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(at, 10, 64)
	return entry{time.Duration(n), host, sign, what}, ok1 && ok2 && err == nil && len(sign) == 1
}

// routine reports whether the entry only shows that things keep going.
func (e entry) routine() bool {
	words := strings.Fields(e.what)
	if len(words) == 0 || e.sign == "!" || e.sign == "#" {
		return false
	}
	quiet := []string{"woken", "verify", "verified", "publish", "network-applied", "apply-network"}
	if slices.Contains(quiet, words[0]) {
		return true
	}
	return (words[0] == "send" || words[0] == "received") && (slices.Contains(words, "heartbeat") || slices.Contains(words, "bye"))
}

// A naming knows which host or task an identifier is, from what the trace says.
type naming struct {
	hosts    map[string]string // names, by node
	tasks    map[string]string // service and slot, by task
	order    []string          // names of hosts, as they come
	managers map[string]bool   // by name
}

func newNaming() *naming {
	return &naming{hosts: map[string]string{}, tasks: map[string]string{}, managers: map[string]bool{}}
}

// learn takes names from the lines that give them.
func (n *naming) learn(line string) {
	words := strings.SplitN(line, " ", 8)
	switch {
	case len(words) == 7 && words[2] == "!" && words[3] == "host":
		n.hosts[words[6]] = words[4]
		n.managers[words[4]] = words[5] == "manager"
		n.order = append(n.order, words[4])
	case len(words) == 5 && words[2] == "<" && words[3] == "joined":
		n.hosts[words[4]] = words[1] // it is another node from now on
	case len(words) == 6 && words[2] == ">" && words[3] == "create-container":
		n.tasks[words[4]] = n.dotted(words[5])
	}
}

// dotted is the name of a task; that of a global service has its node's.
func (n *naming) dotted(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i+1] + n.host(name[i+1:])
	}
	return name
}

// host is the name of a host, if that is one's identifier.
func (n *naming) host(id string) string {
	if name := n.hosts[id]; name != "" {
		return name
	}
	return id
}

// all are the names of everything, by identifier.
func (n *naming) all() map[string]string {
	all := maps.Clone(n.tasks)
	maps.Copy(all, n.hosts)
	return all
}

// show renders an entry for people.
func (n *naming) show(e entry) string {
	return fmt.Sprintf("%s  %-8s %s %s", clock(e.at), e.host, e.sign, n.words(e.what))
}

// sessionDigits is from how many digits on a number is a session's, and sessionShown
// how many of them are shown.
const (
	sessionDigits = 12
	sessionShown  = 5
)

// words renders what happened: names for hosts and tasks, the beginnings of other
// identifiers, words for states.
func (n *naming) words(what string) string {
	if strings.HasPrefix(what, "host ") { // which is where the names come from
		return what
	}
	words := strings.Split(what, " ")
	states := slices.Contains(words, "report") || slices.Contains(words, "assign")
	before := ""
	for i, word := range words {
		if states && identifier(before) {
			words[i] = stateName(word)
		} else {
			words[i] = n.word(word)
		}
		before = word
	}
	return strings.Join(words, " ")
}

// word renders a word; an identifier may follow a kind, and be followed by a
// version or a colon: node/ID, template/ID.2, ID:
func (n *naming) word(word string) string {
	kind, id, cut := strings.Cut(word, "/")
	if cut {
		kind += "/"
	} else {
		kind, id = "", word
	}
	end := strings.IndexAny(id, ".:")
	if end < 0 {
		end = len(id)
	}
	id, rest := id[:end], id[end:]
	switch {
	case n.hosts[id] != "":
		id = n.hosts[id]
	case n.tasks[id] != "":
		id = n.tasks[id] + "(" + short(id) + ")"
	case identifier(id):
		id = short(id)
	case len(word) >= sessionDigits && strings.Trim(word, "0123456789") == "":
		id = word[:sessionShown] + "…"
	default:
		return word
	}
	return kind + id + rest
}

// stateName is the word for a task's state, which traces give in numbers.
func stateName(number string) string {
	n, err := strconv.Atoi(number)
	if err != nil {
		return number
	}
	return state.TaskState(n).String()
}

// taskStates are the words for all states.
func taskStates() map[string]string {
	all := map[string]string{}
	for s := state.TaskNew; s <= state.TaskOrphaned; s++ {
		if name := s.String(); !strings.HasPrefix(name, "state-") {
			all[strconv.Itoa(int(s))] = name
		}
	}
	return all
}

// short is as much of an identifier as is shown.
func short(id string) string {
	const length = 7
	return id[:min(length, len(id))]
}

// identifier reports whether a word is one of swarm's: 25 digits of base 36.
func identifier(word string) bool {
	const length = 25
	return len(word) == length && strings.Trim(word, "0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

// clock is a time since the start, in seconds, in a column.
func clock(at time.Duration) string {
	return fmt.Sprintf("%12.6f", at.Seconds())
}
