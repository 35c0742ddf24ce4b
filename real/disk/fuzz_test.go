package disk_test

import (
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/swarmd/swarmd/real/disk"
	"github.com/swarmd/swarmd/real/disk/disktest"
)

// wholeFiles returns the files of a directory as a day leaves them.
func wholeFiles(f *testing.F, dir string) [][]byte {
	m := &member{disk: disktest.New(), entries: map[uint64]string{}, values: map[string]string{}}
	err := m.open()
	for _, op := range day() {
		if err == nil {
			err = m.do(op.name, op.n)
		}
	}
	names, listed := m.disk.List(dir)
	if err := errors.Join(err, listed); err != nil {
		f.Fatal(err)
	}
	var files [][]byte
	for _, name := range names {
		b, err := m.disk.Content(dir + "/" + name)
		if err != nil {
			f.Fatal(err)
		}
		files = append(files, b)
	}
	return files
}

// Whatever is in the files of the log, opening it is an answer: damage that is
// named, or a log whose every entry can be read and which goes on.
func FuzzLog(f *testing.F) {
	files := wholeFiles(f, "/data/log")
	for _, b := range files {
		f.Add(b, files[len(files)-1])
		f.Add(b, b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, older, newest []byte) {
		fsys := disktest.New()
		put(t, fsys, "/log/00000000000000000019.log", older)
		put(t, fsys, "/log/00000000000000000023.log", newest)
		log, err := disk.OpenLog(fsys, "/log", disk.LogOptions{})
		if _, ok := errors.AsType[*disk.CorruptError](err); ok {
			return
		}
		if err != nil {
			t.Fatalf("neither damage nor a log: %v", err)
		}
		first, last := log.Bounds()
		for i := first; i <= last && last > 0; i++ {
			if _, err := log.Read(i); err != nil {
				t.Errorf("entry %d of %d to %d: %v", i, first, last, err)
			}
		}
		if err := log.Append(last+1, [][]byte{[]byte("next")}); err != nil {
			t.Error(err)
		}
	})
}

// Whatever is in a snapshot's file, opening it is an answer.
func FuzzSnapshot(f *testing.F) {
	for _, b := range wholeFiles(f, "/data/snapshots") {
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys := disktest.New()
		put(t, fsys, "/snapshots/1.snapshot", b)
		snapshots, err := disk.OpenSnapshots(fsys, "/snapshots", 0)
		if err != nil {
			t.Fatal(err)
		}
		var corrupt *disk.CorruptError
		if _, _, err := snapshots.About("1"); err != nil && !errors.As(err, &corrupt) {
			t.Errorf("neither damage nor a snapshot: %v", err)
		}
		_, size, r, err := snapshots.Open("1")
		if err != nil {
			if !errors.As(err, &corrupt) {
				t.Errorf("neither damage nor a snapshot: %v", err)
			}
			return
		}
		if got, err := io.ReadAll(r); err != nil || int64(len(got)) != size {
			t.Errorf("%d bytes of %d: %v", len(got), size, err)
		}
	})
}

func put(t *testing.T, fsys *disktest.FS, name string, content []byte) {
	t.Helper()
	if err := fsys.MkdirAll(filepath.Dir(name)); err != nil {
		t.Fatal(err)
	}
	if err := fsys.SetContent(name, content); err != nil {
		t.Fatal(err)
	}
}
