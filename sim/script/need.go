package script

import (
	"errors"
	"time"
)

// A Need is something that a scenario asks of the world that it is played in, and
// that not every world has.
type Need struct {
	Line int
	// What is a command that does something, such as clock, or one of its flags, as
	// storm --clock; a condition that looks inside, as quiet; or check linearizable.
	What string
	Time time.Duration // that must pass at least, if What is advance or idle
}

// need notes what the line that is being read asks of its world.
func (p *parsing) need(what string, time time.Duration) {
	p.script.Needs = append(p.script.Needs, Need{p.line, what, time})
}

// Check is an error that joins an [Error] for each of the script's needs that a
// world cannot fulfil, with its sentence on why, up to a limit.
func (s *Script) Check(cannot func(Need) string) error {
	var failed []error
	told := map[Need]bool{}
	for _, n := range s.Needs {
		if why := cannot(n); why != "" && !told[n] && len(failed) < errorsMax {
			told[n] = true
			failed = append(failed, &Error{File: s.File, Line: n.Line, Found: n.What + ": " + why})
		}
	}
	return errors.Join(failed...)
}
