package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swarmd/swarmd/real/disk"
	"github.com/swarmd/swarmd/real/disk/disktest"
)

// The file system in memory and the real one behave the same, in everything that
// this package relies on.
func TestFileSystems(t *testing.T) {
	for name, make := range map[string]func() (disk.FS, string){
		"memory": func() (disk.FS, string) { return disktest.New(), "/dir" },
		"os":     func() (disk.FS, string) { return disk.OS{}, t.TempDir() },
	} {
		t.Run(name, func(t *testing.T) {
			fsys, top := make()
			dir := filepath.Join(top, "a", "b")
			must(t, fsys.MkdirAll(dir))
			must(t, fsys.MkdirAll(dir))
			one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")

			_, err := fsys.Append(one)
			wants(t, "append to a file that is missing", err, fs.ErrNotExist)
			_, err = fsys.Open(one)
			wants(t, "open a file that is missing", err, fs.ErrNotExist)
			wants(t, "remove a file that is missing", fsys.Remove(one), fs.ErrNotExist)

			w, err := fsys.Create(one)
			must(t, err)
			_, err = fsys.Create(one)
			wants(t, "create what exists", err, fs.ErrExist)
			_, err = io.WriteString(w, "hello, world")
			must(t, err)
			r, err := fsys.Open(one)
			must(t, err)
			must(t, w.Truncate(5))
			_, err = io.WriteString(w, " disk")
			must(t, errors.Join(err, w.Sync(), w.Close()))
			w, err = fsys.Append(one)
			must(t, err)
			_, err = io.WriteString(w, "!")
			must(t, errors.Join(err, w.Sync(), w.Close(), fsys.SyncDir(dir)))
			holds(t, r, "hello disk!")

			w, err = fsys.Create(two)
			must(t, errors.Join(err, w.Close(), fsys.Rename(one, two), fsys.SyncDir(dir)))
			names, err := fsys.List(dir)
			must(t, err)
			if diff := cmp.Diff([]string{"two"}, names); diff != "" {
				t.Error(diff)
			}
			must(t, fsys.Remove(two))
			holds(t, r, "hello disk!") // an open file stays readable
			must(t, r.Close())
			_, err = fsys.List(filepath.Join(top, "none"))
			wants(t, "list a directory that is missing", err, fs.ErrNotExist)
		})
	}
}

func holds(t *testing.T, r disk.Reader, want string) {
	t.Helper()
	size, err := r.Size()
	must(t, err)
	b := make([]byte, size)
	if _, err := r.ReadAt(b, 0); string(b) != want {
		t.Errorf("it holds %q, not %q: %v", b, want, err)
	}
	if n, err := r.ReadAt(b, size); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("at its end: %d, %v", n, err)
	}
}

// A storage on a real disk: written, closed, opened, read, cleared.
func TestStorageOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "swarm")
	s, err := disk.OpenStorage(disk.OS{}, dir, disk.StorageOptions{})
	must(t, err)
	if !s.Empty() {
		t.Error("a new storage is not empty")
	}
	must(t, s.Log.Append(5, [][]byte{[]byte("five"), {}}))
	must(t, s.Stable.Set(map[string][]byte{"term": {1}}))
	w, err := s.Snapshots.Create("4", []byte("about"))
	must(t, err)
	_, err = io.WriteString(w, "body")
	must(t, errors.Join(err, w.Close(), s.Close()))

	s, err = disk.OpenStorage(disk.OS{}, dir, disk.StorageOptions{})
	must(t, err)
	if first, last := s.Log.Bounds(); first != 5 || last != 6 {
		t.Errorf("the log has %d to %d", first, last)
	}
	got, err := s.Log.Read(5)
	must(t, err)
	if string(got) != "five" || !bytes.Equal(s.Stable.Get("term"), []byte{1}) || !slices.Equal(s.Snapshots.List(), []string{"4"}) || s.Empty() {
		t.Errorf("it has %q, %v, %v", got, s.Stable.Get("term"), s.Snapshots.List())
	}
	_, err = s.Log.Read(7)
	wants(t, "read what is not there", err, disk.ErrNoEntry)
	must(t, s.Clear())
	if !s.Empty() {
		t.Error("cleared, it is not empty")
	}
	must(t, s.Close())
	if err := s.Log.Append(1, [][]byte{nil}); err == nil {
		t.Error("a closed log takes entries")
	}
}

// A log refuses what would leave a gap or is too large, and is none the worse.
func TestLogRefuses(t *testing.T) {
	fsys := disktest.New()
	must(t, fsys.MkdirAll("/log"))
	log, err := disk.OpenLog(fsys, "/log", disk.LogOptions{})
	must(t, err)
	must(t, log.Append(3, [][]byte{[]byte("three")}))
	for _, bad := range []struct {
		first   uint64
		payload []byte
		want    string
	}{
		{0, nil, "entry 0 cannot follow entry 3"},
		{3, nil, "entry 3 cannot follow entry 3"},
		{5, nil, "entry 5 cannot follow entry 3"},
		{4, make([]byte, 64<<20+1), "67108864 at most are allowed"},
	} {
		if err := log.Append(bad.first, [][]byte{bad.payload}); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("got %v, want %s", err, bad.want)
		}
	}
	must(t, log.Append(4, [][]byte{[]byte("four")}))
}

// A tail that was torn is cut with a line in the log that says where.
func TestTornTailIsTold(t *testing.T) {
	fsys := disktest.New()
	must(t, fsys.MkdirAll("/log"))
	log, err := disk.OpenLog(fsys, "/log", disk.LogOptions{})
	must(t, err)
	must(t, log.Append(1, [][]byte{[]byte("one")}))
	must(t, log.Append(2, [][]byte{[]byte("two")}))
	name := "/log/00000000000000000001.log"
	whole, err := fsys.Content(name)
	must(t, err)
	torn := whole[:len(whole)-32-1] // the marker, and a byte of what it marks
	must(t, fsys.SetContent(name, torn))
	var told bytes.Buffer
	log, err = disk.OpenLog(fsys, "/log", disk.LogOptions{Logger: slog.New(slog.NewTextHandler(&told, nil))})
	must(t, err)
	if _, last := log.Bounds(); last != 1 || !strings.Contains(told.String(), "offset=99 bytes=34 last=1") {
		t.Errorf("last is %d; told: %s", last, told.String())
	}
	// The same damage before something that was written later is no torn tail.
	whole[110]++
	must(t, fsys.SetContent(name, whole))
	_, err = disk.OpenLog(fsys, "/log", disk.LogOptions{})
	want := "/log/00000000000000000001.log is damaged at offset 99: a record's header has a wrong checksum; it must be restored or this node must leave the swarm and join again"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// Readers are not disturbed by a writer that appends and drops.
func TestLogReadersBesideWriter(t *testing.T) {
	fsys := disktest.New()
	must(t, fsys.MkdirAll("/log"))
	log, err := disk.OpenLog(fsys, "/log", disk.LogOptions{SegmentBytesMax: 200})
	must(t, err)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				first, last := log.Bounds()
				for i := first; i <= last; i++ {
					got, err := log.Read(i)
					if err != nil && !errors.Is(err, disk.ErrNoEntry) || err == nil && string(got) != fmt.Sprint("entry ", i) {
						t.Errorf("entry %d is %q, %v", i, got, err)
						return
					}
				}
			}
		})
	}
	for i := uint64(1); i < 300; i++ {
		must(t, log.Append(i, [][]byte{fmt.Append(nil, "entry ", i)}))
		if i%10 == 0 {
			must(t, log.DropBefore(i-5))
		}
	}
	close(stop)
	readers.Wait()
}

// Snapshots: names are checked, unfinished ones are not seen, two are kept.
func TestSnapshots(t *testing.T) {
	fsys := disktest.New()
	must(t, fsys.MkdirAll("/s"))
	s, err := disk.OpenSnapshots(fsys, "/s", 0)
	must(t, err)
	for _, name := range []string{"", "A", "../x", "a.b", strings.Repeat("x", 129)} {
		if _, err := s.Create(name, nil); err == nil || !strings.Contains(err.Error(), "digits, lower-case letters and hyphens") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := s.Create("big", make([]byte, 1<<20+1)); err == nil {
		t.Error("a description of more than 1 MiB is taken")
	}
	for _, name := range []string{"1", "2", "3"} {
		w, err := s.Create(name, []byte(name))
		must(t, err)
		if _, err := s.Create(name, nil); err == nil || !strings.Contains(err.Error(), "being written already") {
			t.Errorf("twice at a time: %v", err)
		}
		if slices.Contains(s.List(), name) {
			t.Errorf("%s is seen before it is finished", name)
		}
		_, err = io.Copy(w, strings.NewReader(strings.Repeat(name, 1<<20)))
		must(t, errors.Join(err, w.Close()))
	}
	if diff := cmp.Diff([]string{"3", "2"}, s.List()); diff != "" {
		t.Error(diff)
	}
	w, err := s.Create("4", nil)
	must(t, err)
	must(t, s.Abort("4"))
	must(t, s.Abort("none"))
	if _, err := w.Write([]byte("late")); err == nil {
		t.Error("what was given up takes more")
	}
	if err := w.Close(); err == nil {
		t.Error("what was given up can be finished")
	}
	_, size, r, err := s.Open("3")
	must(t, err)
	got, err := io.ReadAll(r)
	must(t, errors.Join(err, r.Close()))
	if size != 1<<20 || string(got) != strings.Repeat("3", 1<<20) {
		t.Errorf("%d bytes of %d", len(got), size)
	}
	_, _, _, err = s.Open("9")
	wants(t, "open a snapshot that is missing", err, fs.ErrNotExist)
	must(t, s.Clear())
	if len(s.List()) != 0 {
		t.Error("cleared, there are some")
	}
}

// Stable values have limits, and what is as it was is not written.
func TestStable(t *testing.T) {
	fsys := disktest.New()
	must(t, fsys.MkdirAll("/v"))
	s, err := disk.OpenStable(fsys, "/v/stable")
	must(t, err)
	must(t, s.Set(map[string][]byte{"a": {1}, "b": {2}}))
	ops := fsys.Ops()
	must(t, s.Set(map[string][]byte{"a": {1}}))
	if fsys.Ops() != ops {
		t.Error("values that were there already are written again")
	}
	if err := s.Set(map[string][]byte{"a": make([]byte, 64<<10+1)}); err == nil || !strings.Contains(err.Error(), "65536 bytes") {
		t.Errorf("a large value: %v", err)
	}
	many := map[string][]byte{}
	for i := range 1025 {
		many[fmt.Sprint(i)] = nil
	}
	if err := s.Set(many); err == nil || !strings.Contains(err.Error(), "1024 values") {
		t.Errorf("many values: %v", err)
	}
	must(t, s.Set(map[string][]byte{"a": {3}}))
	s, err = disk.OpenStable(fsys, "/v/stable")
	must(t, err)
	if !bytes.Equal(s.Get("a"), []byte{3}) || !bytes.Equal(s.Get("b"), []byte{2}) || s.Get("c") != nil {
		t.Errorf("a is %v, b is %v", s.Get("a"), s.Get("b"))
	}
}

// An identity is readable by people, and refused when somebody has edited it.
func TestIdentity(t *testing.T) {
	fsys := disktest.New()
	none, err := disk.LoadIdentity(fsys, "/i")
	if err != nil || none != (disk.Identity{}) {
		t.Errorf("there is %+v, %v", none, err)
	}
	must(t, disk.RemoveIdentity(fsys, "/i"))
	id := disk.Identity{Node: "node", Cluster: "cluster", Addr: "10.0.0.1:2377", Manager: true}
	must(t, disk.SaveIdentity(fsys, "/i", id))
	got, err := disk.LoadIdentity(fsys, "/i")
	if err != nil || got != id {
		t.Errorf("got %+v, %v", got, err)
	}
	text, err := fsys.Content("/i/identity.json")
	must(t, err)
	must(t, fsys.SetContent("/i/identity.json", bytes.Replace(text, []byte("10.0.0.1"), []byte("10.0.0.2"), 1)))
	_, err = disk.LoadIdentity(fsys, "/i")
	var corrupt *disk.CorruptError
	if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), "/i/identity.json") {
		t.Errorf("edited: %v", err)
	}
	for _, bad := range []disk.Identity{{}, {Node: "n"}, {Node: "n", Cluster: "c", Addr: strings.Repeat("x", 64<<10)}} {
		if err := disk.SaveIdentity(fsys, "/i", bad); err == nil {
			t.Errorf("saved: %.40v", bad)
		}
	}
	must(t, disk.RemoveIdentity(fsys, "/i"))
	if got, err := disk.LoadIdentity(fsys, "/i"); err != nil || got != none {
		t.Errorf("removed, there is %+v, %v", got, err)
	}
}

// A directory has one user at a time, and who comes second is told who is first.
func TestLockDir(t *testing.T) {
	dir := t.TempDir()
	lock, err := disk.LockDir(dir)
	must(t, err)
	_, err = disk.LockDir(dir)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("another swarmd (process %d) uses %s", os.Getpid(), dir)) {
		t.Errorf("got %v", err)
	}
	must(t, lock.Unlock())
	lock, err = disk.LockDir(dir)
	must(t, err)
	must(t, lock.Unlock())
	if _, err := disk.LockDir(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is missing can be locked")
	}
}

// How many entries of 500 bytes a real disk takes in a second, one to a sync and
// a hundred to a sync.
func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			log, err := disk.OpenLog(disk.OS{}, b.TempDir(), disk.LogOptions{})
			if err != nil {
				b.Fatal(err)
			}
			entries := slices.Repeat([][]byte{make([]byte, 500)}, batch)
			next := uint64(1)
			for b.Loop() {
				if err := log.Append(next, entries); err != nil {
					b.Fatal(err)
				}
				next += uint64(batch)
			}
			b.ReportMetric(float64(next-1)/b.Elapsed().Seconds(), "entries/s")
			if err := log.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// How long a log of a hundred thousand entries takes to open.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	log, err := disk.OpenLog(disk.OS{}, dir, disk.LogOptions{})
	if err != nil {
		b.Fatal(err)
	}
	entries := slices.Repeat([][]byte{make([]byte, 500)}, 1000)
	for i := range uint64(100) {
		if err := log.Append(1+i*1000, entries); err != nil {
			b.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		log, err := disk.OpenLog(disk.OS{}, dir, disk.LogOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := log.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
