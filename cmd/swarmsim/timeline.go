package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
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

// A naming knows which host an identifier is, from what the trace says.
type naming struct{ hosts map[string]string }

func newNaming() *naming { return &naming{map[string]string{}} }

// learn takes names from the lines that give them.
func (n *naming) learn(line string) {
	words := strings.Fields(line)
	if len(words) == 7 && words[2] == "!" && words[3] == "host" {
		n.hosts[words[6]] = words[4]
	}
}

// show renders an entry for people.
func (n *naming) show(e entry) string {
	words := strings.Split(e.what, " ")
	for i, word := range words {
		name := word
		prefix, id, cut := strings.Cut(word, "/")
		if cut {
			name = id
		}
		switch {
		case n.hosts[name] != "":
			name = n.hosts[name]
		case identifier(name):
			name = name[:7]
		default:
			continue
		}
		if cut {
			name = prefix + "/" + name
		}
		words[i] = name
	}
	return fmt.Sprintf("%s  %-8s %s %s", clock(e.at), e.host, e.sign, strings.Join(words, " "))
}

// identifier reports whether a word is one of swarm's: 25 digits of base 36.
func identifier(word string) bool {
	const length = 25
	return len(word) == length && strings.Trim(word, "0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

// clock is a time since the start, in columns.
func clock(at time.Duration) string {
	seconds := at.Seconds()
	minutes := int(seconds) / 60
	return fmt.Sprintf("%4d:%09.6f", minutes, seconds-float64(minutes*60))
}
