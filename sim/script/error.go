package script

import (
	"errors"
	"fmt"
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

// errNobody says that a target is no host at present.
var errNobody = errors.New("is no host at present")

// a mismatch is an error that has not learned its line yet.
type mismatch struct{ found, expected string }

func (m mismatch) Error() string { return fmt.Sprintf("found %s, expected %s", m.found, m.expected) }

func expected(found, format string, args ...any) error {
	return mismatch{found, fmt.Sprintf(format, args...)}
}
