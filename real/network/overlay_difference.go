package network

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// A seenOverlay is what there is of a network; links that are not what they
// should be count as missing.
type seenOverlay struct {
	bridge, vxlan netlink.Link
	learning      bool
}

func (k *kernel) seeOverlay(o overlay) (seenOverlay, error) {
	var s seenOverlay
	link, err := findLink(k.over.link, o.bridge())
	if err != nil {
		return s, err
	}
	if _, is := link.(*netlink.Bridge); is {
		s.bridge = link
	}
	if link, err = findLink(k.over.link, o.vxlan()); err != nil {
		return s, err
	}
	if v, is := link.(*netlink.Vxlan); is && v.VxlanId == int(o.vni) && v.Port == int(o.port) && addrOf(v.SrcAddr) == o.source && v.Proxy && !v.Learning {
		s.vxlan = link
		p, err := k.overPorts()
		if err != nil {
			return s, err
		}
		s.learning = p.learning[link.Attrs().Index]
	}
	return s, nil
}

func (s seenOverlay) differences(k *kernel, o overlay) []string {
	if s.bridge == nil {
		return []string{"its bridge is missing"}
	}
	if s.vxlan == nil {
		return []string{"its VXLAN is missing"}
	}
	bridge, vxlan := s.bridge.Attrs(), s.vxlan.Attrs()
	return broken([]finding{
		{bridge.Alias != k.overlayAlias(o) || vxlan.Alias != k.overlayAlias(o), "its interfaces do not name it"},
		{vxlan.MasterIndex != bridge.Index, "its VXLAN is not on the bridge"},
		{s.learning, "its VXLAN learns addresses"},
		{bridge.MTU != k.overlayMTU || vxlan.MTU != k.overlayMTU, fmt.Sprintf("its MTU is not %d", k.overlayMTU)},
		{bridge.Flags&net.FlagUp == 0, "its bridge is down"},
		{vxlan.Flags&net.FlagUp == 0, "its VXLAN is down"},
	})
}

// overlaysDifference tells what ensureOverlays would change.
func (k *kernel) overlaysDifference(w wanted) ([]string, error) {
	if err := k.openOverlays(false); err != nil {
		return nil, err
	}
	if len(w.overlays) == 0 {
		if k.over != nil {
			return []string{"the namespace of overlays is there and should not be"}, nil
		}
		return nil, nil
	}
	if k.over == nil {
		return []string{"the namespace of overlays is missing"}, nil
	}
	lines, err := k.overlaySettings(w)
	errs := []error{err, k.measure(w.mesh.Underlay)}
	for _, vni := range slices.Sorted(maps.Keys(w.overlays)) {
		o := w.overlays[vni]
		s, err := k.seeOverlay(o)
		errs = append(errs, err)
		about := func(more []string) {
			for _, line := range more {
				lines = append(lines, fmt.Sprintf("network %s: %s", o.id, line))
			}
		}
		about(s.differences(k, o))
		if s.vxlan == nil {
			continue
		}
		has, err := readForwarding(k.over.link, s.vxlan)
		errs = append(errs, err)
		about(has.difference(o.forwarding()))
	}
	return lines, errors.Join(errs...)
}

func (k *kernel) overlaySettings(w wanted) (lines []string, err error) {
	all := overlaySysctls()
	for _, vni := range slices.Sorted(maps.Keys(w.overlays)) {
		all = append(all, w.overlays[vni].settings()...)
	}
	err = inside(k.over.ns, func() error {
		lines, err = settingsDifference("in the namespace of overlays ", all)
		return err
	})
	return lines, err
}

// removeOverlays takes away the networks that are not wanted, and with the last
// one their namespace.
func (k *kernel) removeOverlays(w wanted) error {
	if err := k.openOverlays(false); err != nil || k.over == nil {
		return err
	}
	s, err := k.strayOverlays(w)
	errs := []error{err}
	for _, name := range s {
		errs = append(errs, removeLink(k.over.link, name))
	}
	for vni := range k.overlays {
		if _, is := w.overlays[vni]; !is {
			delete(k.overlays, vni)
		}
	}
	if len(w.overlays) > 0 {
		return errors.Join(errs...)
	}
	k.closeOverlays()
	return errors.Join(append(errs, removeNamespace(k.overlaysPath()))...)
}

// strayOverlays are the links in the namespace of overlays that belong to no
// network and no task.
func (k *kernel) strayOverlays(w wanted) ([]string, error) {
	expected := map[string]bool{"lo": true}
	for _, o := range w.overlays {
		expected[o.bridge()], expected[o.vxlan()] = true, true
	}
	for _, e := range w.endpoints {
		for _, l := range e.links {
			expected[overlayVethName(e.task, l.vni)] = true
		}
	}
	links, err := dump(k.over.link.LinkList)
	if err != nil {
		return nil, fmt.Errorf("cannot list the interfaces of overlays: %w", err)
	}
	var out []string
	for _, l := range links {
		name := l.Attrs().Name
		ours := l.Type() == "veth" || strings.HasPrefix(name, bridgeOfOverlay) || strings.HasPrefix(name, vxlanOfOverlay)
		if ours && !expected[name] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}
