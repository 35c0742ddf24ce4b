package network

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/swarmd/swarmd/engine/state"
)

// strays are what is ours and belongs to none of the wanted tasks.
type strays struct {
	files      []string // of namespaces
	links      []string
	neighbours []netip.Addr
}

func (k *kernel) strays(wanted map[state.TaskID]endpoint) (strays, error) {
	var s strays
	all, err := listNamespaces(k.config.NetnsDir)
	if err != nil {
		return s, err
	}
	for _, name := range all {
		if _, is := wanted[state.TaskID(name)]; !is && name != overlaysName && !strings.HasPrefix(name, planName) {
			s.files = append(s.files, name)
		}
	}
	expected, known := map[string]bool{}, map[netip.Addr]bool{}
	for task, e := range wanted {
		expected[vethName(task)] = true
		for _, a := range e.at() {
			known[a] = true
		}
	}
	present, err := dump(k.host.link.LinkList)
	if err != nil {
		return s, fmt.Errorf("cannot list the interfaces of the host: %w", err)
	}
	bridge := k.bridgeIndex()
	for _, l := range present {
		a := l.Attrs()
		// One that was made and has not been given its alias is told by its place.
		ours := strings.HasPrefix(a.Alias, k.config.Bridge+"/") ||
			bridge != 0 && a.MasterIndex == bridge && len(a.Name) == vethNameBytes && strings.HasPrefix(a.Name, vethPrefix)
		if l.Type() == "veth" && ours && !expected[a.Name] {
			s.links = append(s.links, a.Name)
		}
	}
	p, err := k.ports()
	if err != nil {
		return s, err
	}
	for a := range p.neighbours {
		if !known[a] {
			s.neighbours = append(s.neighbours, a)
		}
	}
	slices.Sort(s.files)
	slices.Sort(s.links)
	slices.SortFunc(s.neighbours, netip.Addr.Compare)
	return s, nil
}

func (s strays) lines() []string {
	var out []string
	for _, name := range s.files {
		out = append(out, fmt.Sprintf("the network namespace %s belongs to no task of the plan", name))
	}
	for _, name := range s.links {
		out = append(out, fmt.Sprintf("the interface %s belongs to no task of the plan", name))
	}
	for _, a := range s.neighbours {
		out = append(out, fmt.Sprintf("the neighbour %s belongs to no task of the plan", a))
	}
	return out
}

func (k *kernel) removeStrays(s strays) error {
	errs := []error{k.dismiss(s.neighbours)}
	for _, name := range s.links {
		errs = append(errs, k.removeLink(name))
	}
	for _, name := range s.files {
		errs = append(errs, removeNamespace(filepath.Join(k.config.NetnsDir, name)))
	}
	return errors.Join(errs...)
}
