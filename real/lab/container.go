package lab

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Container is one of the host's whose processes run, whatever its daemon says.
type Container struct {
	ID   string
	Task string // that it was made for, "" if that is not known
	PID  int    // of its first process
}

// Containers are those whose processes run. Nobody is asked: the kernel knows, and
// containerd has noted what they are for. It is for hosts that run swarmd.
func (h *Host) Containers() []Container {
	groups := h.controlGroups()
	if len(groups) == 0 {
		return nil
	}
	procs, _ := filepath.Glob(filepath.Join(groups[0], "*", "cgroup.procs"))
	var found []Container
	for _, file := range procs {
		if text, _ := os.ReadFile(file); len(text) > 0 {
			found = append(found, h.describe(filepath.Base(filepath.Dir(file))))
		}
	}
	return found
}

// describe reads what containerd has noted of a container.
func (h *Host) describe(id string) Container {
	c := Container{ID: id}
	bundle := filepath.Join(h.runDir(), "runtime/containerd/state/io.containerd.runtime.v2.task", h.namespace(), id)
	if text, err := os.ReadFile(filepath.Join(bundle, "init.pid")); err == nil {
		c.PID, _ = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	var spec struct {
		Linux struct {
			Namespaces []struct{ Type, Path string }
		}
	}
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil || json.Unmarshal(text, &spec) != nil {
		return c
	}
	for _, n := range spec.Linux.Namespaces {
		if n.Type == "network" && n.Path != "" { // it is named after the task
			c.Task = filepath.Base(n.Path)
		}
	}
	return c
}
