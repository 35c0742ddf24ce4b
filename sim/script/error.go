package script

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// errorsMax is how many errors of a scenario are told at once.
const errorsMax = 10

// An Error is a line of a scenario that cannot be understood.
type Error struct {
	File     string
	Line     int
	Found    string // what is there
	Expected string // what could be
}

func (e *Error) Error() string {
	where := e.File
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	if e.Expected == "" {
		return where + ": " + e.Found
	}
	return fmt.Sprintf("%s: found %s, expected %s", where, e.Found, e.Expected)
}

// A nobody is an error that says that there is nobody, at present, to whom
// something could be done.
type nobody string

func (n nobody) Error() string { return string(n) }

func isNobody(err error) bool {
	_, is := errors.AsType[nobody](err)
	return is
}

// a mismatch is an error that has not learned its line yet.
type mismatch struct{ found, expected string }

func (m mismatch) Error() string { return fmt.Sprintf("found %s, expected %s", m.found, m.expected) }

func expected(found, format string, args ...any) error {
	return mismatch{found, fmt.Sprintf(format, args...)}
}

// nearest is the one of the known words that a word was probably meant to be, ""
// if none is near.
func nearest(word string, known ...string) string {
	best, name := 3, ""
	for _, k := range known {
		if d := distance(word, k); d < best && d < len(k)-1 {
			best, name = d, k
		}
	}
	return name
}

// distance is how many letters must be put in, left out or changed to make one
// word the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := left
			if a[i] != b[j] {
				cost++
			}
			left = row[j+1]
			row[j+1] = min(cost, row[j]+1, left+1)
		}
	}
	return row[len(b)]
}

// A mention is a service that a line of the scenario speaks of.
type mention struct {
	line int
	name string
}

// strangers complains of services that are spoken of, and that nobody makes: a
// mistyped name would otherwise be a service of which nothing ever runs.
func (p *parsing) strangers(file string) []error {
	var failed []error
	for _, m := range p.mentions {
		if p.created[m.name] || p.clientsMake && strings.HasPrefix(m.name, "service-") {
			continue
		}
		what := "a service that the story creates"
		if near := nearest(m.name, p.creates...); near != "" {
			what += ": perhaps " + near
		} else if len(p.creates) > 0 {
			what += ": " + strings.Join(p.creates, ", ")
		}
		failed = append(failed, &Error{file, m.line, strconv.Quote(m.name), what})
	}
	return failed
}

// makes notes that the story makes a service of that name.
func (p *parsing) makes(name string) {
	if name != "" && !p.created[name] {
		p.created[name] = true
		p.creates = append(p.creates, name)
	}
}
