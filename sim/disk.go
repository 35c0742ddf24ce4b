package sim

import (
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/swarmd/swarmd/sim/gate"
)

// diskHandlesMax is how many files a process may have open.
const diskHandlesMax = 4096

// A disk is that of one machine, as its processes see it and as it would be found
// after the power was cut. It keeps what was written when a process is killed, and
// when the power is cut what was synced: of everything else chance decides, change
// by change, and sector by sector, whether it is there.
type disk struct {
	h     *Host
	draws *Stream

	dirs    map[string]*directory
	handles map[uint32]*handle
	handle  uint32
	ticket  uint64
	stalled []func() // what is done once the disk is not stuck any more

	slow    time.Duration
	stuck   bool
	full    bool
	broken  bool
	failing int   // so many syncs fail from now on
	changed int64 // when any of these was last set
	ops     uint64
	cutAt   uint64 // the power fails during that operation; 0 is never
	killAt  uint64 // the process is killed before it
}

type handle struct {
	node *inode
	at   int64
}

func newDisk(h *Host) *disk {
	return &disk{
		h: h, draws: newStream(h.w.seed, "disk/"+h.Name),
		dirs: map[string]*directory{"/": newDirectory()}, handles: map[uint32]*handle{},
	}
}

// reopen forgets what the last process had open.
func (d *disk) reopen() { d.handles, d.stalled = map[uint32]*handle{}, nil }

// cut is what a loss of power leaves.
func (d *disk) cut() {
	settled := map[*inode]*inode{}
	for _, name := range slices.Sorted(maps.Keys(d.dirs)) {
		d.dirs[name] = d.dirs[name].settle(d.draws, settled)
	}
	d.cutAt, d.killAt = 0, 0
}

// call carries out a call. What time it takes is the caller's to see to, by the
// ticket of a sync.
func (d *disk) call(c DiskCall) (result int64, alive bool) {
	if changes(c.Call) {
		d.ops++
		switch {
		case d.killAt != 0 && d.ops >= d.killAt:
			d.h.w.Probe("killed at a write")
			return 0, false
		case d.cutAt != 0 && d.ops >= d.cutAt:
			// What it would have done may be on the disk, or a part of it.
			if c.Call != gate.DiskSync && c.Call != gate.DiskSyncDir {
				d.carryOut(c)
			}
			d.h.w.Probe("power lost at a write")
			return 0, false
		case d.broken:
			d.h.w.Probe("disk call failed")
			return failure(gate.IO), true
		case d.full && grows(c.Call):
			d.h.w.Probe("disk was full")
			return failure(gate.NoSpace), true
		}
	}
	return d.carryOut(c), true
}

// changes reports whether a call changes what is on the disk.
func changes(call uint32) bool {
	switch call {
	case gate.DiskCreate, gate.DiskRename, gate.DiskRemove, gate.DiskSyncDir, gate.DiskMkdirAll, gate.DiskWrite, gate.DiskTruncate, gate.DiskSync:
		return true
	default:
		return false
	}
}

// grows reports whether a call needs room.
func grows(call uint32) bool {
	return call == gate.DiskCreate || call == gate.DiskMkdirAll || call == gate.DiskWrite
}

func (d *disk) carryOut(c DiskCall) int64 {
	switch c.Call {
	case gate.DiskCreate, gate.DiskAppend, gate.DiskOpen:
		return d.open(c)
	case gate.DiskRename:
		return d.rename(c.Name)
	case gate.DiskRemove:
		return d.entry(c.Name, func(in *directory, name string, _ *inode) { in.change(entries{{name, nil}}) })
	case gate.DiskMkdirAll:
		for name := path.Clean(c.Name); d.dirs[name] == nil; name = path.Dir(name) {
			d.dirs[name] = newDirectory()
		}
		return 0
	case gate.DiskList:
		return d.list(c)
	case gate.DiskSyncDir:
		in := d.dirs[path.Clean(c.Name)]
		if in == nil {
			return failure(gate.NotExist)
		}
		return d.sync(in.sync)
	default:
		return d.file(c)
	}
}

func (d *disk) open(c DiskCall) int64 {
	in := d.dirs[path.Dir(c.Name)]
	if in == nil {
		return failure(gate.NotExist)
	}
	name := path.Base(c.Name)
	node := in.current[name]
	switch {
	case len(d.handles) >= diskHandlesMax:
		return failure(gate.Invalid)
	case c.Call == gate.DiskCreate && node != nil:
		return failure(gate.Exist)
	case c.Call == gate.DiskCreate:
		node = &inode{}
		in.change(entries{{name, node}})
	case node == nil:
		return failure(gate.NotExist)
	}
	d.handle++
	d.handles[d.handle] = &handle{node, int64(len(node.current))}
	return int64(d.handle)
}

func (d *disk) rename(names string) int64 {
	from, to, _ := strings.Cut(names, "\x00")
	return d.entry(from, func(in *directory, name string, node *inode) {
		in.change(entries{{path.Base(to), node}, {name, nil}})
	})
}

// entry does something with a file that there is.
func (d *disk) entry(name string, do func(in *directory, name string, node *inode)) int64 {
	in := d.dirs[path.Dir(name)]
	if in == nil || in.current[path.Base(name)] == nil {
		return failure(gate.NotExist)
	}
	do(in, path.Base(name), in.current[path.Base(name)])
	return 0
}

func (d *disk) list(c DiskCall) int64 {
	in := d.dirs[path.Clean(c.Name)]
	if in == nil {
		return failure(gate.NotExist)
	}
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(in.current)) {
		b = append(append(b, name...), 0)
	}
	copy(c.Data, b)
	return int64(len(b))
}

// file carries out a call on an open file.
func (d *disk) file(c DiskCall) int64 {
	h := d.handles[c.Handle]
	if h == nil {
		return failure(gate.Invalid)
	}
	switch c.Call {
	case gate.DiskWrite:
		h.node.change(change{at: h.at, data: slices.Clone(c.Data)})
		h.at += int64(len(c.Data))
		return 0
	case gate.DiskTruncate:
		h.node.change(change{cut: true, at: c.Offset})
		h.at = c.Offset
		return 0
	case gate.DiskSync:
		return d.sync(h.node.sync)
	case gate.DiskClose:
		delete(d.handles, c.Handle)
		return 0
	case gate.DiskRead:
		if c.Offset >= int64(len(h.node.current)) {
			return 0
		}
		return int64(copy(c.Data, h.node.current[c.Offset:]))
	case gate.DiskSize:
		return int64(len(h.node.current))
	default:
		return failure(gate.Invalid)
	}
}

// sync makes something durable after a while, and tells the process.
func (d *disk) sync(do func()) int64 {
	d.ticket++
	ticket, life := d.ticket, d.h.life
	finish := func() {
		if d.h.life != life {
			return
		}
		result := gate.OK
		switch {
		case d.broken:
			result = gate.IO
		case d.failing > 0:
			d.failing--
			d.h.w.Probe("sync failed")
			result = gate.IO
		default:
			do()
		}
		d.h.box.synced(ticket, result)
	}
	d.h.w.after(d.draws.Between(syncLeast, syncMost)+d.slow, func() {
		if d.stuck && d.h.life == life {
			d.h.w.Probe("disk was stuck")
			d.stalled = append(d.stalled, finish)
			return
		}
		finish()
	})
	return int64(ticket)
}

// set changes how the disk fares. What waited is done once it is not stuck.
func (d *disk) set(slow time.Duration, stuck bool) {
	d.slow, d.stuck, d.changed = slow, stuck, d.h.w.now
	if stuck {
		return
	}
	waited := d.stalled
	d.stalled = nil
	for _, finish := range waited {
		d.h.w.after(d.draws.Between(syncLeast, syncMost), finish)
	}
}

// well reports whether the disk does what it should, as fast as is usual.
func (d *disk) well() bool { return d.slow == 0 && !d.stuck && !d.full && !d.broken }
