package network

import (
	"errors"
	"fmt"

	"github.com/google/nftables"

	"github.com/swarmd/swarmd/engine/state"
)

// ensureServices makes the table of a task as wanted. What is not known to be
// right is looked at; what is not right is made anew.
func (k *kernel) ensureServices(task state.TaskID, want services) error {
	has, known := k.services[task]
	if known && has.equal(want) {
		return nil
	}
	delete(k.services, task)
	err := k.inTask(task, func(t *taskTable) error {
		if known && has.dns == want.dns && t.generationIs(has.gen) {
			if err := t.update(has, want); err != nil {
				return err
			}
			k.follow(task, has.all(), want.all())
		} else if made, err := t.adopt(want); err != nil {
			return err
		} else if made {
			k.follow(task, nil, want.all())
		}
		gen, err := generation(t.raw)
		want.gen = gen
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot make the task's table of services: %w", err)
	}
	k.services[task] = want
	return nil
}

func (t *taskTable) generationIs(gen uint32) bool {
	now, err := generation(t.raw)
	return err == nil && now == gen
}

// update changes what has changed, in one transaction. Balancers are there before it,
// as in [table.makeBalancers]: to a packet under way one that is made with it would be empty,
// and nobody has the address that the packet would keep.
func (t *taskTable) update(has, want services) error {
	before, after := has.all(), want.all()
	old, needed := balancers(before), balancers(after)
	fresh := false
	for name, c := range needed {
		if _, is := old[name]; is {
			continue
		}
		if err := addChain(t.conn, t.kernel, c); err != nil {
			return err
		}
		fresh = true
	}
	if fresh {
		if err := t.conn.Flush(); err != nil {
			return err
		}
	}
	errs := []error{t.change(before, after)}
	for name := range old {
		if _, is := needed[name]; !is {
			t.conn.DelChain(&nftables.Chain{Table: t.kernel, Name: name})
		}
	}
	return errors.Join(append(errs, t.conn.Flush())...)
}

// adopt leaves a table that is right as it is, and makes any other anew, which it
// reports.
func (t *taskTable) adopt(want services) (made bool, err error) {
	lines, err := t.differences(want)
	if err != nil || len(lines) == 0 {
		return false, err
	}
	if err := t.build(want); err != nil {
		return false, err
	}
	return true, t.conn.Flush()
}

// servicesDifference tells what ensureServices would change. A table that nobody
// has touched since it was made is not read again, unless it has to be.
func (k *kernel) servicesDifference(task state.TaskID, want services, thorough bool) ([]string, error) {
	var lines []string
	err := k.inTask(task, func(t *taskTable) (err error) {
		has, known := k.services[task]
		if !thorough && known && has.equal(want) && t.generationIs(has.gen) {
			return nil
		}
		lines, err = t.differences(want)
		return err
	})
	for i, line := range lines {
		lines[i] = fmt.Sprintf("task %s: %s", task, line)
	}
	return lines, err
}
