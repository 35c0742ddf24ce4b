package network

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
)

// A kernel is the host's namespace as far as it is ours, with what is known to
// be as wanted, so that a plan costs only what it changes. What is not known is
// looked at before it is touched: a kernel that knows nothing, as after a
// restart, finds everything right and changes nothing.
type kernel struct {
	config Config
	host   *host
	table  *table

	bridge    int          // its index
	gateway   netip.Prefix // that the bridge is known to have
	endpoints map[state.TaskID]endpoint
	forgets   *forgetter
	swept     bool // nothing of ours is there that is not known
	held      *reservations
	reserved  bool // what is wanted has been asked for

	meshed     *netplan.Mesh // that the node is known to be in
	meshLocal  string        // with these addresses of its own tasks
	back       backTable
	zones      zoneTable
	names      *directory
	services   map[state.TaskID]services
	over       *host // the namespace of overlays, nil while there is none
	overlays   map[uint32]overlay
	overlayMTU int
	underlay   netip.Addr // that it is known for

	seen, seenOver *ports         // as of one pass
	leftovers      []func() error // ways to tasks that have gone, once no port leads there
	parted         []netip.Addr   // addresses that they led to
}

func newKernel(c Config, h *host, lost func()) *kernel {
	k := &kernel{
		config: c, host: h, table: newTable(c, h),
		endpoints: make(map[state.TaskID]endpoint), overlays: make(map[uint32]overlay), services: make(map[state.TaskID]services), names: newDirectory(c, h, lost), held: newReservations(h, c.Logger),
	}
	k.forgets = newForgetter(h, c.Logger, k.netns)
	return k
}

func (k *kernel) close() {
	k.held.close()
	k.table.close()
	k.closeOverlays()
	k.untidy(k.names.server.Close())
}

// forget makes everything be looked at again.
func (k *kernel) forget() {
	k.gateway = netip.Prefix{}
	clear(k.endpoints)
	clear(k.services)
	k.meshed = nil
	k.names.forget()
	k.closeOverlays()
	k.overlayMTU = 0
	k.leftovers, k.parted = nil, nil
	k.swept, k.reserved = false, false
	k.table.known = false
}

// converge makes the kernel as wanted: it establishes that, and tidies up.
func (k *kernel) converge(w wanted) (map[state.TaskID]string, error) {
	failed, tidy, err := k.establish(w)
	return failed, errors.Join(err, tidy())
}

// establish puts what is wanted in force. New endpoints, and the ways to those of
// other nodes, come before the ports that lead to them, and go after. All that goes is
// left to tidy, which must be called before anything else is: somebody may be waiting
// for the ports alone. The error is that the plan is not in force, or of tidy that of a host
// that wants nothing something is left. What else cannot be tidied up after an older
// plan is logged, and tried again.
func (k *kernel) establish(w wanted) (failed map[state.TaskID]string, tidy func() error, err error) {
	nothing := func() error { return nil }
	k.seen, k.seenOver = nil, nil
	if len(k.leftovers) > 0 { // of a plan that was not carried out to its end
		k.forget()
	}
	failed = maps.Clone(w.failed)
	sure := k.gateway.IsValid()
	if err := k.prepare(w, failed); err != nil {
		return failed, nothing, err
	}
	missed := errors.Join(k.ensureOverlays(w, failed), k.ensureMesh(w))
	gone, err := k.evict(w)
	if len(gone) > 0 { // others have these addresses at once
		evicted := stale{gone: gone}
		err = errors.Join(err, inside(k.host.ns, func() error { return forgetFlows(evicted.selections(), evicted.match) }))
	}
	k.untidy(err)
	gone = append(gone, k.ensureEndpoints(w, failed)...)
	k.ensureNames(w, failed)
	k.ensureAllServices(w, failed)
	if sure && (len(failed) > len(w.failed) || missed != nil) {
		// What they stand on may have changed behind our back.
		k.forget()
		return k.establish(w)
	}
	k.held.hush(w.ports)
	changes, err := k.table.converge(w, k.frameOf(w))
	if err != nil {
		return failed, nothing, errors.Join(missed, err)
	}
	opened := func(c change) bool { return len(c.before) == 0 || len(c.after) == 0 }
	if !k.reserved || slices.ContainsFunc(changes, opened) {
		k.reserve(w)
	}
	return failed, func() error { return k.tidy(w, changes, gone) }, missed
}

// tidy takes away what was there and is not wanted. The changes are those of the
// ports; gone are addresses that are no endpoint's any more.
func (k *kernel) tidy(w wanted, changes []change, gone []netip.Addr) error {
	k.flush(changes, w.strangers(slices.Concat(gone, k.parted, k.unwanted(w))))
	k.untidy(k.clearAway())
	removed, err := k.removeUnwanted(w)
	k.untidy(errors.Join(err, k.dismiss(w.strangers(append(gone, removed...)))))
	if w.gateway.IsValid() {
		return nil
	}
	k.gateway = netip.Prefix{}
	k.bridge = 0
	return k.removeBridge()
}

// forward has a link know who is behind it. What it is to know no more goes when no
// port leads there: see [kernel.clearAway].
func (k *kernel) forward(has, want forwarding, h *host, link netlink.Link) error {
	k.leftovers = append(k.leftovers, func() error { return has.shrink(want, h.link, link) })
	k.parted = append(k.parted, missing(has.routes, want.routes, netip.Addr.Compare)...)
	return has.grow(want, h.link, link)
}

// clearAway takes away the ways to tasks that have gone. After a failure it is looked
// at anew which there are.
func (k *kernel) clearAway() error {
	var errs []error
	for _, shrink := range k.leftovers {
		errs = append(errs, shrink())
	}
	k.leftovers, k.parted = nil, nil
	err := errors.Join(errs...)
	if err != nil {
		k.meshed = nil
		clear(k.overlays)
	}
	return err
}

// untidy tells of what is left behind and does no harm to the plan.
func (k *kernel) untidy(err error) {
	if err != nil {
		k.swept = false
		k.config.Logger.Warn("something of an older plan could not be removed", "err", err)
	}
}

// prepare makes what endpoints need.
func (k *kernel) prepare(w wanted, failed map[state.TaskID]string) error {
	if !w.gateway.IsValid() {
		return nil
	}
	err := os.MkdirAll(k.config.NetnsDir, 0o755)
	if err != nil {
		err = fmt.Errorf("cannot make the directory of network namespaces: %w", err)
	}
	if err == nil && w.gateway != k.gateway {
		k.gateway = netip.Prefix{}
		err = k.ensureBridge(w.gateway)
	}
	if err != nil {
		for task := range w.endpoints {
			failed[task] = err.Error()
		}
		return err
	}
	k.gateway = w.gateway
	return nil
}

// ensureEndpoints makes those that are not known to be there, and returns the
// addresses that tasks have given up for others.
func (k *kernel) ensureEndpoints(w wanted, failed map[state.TaskID]string) []netip.Addr {
	var gone []netip.Addr
	for _, task := range sorted(w.endpoints) {
		e := w.endpoints[task]
		old, known := k.endpoints[task]
		if known && old.equal(e) || failed[task] != "" {
			continue
		}
		if known {
			gone = append(gone, slices.DeleteFunc(old.at(), func(a netip.Addr) bool { return slices.Contains(e.at(), a) })...)
		}
		delete(k.endpoints, task)
		delete(k.services, task)
		delete(k.names.tasks, task)
		if err := k.ensureEndpoint(e); err != nil {
			failed[task] = err.Error()
			continue
		}
		k.endpoints[task] = e
	}
	return gone
}

// ensureAllServices makes the tables of tasks on overlays.
func (k *kernel) ensureAllServices(w wanted, failed map[state.TaskID]string) {
	for _, task := range sorted(w.endpoints) {
		e := w.endpoints[task]
		if _, made := k.endpoints[task]; !made || len(e.links) == 0 {
			continue
		}
		if err := k.ensureServices(task, w.services(e, k.names.ports[task])); err != nil {
			failed[task] = err.Error()
		}
	}
	for task := range k.services {
		if _, is := w.endpoints[task]; !is {
			delete(k.services, task)
		}
	}
}

// reserve holds the published ports. Those that could not be had are asked for
// again by every sweep.
func (k *kernel) reserve(w wanted) {
	k.held.converge(w.ports)
	k.reserved = true
}

// evict removes the endpoints that are no longer wanted whose addresses others
// are to have now: two with one address would answer for each other.
func (k *kernel) evict(w wanted) ([]netip.Addr, error) {
	owners := map[netip.Addr]state.TaskID{}
	for task, e := range w.endpoints {
		for _, a := range e.at() {
			owners[a] = task
		}
	}
	var gone []netip.Addr
	var errs []error
	for _, task := range sorted(k.endpoints) {
		e := k.endpoints[task]
		taken := func(a netip.Addr) bool { owner, is := owners[a]; return is && owner != task }
		if !slices.ContainsFunc(e.at(), taken) {
			continue
		}
		errs = append(errs, k.removeEndpoint(e))
		delete(k.endpoints, task)
		gone = append(gone, e.at()...)
	}
	return gone, errors.Join(errs...)
}

// unwanted are the addresses of known endpoints that are not wanted.
func (k *kernel) unwanted(w wanted) []netip.Addr {
	var out []netip.Addr
	for task, e := range k.endpoints {
		if _, is := w.endpoints[task]; !is {
			out = append(out, e.at()...)
		}
	}
	return out
}

// removeUnwanted removes the endpoints that are not wanted and returns the
// addresses of those that were known.
func (k *kernel) removeUnwanted(w wanted) ([]netip.Addr, error) {
	var gone []netip.Addr
	var errs []error
	for _, task := range sorted(k.endpoints) {
		if _, is := w.endpoints[task]; is {
			continue
		}
		gone = append(gone, k.endpoints[task].at()...)
		err := k.removeEndpoint(k.endpoints[task])
		if err == nil {
			delete(k.endpoints, task)
		}
		errs = append(errs, err)
	}
	for vni := range k.overlays {
		_, is := w.overlays[vni]
		k.swept = k.swept && is
	}
	k.swept = k.swept && (k.meshed == nil || meshActive(w.mesh) && meshName(*k.meshed) == meshName(w.mesh))
	if k.swept {
		return gone, errors.Join(errs...)
	}
	s, err := k.strays(w.endpoints)
	err = errors.Join(append(errs, err, k.removeStrays(s), k.removeOverlays(w), k.removeMesh(w))...)
	k.swept = err == nil
	return gone, err
}

// remove takes everything of ours away.
func (k *kernel) remove() error {
	k.forget()
	k.held.converge(nil)
	k.bridge = 0
	k.seen, k.seenOver = nil, nil
	ended := k.names.server.End()
	s, err := k.strays(nil)
	errs := []error{ended, err, k.table.remove(), k.removeStrays(s), k.removeOverlays(wanted{}), k.removeMesh(wanted{}), k.removeBridge()}
	errs = append(errs, k.config.keep(netplan.Plan{}))
	if err := os.Remove(k.config.planPath() + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("cannot remove the last plan: %w", err))
	}
	if err := os.Remove(k.config.NetnsDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("cannot remove the directory of network namespaces: %w", err))
	}
	return errors.Join(errs...)
}

// difference tells what converge would change if it knew nothing. If it need not
// be thorough, tables that nobody has touched are not read.
func (k *kernel) difference(w wanted, thorough bool) ([]string, error) {
	k.seen, k.seenOver = nil, nil
	lines, err := k.bridgeDifference(w.gateway)
	others, failed := k.overlaysDifference(w)
	meshed, unknown := k.meshDifference(w)
	lines = slices.Concat(lines, others, meshed)
	errs := []error{err, failed, unknown}
	for _, task := range sorted(w.endpoints) {
		more, err := k.endpointDifference(w.endpoints[task])
		lines, errs = append(lines, more...), append(errs, err)
		if e := w.endpoints[task]; err == nil && len(e.links) > 0 && isNamespace(k.netns(task)) {
			more, err = k.servicesDifference(task, w.services(e, k.names.ports[task]), thorough)
			lines, errs = append(lines, more...), append(errs, err)
		}
	}
	if k.over != nil {
		stray, err := k.strayOverlays(w)
		errs = append(errs, err)
		for _, name := range stray {
			lines = append(lines, fmt.Sprintf("the interface %s belongs to no network and no task of the plan", name))
		}
	}
	s, err := k.strays(w.endpoints)
	errs = append(errs, err)
	more, err := k.table.difference(w, k.frameOf(w))
	return slices.Concat(lines, s.lines(), more), errors.Join(append(errs, err)...)
}

// bridgeIndex is that of the bridge as it is now, 0 when there is none.
func (k *kernel) bridgeIndex() int {
	link, err := k.findLink(k.config.Bridge)
	if err != nil || link == nil {
		return 0
	}
	return link.Attrs().Index
}

// ports are those of this pass: to ask for one is to ask for all.
func (k *kernel) ports() (*ports, error) {
	if k.seen != nil {
		return k.seen, nil
	}
	err := inside(k.host.ns, func() (err error) {
		k.seen, err = readPorts(k.config.Bridge)
		return err
	})
	return k.seen, err
}

// overPorts are those of overlays.
func (k *kernel) overPorts() (*ports, error) {
	if k.seenOver != nil {
		return k.seenOver, nil
	}
	err := inside(k.over.ns, func() (err error) {
		k.seenOver, err = readPorts("")
		return err
	})
	return k.seenOver, err
}
