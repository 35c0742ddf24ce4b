package script

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swarmd/swarmd/sim"
)

// day is what people mean by d.
const day = 24 * time.Hour

// A reader goes through the words of one command.
type reader struct {
	words []string
	at    int
	p     *parsing
}

func (r *reader) more() bool { return r.at < len(r.words) }

// peek is the next word, "" at the end.
func (r *reader) peek() string {
	if r.more() {
		return r.words[r.at]
	}
	return ""
}

// next takes a word.
func (r *reader) next() string {
	word := r.peek()
	r.at++
	return word
}

// accept takes the next word if it is this one.
func (r *reader) accept(word string) bool {
	if r.peek() != word {
		return false
	}
	r.at++
	return true
}

// rest takes all words that are left.
func (r *reader) rest() []string {
	rest := r.words[min(r.at, len(r.words)):]
	r.at = len(r.words)
	return rest
}

// want complains of the next word.
func (r *reader) want(format string, args ...any) error {
	return expected(r.found(), format, args...)
}

func (r *reader) found() string {
	if !r.more() {
		return "the end of the line"
	}
	return strconv.Quote(r.peek())
}

// end sees to it that nothing is left.
func (r *reader) end() error {
	if r.more() {
		return r.want("the end of the line")
	}
	return nil
}

// A span is a duration, or what one is drawn from.
type span struct{ lo, hi time.Duration }

func (s span) draw(st *sim.Stream) time.Duration {
	if s.lo == s.hi {
		return s.lo
	}
	return st.Between(s.lo, s.hi)
}

func (s span) String() string {
	if s.lo == s.hi {
		return s.lo.String()
	}
	return s.lo.String() + ".." + s.hi.String()
}

// duration takes a duration such as 10s, or a range such as 5s..20s.
func (r *reader) duration() (span, error) {
	s, err := parseSpan(r.peek())
	if err != nil {
		return span{}, r.want("a duration such as 10s, 1m30s or 2d, or a range such as 5s..20s")
	}
	r.at++
	return s, nil
}

func parseSpan(word string) (span, error) {
	lo, hi, ranged := strings.Cut(word, "..")
	if !ranged {
		hi = lo
	}
	from, err := parseDuration(lo)
	if err != nil {
		return span{}, err
	}
	to, err := parseDuration(hi)
	if err == nil && (from < 0 || to < from) {
		err = fmt.Errorf("%s is no range", word)
	}
	return span{from, to}, err
}

// parseDuration reads a duration, days too.
func parseDuration(word string) (time.Duration, error) {
	if number, ok := strings.CutSuffix(word, "d"); ok {
		n, err := strconv.ParseFloat(number, 64)
		if err == nil && (n > 100_000 || n < -100_000) {
			err = fmt.Errorf("%s is too long", word)
		}
		return time.Duration(n * float64(day)), err
	}
	return time.ParseDuration(word)
}

// number takes a whole number that is not negative.
func (r *reader) number() (int, error) {
	n, err := strconv.ParseUint(r.peek(), 10, 31)
	if err != nil {
		return 0, r.want("a number")
	}
	r.at++
	return int(n), nil
}

// A flag is what follows a command as --name value, or --name=value. One without
// a value has a nil set.
type flag struct {
	name string
	what string // the value expected, for complaints
	set  func(value string) error
	on   func()
}

// flags takes flags up to the end of the line, or up to a word that is none.
func (r *reader) flags(known []flag) error {
	for strings.HasPrefix(r.peek(), "--") {
		name, value, given := strings.Cut(r.peek()[2:], "=")
		i := slices.IndexFunc(known, func(f flag) bool { return f.name == name })
		if i < 0 {
			names := make([]string, 0, len(known))
			for _, f := range known {
				names = append(names, "--"+f.name)
			}
			return r.want("one of %s", strings.Join(names, ", "))
		}
		f := known[i]
		r.p.need(r.p.verb+" --"+name, 0)
		if f.on != nil {
			if given {
				return r.want("--%s without a value", name)
			}
			r.at++
			f.on()
			continue
		}
		if !given {
			r.at++
			value = r.peek()
		}
		if !given && !r.more() || f.set(value) != nil {
			if given {
				return expected(strconv.Quote(value), "%s after --%s", f.what, name)
			}
			return r.want("%s after --%s", f.what, name)
		}
		r.at++
	}
	return nil
}

// The kinds of flags.

func onFlag(name string, to *bool) flag { return flag{name: name, on: func() { *to = true }} }

func durationFlag(name string, to *time.Duration) flag {
	return flag{name: name, what: "a duration such as 10s", set: func(v string) (err error) {
		*to, err = parseDuration(v)
		if err == nil && *to < 0 {
			err = fmt.Errorf("%s is negative", v)
		}
		return err
	}}
}

func spanFlag(name string, to *span) flag {
	return flag{name: name, what: "a duration such as 10s, or a range such as 5s..20s", set: func(v string) (err error) {
		*to, err = parseSpan(v)
		return err
	}}
}

func chanceFlag(name string, to *float64) flag {
	return flag{name: name, what: "a probability from 0 to 1", set: func(v string) (err error) {
		*to, err = strconv.ParseFloat(v, 64)
		if err == nil && !(*to >= 0 && *to <= 1) {
			err = fmt.Errorf("%s is no probability", v)
		}
		return err
	}}
}

func numberFlag(name string, to *int) flag {
	return flag{name: name, what: "a number", set: func(v string) error {
		n, err := strconv.ParseUint(v, 10, 31)
		*to = int(n)
		return err
	}}
}

func textFlag(name string, to *string) flag {
	return flag{name: name, what: "a word", set: func(v string) error {
		*to = v
		return nil
	}}
}

// rateFlag takes a rate such as 0.1/s or 3/m.
func rateFlag(name string, to *float64) flag {
	return flag{name: name, what: "a rate such as 0.1/s, 3/m or 10/h", set: func(v string) error {
		number, unit, _ := strings.Cut(v, "/")
		n, err := strconv.ParseFloat(number, 64)
		per := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
		if err != nil || per == 0 || !(n >= 0 && n/per <= ratePerSecondMax) {
			return fmt.Errorf("%s is no rate", v)
		}
		*to = n / per
		return nil
	}}
}

// ratePerSecondMax is the highest rate of a storm.
const ratePerSecondMax = 1000

// pairFlag collects key=value.
func pairFlag(name string, to map[string]string) flag {
	return flag{name: name, what: "key=value", set: func(v string) error {
		key, value, ok := strings.Cut(v, "=")
		if !ok || key == "" {
			return fmt.Errorf("%s is no pair", v)
		}
		to[key] = value
		return nil
	}}
}
