package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/real/disk"
	"github.com/swarmd/swarmd/real/disk/disktest"
)

// A member is a storage and an identity on a disk whose power can go, and what
// has been acknowledged to it. Each operation says beforehand what may be there
// if the power goes during it.
type member struct {
	disk    *disktest.FS
	storage *disk.Storage
	log     bytes.Buffer // what was logged

	entries     map[uint64]string // by index, also those dropped from the front
	first, last uint64
	values      map[string]string
	snapshots   []string // names, newest last; the body of one is its name ten times
	identity    disk.Identity

	during inFlight
	serial int // makes every payload another
}

// inFlight is what an operation that was not acknowledged may have done.
type inFlight struct {
	lastMin, lastMax uint64            // of the log
	firstMax         uint64            // of the log
	entries          map[uint64]string // may be appended
	values           map[string]string // may be set, all or none
	snapshot         string            // may be finished
	identity         *disk.Identity    // may be saved; the zero one if removed
}

const segmentBytes = 300

func newMember(t *testing.T) *member {
	t.Helper()
	m := &member{disk: disktest.New(), entries: map[uint64]string{}, values: map[string]string{}}
	if err := m.open(); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *member) open() error {
	storage, err := disk.OpenStorage(m.disk, "/data", disk.StorageOptions{
		Log: disk.LogOptions{SegmentBytesMax: segmentBytes, Logger: slog.New(slog.NewTextHandler(&m.log, nil))},
	})
	m.storage = storage
	return err
}

// do carries an operation out. Its names are those of a workload.
func (m *member) do(name string, n int) error {
	m.during = inFlight{lastMin: m.last, lastMax: m.last, firstMax: m.first}
	m.serial++
	switch name {
	case "append":
		return m.append(n)
	case "drop-after":
		return m.dropAfter(n)
	case "drop-before":
		return m.dropBefore(n)
	case "set":
		return m.set(n)
	case "snapshot":
		return m.snapshot(n)
	case "identity":
		return m.saveIdentity(n)
	case "reopen":
		if err := m.storage.Close(); err != nil {
			return err
		}
		m.during.firstMax = m.first
		if err := m.open(); err != nil {
			return err
		}
		return m.checkLog() // entries dropped from the front may be there again
	}
	panic("no operation " + name)
}

func (m *member) append(n int) error {
	first := m.last + 1
	if m.last == 0 && n%4 == 0 {
		first += uint64(n) * 10 // an empty log may go on anywhere
	}
	added, batch := map[uint64]string{}, [][]byte(nil)
	for i := range n {
		text := fmt.Sprintf("%d/%d ", m.serial, i)
		text += string(bytes.Repeat([]byte{byte(m.serial)}, m.serial*13%50))
		added[first+uint64(i)] = text
		batch = append(batch, []byte(text))
	}
	m.during.entries, m.during.lastMax = added, first+uint64(n)-1
	if m.last == 0 {
		m.during.lastMin = 0
	}
	if err := m.storage.Log.Append(first, batch); err != nil || n == 0 {
		return err
	}
	if m.last == 0 {
		m.entries, m.first = map[uint64]string{}, first
	}
	maps.Copy(m.entries, added)
	m.last = first + uint64(n) - 1
	return nil
}

// dropAfter drops the newest n entries.
func (m *member) dropAfter(n int) error {
	to := m.last - min(uint64(n), m.last)
	m.during.lastMin = to
	if to < m.first {
		m.during.lastMin = 0
	}
	if err := m.storage.Log.DropAfter(to); err != nil {
		return err
	}
	if m.last = to; to < m.first {
		m.first, m.last = 0, 0
	}
	return nil
}

// dropBefore drops the oldest n entries.
func (m *member) dropBefore(n int) error {
	to := m.first + uint64(n)
	m.during.firstMax = to
	if to > m.last {
		m.during.lastMin = 0
	}
	if err := m.storage.Log.DropBefore(to); err != nil {
		return err
	}
	if m.first = to; to > m.last {
		m.first, m.last = 0, 0
	}
	return nil
}

func (m *member) set(n int) error {
	values := map[string][]byte{}
	m.during.values = map[string]string{}
	for i := range n % 3 {
		key, value := fmt.Sprint("key", i), fmt.Sprint("value ", m.serial)
		values[key], m.during.values[key] = []byte(value), value
	}
	if err := m.storage.Stable.Set(values); err != nil {
		return err
	}
	maps.Copy(m.values, m.during.values)
	return nil
}

func body(name string) string { return string(bytes.Repeat([]byte(name), 10)) }

func (m *member) snapshot(n int) error {
	name := fmt.Sprintf("%06d", m.serial)
	w, err := m.storage.Snapshots.Create(name, []byte("about "+name))
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, body(name)); err != nil {
		return err
	}
	if n%4 == 0 {
		return m.storage.Snapshots.Abort(name)
	}
	m.during.snapshot = name
	if err := w.Close(); err != nil {
		return err
	}
	m.snapshots = append(m.snapshots, name)
	return nil
}

func (m *member) saveIdentity(n int) error {
	if n%3 == 0 {
		m.during.identity = &disk.Identity{}
		if err := disk.RemoveIdentity(m.disk, "/data"); err != nil {
			return err
		}
	} else {
		m.during.identity = &disk.Identity{Node: "n", Cluster: "c", Addr: fmt.Sprint(m.serial), Manager: n%2 == 0}
		if err := disk.SaveIdentity(m.disk, "/data", *m.during.identity); err != nil {
			return err
		}
	}
	m.identity = *m.during.identity
	return nil
}

// restart opens what a power cut has left and checks it; from then on what is
// there counts as acknowledged.
func (m *member) restart(seed uint64) error {
	m.disk = m.disk.Restart(seed)
	if err := m.open(); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	return errors.Join(m.checkLog(), m.checkStable(), m.checkSnapshots(), m.checkIdentity())
}

func (m *member) checkLog() error {
	first, last := m.storage.Log.Bounds()
	if last != 0 && (last < m.during.lastMin || last > m.during.lastMax) || last == 0 && m.during.lastMin != 0 {
		return fmt.Errorf("the log has %d to %d; its last was to be %d to %d", first, last, m.during.lastMin, m.during.lastMax)
	}
	if last != 0 && m.last != 0 && first > m.during.firstMax {
		return fmt.Errorf("the log has %d to %d, it had %d to %d", first, last, m.first, m.last)
	}
	found := map[uint64]string{}
	for i := first; i <= last && last != 0; i++ {
		got, err := m.storage.Log.Read(i)
		if err != nil {
			return err
		}
		if want := m.entries[i]; string(got) != want && string(got) != m.during.entries[i] {
			return fmt.Errorf("entry %d is %q, not %q", i, got, want)
		}
		found[i] = string(got)
	}
	m.first, m.last, m.entries = first, last, found
	return nil
}

func (m *member) checkStable() error {
	found, news := map[string]string{}, 0
	for _, key := range []string{"key0", "key1"} {
		got := string(m.storage.Stable.Get(key))
		next, changed := m.during.values[key]
		switch {
		case got == m.values[key]:
		case changed && got == next:
			news++
		default:
			return fmt.Errorf("%s is %q, not %q", key, got, m.values[key])
		}
		if got != "" {
			found[key] = got
		}
	}
	if news != 0 && news != len(m.during.values) {
		return fmt.Errorf("of values set together %d of %d are there", news, len(m.during.values))
	}
	m.values = found
	return nil
}

func (m *member) checkSnapshots() error {
	names := m.storage.Snapshots.List()
	newest := ""
	if len(m.snapshots) > 0 {
		newest = m.snapshots[len(m.snapshots)-1]
	}
	if newest != "" && !slices.Contains(names, newest) {
		return fmt.Errorf("snapshot %s is gone, there are %v", newest, names)
	}
	for _, name := range names {
		about, size, r, err := m.storage.Snapshots.Open(name)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
		if string(got) != body(name) || string(about) != "about "+name || size != int64(len(got)) {
			return fmt.Errorf("snapshot %s holds %q, %q", name, about, got)
		}
		if !slices.Contains(m.snapshots, name) && name != m.during.snapshot {
			return fmt.Errorf("snapshot %s was never finished", name)
		}
	}
	slices.Reverse(names)
	m.snapshots = names
	return nil
}

func (m *member) checkIdentity() error {
	got, err := disk.LoadIdentity(m.disk, "/data")
	if err != nil {
		return err
	}
	if got != m.identity && (m.during.identity == nil || got != *m.during.identity) {
		return fmt.Errorf("the identity is %+v, not %+v", got, m.identity)
	}
	m.identity = got
	return nil
}

// An operation is one that member.do knows, and how much of it.
type operation struct {
	name string
	n    int
}

// A day in the life of a member, with segments so small that everything has to
// cross their borders.
func day() []operation {
	return []operation{
		{"identity", 1},
		{"set", 2},
		{"append", 1},
		{"append", 3},
		{"set", 1},
		{"append", 9},
		{"append", 2},
		{"drop-after", 1},
		{"append", 2},
		{"snapshot", 1},
		{"drop-before", 4},
		{"append", 12},
		{"append", 1},
		{"drop-after", 11},
		{"append", 4},
		{"reopen", 0},
		{"append", 1},
		{"snapshot", 4},
		{"snapshot", 1},
		{"drop-before", 6},
		{"snapshot", 1},
		{"set", 2},
		{"append", 3},
		{"drop-before", 100},
		{"append", 4},
		{"append", 8},
		{"snapshot", 1},
		{"drop-after", 100},
		{"append", 2},
		{"identity", 2},
		{"identity", 3},
		{"reopen", 0},
		{"identity", 2},
	}
}

// The power goes during every single operation of the day, each time with
// several outcomes of chance. Whatever was acknowledged is there, whatever was
// not is there as a whole or not at all, and the log goes on from there.
func TestPowerCutAtEveryOperation(t *testing.T) {
	whole := newMember(t)
	for _, op := range day() {
		if err := whole.do(op.name, op.n); err != nil {
			t.Fatalf("%s %d: %v", op.name, op.n, err)
		}
	}
	ops, outcomes, torn := whole.disk.Ops(), 6, 0
	if testing.Short() {
		outcomes = 2
	}
	for cut := 1; cut <= ops; cut++ {
		for seed := range uint64(outcomes) {
			m := &member{disk: disktest.New(), entries: map[uint64]string{}, values: map[string]string{}}
			m.disk.CutAt(cut)
			err := m.open()
			for _, op := range day() {
				if err != nil {
					break
				}
				err = m.do(op.name, op.n)
			}
			if !errors.Is(err, disktest.ErrPower) && m.disk.Ops() < ops {
				t.Fatalf("cut at %d: the power was to go, got %v", cut, err)
			}
			if err := m.restart(seed); err != nil {
				t.Fatalf("cut at %d, outcome %d, during %+v: %v", cut, seed, m.during, err)
			}
			if m.log.Len() > 0 {
				torn++
			}
			if err := m.do("append", 2); err != nil {
				t.Fatalf("cut at %d, outcome %d: it does not go on: %v", cut, seed, err)
			}
			m.during = inFlight{lastMin: m.last, lastMax: m.last, firstMax: m.first}
			if err := m.restart(seed); err != nil {
				t.Fatalf("cut at %d, outcome %d, the second time: %v", cut, seed, err)
			}
		}
	}
	if torn == 0 {
		t.Error("no tail was ever torn: the test tests little")
	}
	t.Logf("%d operations, %d outcomes each; %d torn tails were cut and told of", ops, outcomes, torn)
}

// Any sequence of operations, with power cuts anywhere.
func TestPowerCutsAnywhere(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := newMember(t)
		for range rapid.IntRange(1, 4).Draw(r, "lives") {
			m.disk.CutAt(m.disk.Ops() + rapid.IntRange(1, 60).Draw(r, "operations until the cut"))
			for range rapid.IntRange(1, 20).Draw(r, "steps") {
				name := rapid.SampledFrom([]string{"append", "append", "append", "drop-after", "drop-before", "set", "snapshot", "identity", "reopen"}).Draw(r, "step")
				err := m.do(name, rapid.IntRange(0, 12).Draw(r, "n"))
				if errors.Is(err, disktest.ErrPower) {
					break
				}
				if err != nil {
					r.Fatal(err)
				}
				m.during = inFlight{lastMin: m.last, lastMax: m.last, firstMax: m.first}
			}
			if err := m.restart(rapid.Uint64().Draw(r, "outcome")); err != nil {
				r.Fatal(err)
			}
		}
	})
}

// One write or sync fails, at each place in turn, without a power cut: from then
// on that part refuses, with the reason, and what was acknowledged stays.
func TestFailureAtEveryOperation(t *testing.T) {
	day := slices.DeleteFunc(day(), func(op operation) bool { return op.name == "reopen" })
	whole := newMember(t)
	for _, op := range day {
		if err := whole.do(op.name, op.n); err != nil {
			t.Fatal(err)
		}
	}
	broken := errors.New("input/output error")
	for at := 1; at <= whole.disk.Ops(); at++ {
		m := &member{disk: disktest.New(), entries: map[uint64]string{}, values: map[string]string{}}
		failed := disktest.Op{}
		m.disk.Before = func(op disktest.Op) error {
			if op.Number != at {
				return nil
			}
			failed = op
			return broken
		}
		err := m.open()
		for _, op := range day {
			if err != nil {
				break
			}
			err = m.do(op.name, op.n)
		}
		if err != nil && !errors.Is(err, broken) {
			t.Fatalf("%v failed, got %v", failed, err)
		}
		if m.storage == nil {
			continue
		}
		refused := errors.Join(m.storage.Log.Append(m.last+1, [][]byte{nil}), m.storage.Stable.Set(map[string][]byte{"key0": {9}}))
		if name := failed.Name; refused == nil && (bytes.Contains([]byte(name), []byte(".log")) || bytes.Contains([]byte(name), []byte("stable"))) {
			t.Errorf("%v failed, but the next write is taken", failed)
		}
		if refused != nil && !errors.Is(refused, broken) {
			t.Errorf("%v failed, later writes are refused without the reason: %v", failed, refused)
		}
	}
}

// Every byte of every file is damaged in turn, after the last sync has ended.
// Either the storage is refused with the file's name and an offset at or before
// the damage, or nothing is missing.
func TestDamageIsRecognised(t *testing.T) {
	m := newMember(t)
	for _, op := range day() {
		if err := m.do(op.name, op.n); err != nil {
			t.Fatal(err)
		}
	}
	chance := rand.New(rand.NewPCG(1, 1))
	refused, harmless := 0, 0
	for _, dir := range []string{"/data", "/data/log", "/data/snapshots"} {
		names, err := m.disk.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, base := range names {
			name := dir + "/" + base
			whole, err := m.disk.Content(name)
			if err != nil {
				t.Fatal(err)
			}
			for at := range whole {
				damaged := bytes.Clone(whole)
				damaged[at] ^= byte(1 + chance.IntN(255))
				if err := m.disk.SetContent(name, damaged); err != nil {
					t.Fatal(err)
				}
				err := m.look()
				var corrupt *disk.CorruptError
				switch {
				case err == nil:
					harmless++
				case !errors.As(err, &corrupt):
					t.Fatalf("%s, byte %d of %d: %v", name, at, len(whole), err)
				case corrupt.File != name || corrupt.Offset > int64(len(whole)):
					t.Fatalf("%s, byte %d: the error names offset %d of %s", name, at, corrupt.Offset, corrupt.File)
				default:
					refused++
				}
			}
			if err := m.disk.SetContent(name, whole); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d damaged bytes refused, %d harmless", refused, harmless)
	if refused == 0 {
		t.Error("no damage was recognised")
	}
}

// look opens a copy of everything and checks that all is there.
func (m *member) look() error {
	copied := &member{
		disk: m.disk.Copy(), entries: m.entries, first: m.first, last: m.last, values: m.values,
		snapshots: m.snapshots, identity: m.identity, during: inFlight{lastMin: m.last, lastMax: m.last, firstMax: m.first},
	}
	if err := copied.open(); err != nil {
		return err
	}
	return errors.Join(copied.checkLog(), copied.checkStable(), copied.checkSnapshots(), copied.checkIdentity())
}
