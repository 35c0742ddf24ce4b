package script

import (
	"strconv"
	"strings"

	"github.com/swarmd/swarmd/sim"
)

// writesMost is how many writes from now something may happen to a disk.
const writesMost = 10_000

// diskFault reads what is wrong with a disk that is real. A write that is one of a
// range is drawn, so that seeds try them all.
func (p *parsing) diskFault(t target, word string, r *reader) (deed, error) {
	var least, most int
	if word == "kill-at" || word == "cut-at" {
		var err error
		if least, most, err = r.writes(); err != nil {
			return nil, err
		}
	}
	return each(t, func(p *player, h string) error {
		at := least
		if least < most {
			at += p.draws.N(most - least + 1)
		}
		var f sim.DiskFault
		switch word {
		case "full":
			f.Full = true
		case "broken":
			f.Broken = true
		case "fails-sync":
			f.Syncs = 1
		case "kill-at":
			f.KillAt = at
		default:
			f.CutAt = at
		}
		return p.fault(BreakDisk{h, f}, "disk", h, word, strconv.Itoa(at))
	}), nil
}

// writes takes which write from now on is meant, such as 7, or one of 1..20.
func (r *reader) writes() (least, most int, err error) {
	lo, hi, ranged := strings.Cut(r.peek(), "..")
	if !ranged {
		hi = lo
	}
	least, err1 := strconv.Atoi(lo)
	most, err2 := strconv.Atoi(hi)
	if err1 != nil || err2 != nil || least < 1 || most < least || most > writesMost {
		return 0, 0, r.want("a write from 1 to %d, such as 7, or a range of them, such as 1..20", writesMost)
	}
	r.at++
	return least, most, nil
}

// transfer reads that a leader hands its leadership over.
func (p *parsing) transfer(r *reader) (deed, error) {
	from, err := r.target()
	if err != nil {
		return nil, err
	}
	if !r.accept("to") {
		return nil, r.want("to, and the manager that is to lead")
	}
	to, err := r.target()
	return func(p *player, done func(error)) {
		var other string
		host, err := p.one(from)
		if err == nil {
			other, err = p.one(to)
		}
		if err == nil {
			err = p.fault(HandOver{host, other}, "transfer", host, "to", other)
		}
		done(err)
	}, err
}

// install reads which build of swarmd managers run from their next start on.
func (p *parsing) install(r *reader) (deed, error) {
	build, err := r.word("which build, usual or other")
	if err == nil && build != "usual" && build != "other" {
		r.at--
		err = r.want("which build, usual or other")
	}
	if err != nil {
		return nil, err
	}
	if !r.accept("on") {
		return nil, r.want("on, and the managers that are to run it")
	}
	t, err := r.targets()
	return each(t, func(p *player, h string) error {
		return p.fault(Install{h, build == "other"}, "install", build, "on", h)
	}), err
}
