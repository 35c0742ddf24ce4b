package state

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/swarmd/swarmd/engine/mutant"
)

// A Snapshot is the bytes of a store as they were at one index. It may be
// written on another goroutine while the store goes on: it shares only bytes,
// which nobody changes.
type Snapshot struct {
	index   uint64
	objects []Change
	ordered bool
}

// The form of a snapshot: magic, version, index, number of objects, the objects
// in the order of their keys, each as in a log entry, and SHA-256 of all that.
const (
	snapshotMagic   = "swarmd snapshot\n"
	snapshotVersion = 1
)

// errSnapshot says that bytes are no snapshot.
var errSnapshot = errors.New("damaged snapshot")

// Freeze returns the store as it is now. It copies no bytes.
func (s *Store) Freeze() *Snapshot {
	n := len(s.clusters) + len(s.nodes) + len(s.services) + len(s.templates) + len(s.tasks) + len(s.networks) + len(s.other)
	sn := &Snapshot{index: s.index, objects: make([]Change, 0, n)}
	sn.objects = freeze(sn.objects, KindCluster, s.clusters)
	sn.objects = freeze(sn.objects, KindNode, s.nodes)
	sn.objects = freeze(sn.objects, KindService, s.services)
	if len(s.templates) == 0 || !mutant.On(mutant.SnapshotLacks) {
		sn.objects = freeze(sn.objects, KindTemplate, s.templates)
	}
	sn.objects = freeze(sn.objects, KindTask, s.tasks)
	sn.objects = freeze(sn.objects, KindNetwork, s.networks)
	for _, k := range slices.SortedFunc(maps.Keys(s.other), compareKey) {
		sn.objects = append(sn.objects, Change{k, s.other[k]})
	}
	return sn
}

// freeze appends the objects of a table in no order: [Snapshot.WriteTo] sorts,
// away from the store.
func freeze[ID ~string, T any](to []Change, k Kind, t table[ID, T]) []Change {
	for id, o := range t {
		to = append(to, Change{Key{k, string(id)}, o.raw})
	}
	return to
}

func compareKey(a, b Key) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID)) }

// Index is the log index that the snapshot stands for.
func (sn *Snapshot) Index() uint64 { return sn.index }

// WriteTo writes the snapshot. The same store gives the same bytes on every
// manager.
func (sn *Snapshot) WriteTo(w io.Writer) (int64, error) {
	if !sn.ordered {
		slices.SortFunc(sn.objects, func(a, b Change) int { return compareKey(a.Key, b.Key) })
		sn.ordered = true
	}
	sum := sha256.New()
	counted := &counter{w: io.MultiWriter(w, sum)}
	buffered := bufio.NewWriterSize(counted, 64<<10)
	b := append([]byte(snapshotMagic), snapshotVersion)
	b = binary.AppendUvarint(b, sn.index)
	b = binary.AppendUvarint(b, uint64(len(sn.objects)))
	_, _ = buffered.Write(b) // errors stick until Flush
	for _, o := range sn.objects {
		b = appendKey(b[:0], o.Key)
		b = binary.AppendUvarint(b, uint64(len(o.Data))+1)
		_, _ = buffered.Write(b)
		_, _ = buffered.Write(o.Data)
	}
	if err := buffered.Flush(); err != nil {
		return counted.n, err
	}
	n, err := w.Write(sum.Sum(nil))
	return counted.n + int64(n), err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Restore reads a snapshot. Any damage is an error; nothing of a damaged
// snapshot is used.
func Restore(r io.Reader) (*Store, error) {
	in := &snapshotReader{r: bufio.NewReaderSize(r, 64<<10)}
	head := in.take(len(snapshotMagic) + 1)
	if in.err != nil || string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("%w: it does not begin as one", errSnapshot)
	}
	if v := head[len(snapshotMagic)]; v != snapshotVersion {
		return nil, fmt.Errorf("%w: version %d, this build reads %d", errSnapshot, v, snapshotVersion)
	}
	s := NewStore()
	index, count := in.uvarint(), in.uvarint()
	last := Key{}
	var tasks []*Task
	for i := uint64(0); i < count && in.err == nil; i++ {
		c := in.object()
		if in.err == nil && i > 0 && compareKey(last, c.Key) >= 0 {
			return nil, fmt.Errorf("%w: object %d is out of order", errSnapshot, i)
		}
		last = c.Key
		if in.err == nil {
			tasks = s.restore(c, tasks)
		}
	}
	want := in.hashed()
	got := in.take(sha256.Size)
	switch {
	case in.err != nil:
		return nil, fmt.Errorf("%w: %w", errSnapshot, in.err)
	case !bytes.Equal(got, want):
		return nil, fmt.Errorf("%w: its checksum does not fit", errSnapshot)
	}
	if _, err := in.r.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: bytes after its end", errSnapshot)
	}
	s.indexRestored(tasks)
	s.index = index
	return s, nil
}

// restore puts an object into the store, and appends a task to those that are
// still to be indexed.
func (s *Store) restore(c Change, tasks []*Task) []*Task {
	if c.Key.Kind != KindTask {
		s.apply(c, &Delta{})
		if len(s.ports) > 0 && mutant.On(mutant.PortsUnmarked) {
			clear(s.ports)
		}
		return tasks
	}
	d := replace(s, s.tasks, TaskID(c.Key.ID), c, s.decodeTask)
	if d.After != nil {
		tasks = append(tasks, d.After)
	}
	return tasks
}

// A snapshotReader takes values off a stream and hashes what it takes.
type snapshotReader struct {
	r      *bufio.Reader
	hash   io.Writer
	digest func() []byte
	buf    []byte
	err    error
}

func (in *snapshotReader) write(p []byte) {
	if in.hash == nil {
		h := sha256.New()
		in.hash, in.digest = h, func() []byte { return h.Sum(nil) }
	}
	_, _ = in.hash.Write(p) // never fails
}

func (in *snapshotReader) hashed() []byte {
	in.write(nil)
	return in.digest()
}

// take returns the next n bytes, valid until the next take. It grows with what
// is there, not with what a damaged length says.
func (in *snapshotReader) take(n int) []byte {
	const step = 1 << 20
	in.buf = in.buf[:0]
	for len(in.buf) < n && in.err == nil {
		start := len(in.buf)
		in.buf = slices.Grow(in.buf, min(step, n-start))[:start+min(step, n-start)]
		_, in.err = io.ReadFull(in.r, in.buf[start:])
	}
	if in.err != nil {
		return nil
	}
	in.write(in.buf)
	return in.buf
}

func (in *snapshotReader) uvarint() uint64 {
	var v uint64
	for shift := uint(0); shift < 64; shift += 7 {
		p := in.take(1)
		if in.err != nil {
			return 0
		}
		v |= uint64(p[0]&0x7f) << shift
		if p[0] < 0x80 {
			return v
		}
	}
	in.err = errors.New("malformed number")
	return 0
}

func (in *snapshotReader) object() Change {
	kind := in.take(1)
	if in.err != nil {
		return Change{}
	}
	key := Key{Kind: Kind(kind[0])}
	size := in.uvarint()
	if in.err == nil && size > IDMax {
		in.err = fmt.Errorf("an identifier of %d bytes", size)
	}
	key.ID = string(in.take(int(min(size, IDMax))))
	length := in.uvarint()
	if in.err == nil && (length == 0 || length > ObjectMax) {
		in.err = fmt.Errorf("an object of %d bytes", length)
	}
	if in.err != nil {
		return Change{}
	}
	data := in.take(int(length - 1))
	if data == nil {
		data = []byte{}
	}
	return Change{key, data}
}
