package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
)

const planName = ".plan" // of the file with the last plan, beside the tasks' namespaces

func (c Config) planPath() string { return filepath.Join(c.NetnsDir, planName) }

// keep writes down what a new process needs to go on with, and to answer tasks at
// once, before a manager has told it anything. The file is gone after a reboot, as are the tasks; it is not synced, and
// one that cannot be read is as good as none.
func (c Config) keep(p netplan.Plan) error {
	if !p.Gateway.IsValid() {
		if err := os.Remove(c.planPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove the last plan: %w", err)
		}
		return nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("cannot encode the plan: %w", err)
	}
	fresh := c.planPath() + ".new"
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return fmt.Errorf("cannot write the plan down: %w", err)
	}
	if err := os.Rename(fresh, c.planPath()); err != nil {
		return fmt.Errorf("cannot write the plan down: %w", err)
	}
	return nil
}

// load reads the last plan; the zero Plan if there is none.
func (c Config) load() (p netplan.Plan, err error) {
	text, err := os.ReadFile(c.planPath())
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("cannot read the last plan: %w", err)
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return netplan.Plan{}, fmt.Errorf("cannot decode the last plan: %w", err)
	}
	return p, nil
}

// revive opens the name servers of tasks that live, as the last plan had them.
// Nothing else is changed before the first plan.
func (k *kernel) revive(p netplan.Plan) error {
	if len(p.Networks) == 0 {
		return nil
	}
	w, err := want(p, k.config, nil)
	if err != nil {
		return err
	}
	for task, e := range w.endpoints {
		if isNamespace(k.netns(task)) {
			k.endpoints[task] = e
		}
	}
	failed := map[state.TaskID]string{}
	k.ensureNames(w, failed)
	k.ensureAllServices(w, failed)
	clear(k.endpoints) // the first plan looks at them
	for _, task := range sorted(failed) {
		k.config.Logger.Warn("a task's name server waits for the first plan", "task", task, "err", failed[task])
	}
	return nil
}
