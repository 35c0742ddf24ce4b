package logwriter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

const patience = 20 * time.Second

func newLog(t testing.TB, size int64, files int) (Config, *writer) {
	t.Helper()
	c := Config{Path: filepath.Join(t.TempDir(), "log"), SizeMax: size, FilesMax: files}
	w, err := create(c)
	if err != nil {
		t.Fatal(err)
	}
	return c, w
}

// write writes as a container does.
func write(w *writer, stdout, stderr string) {
	w.copyAll(strings.NewReader(stdout), strings.NewReader(stderr))
}

// all is an Options that restricts nothing.
func all() Options { return Options{Stdout: true, Stderr: true, Tail: -1} }

func never() <-chan struct{} { return make(chan struct{}) }

func read(t *testing.T, c Config, o Options) []string {
	t.Helper()
	var lines []string
	err := Read(t.Context(), c.Path, o, never(), func(l Line) error {
		stream := "out"
		if l.Stderr {
			stream = "err"
		}
		lines = append(lines, stream+" "+string(l.Text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func want(t *testing.T, got []string, lines ...string) {
	t.Helper()
	if !slices.Equal(got, lines) {
		t.Errorf("read are\n%q, want\n%q", got, lines)
	}
}

// Both streams are kept apart; a last line need not have an end; bytes that are
// not text do no harm.
func TestStreams(t *testing.T) {
	c, w := newLog(t, 0, 1)
	write(w, "one\ntwo\r\n\xff\x00\"\\\u2028<é>\nno end", "")
	write(w, "", "bad\n")
	want(t, read(t, c, all()), "out one\n", "out two\r\n", "out \ufffd\x00\"\\\u2028<é>\n", "out no end", "err bad\n")
	o := all()
	o.Stdout = false
	want(t, read(t, c, o), "err bad\n")
}

// A line that is very long is kept in parts, of which only the last has its end.
func TestLongLine(t *testing.T) {
	c, w := newLog(t, 0, 1)
	long := strings.Repeat("x", 2*lineBytesMax+5)
	write(w, long+"\n", "")
	got := read(t, c, all())
	if len(got) != 3 || len(got[0]) != len("out ")+lineBytesMax || strings.HasSuffix(got[1], "\n") || got[2] != "out xxxxx\n" {
		t.Errorf("read are %d parts, the last of them %.20q", len(got), got[len(got)-1])
	}
}

// The end of a log is found in whichever files it is.
func TestTail(t *testing.T) {
	c, w := newLog(t, 1<<10, 5)
	var text strings.Builder
	for i := range 50 {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	write(w, text.String(), "")
	whole := read(t, c, all())
	if len(whole) < 30 || whole[len(whole)-1] != "out line 49\n" {
		t.Fatalf("%d lines were kept, the last of them %q", len(whole), whole[len(whole)-1])
	}
	for n := range len(whole) + 2 {
		o := all()
		o.Tail = n
		want(t, read(t, c, o), whole[max(0, len(whole)-n):]...)
	}
}

// Files have at most their size, and there are at most as many as may be.
func TestRotation(t *testing.T) {
	for _, files := range []int{1, 2, 4} {
		c, w := newLog(t, 2<<10, files)
		write(w, strings.Repeat("a line of some length\n", 1000), "")
		names, err := filepath.Glob(c.Path + "*")
		if err != nil {
			t.Fatal(err)
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == lockPath(c.Path) })
		if len(names) != files {
			t.Errorf("with %d files there are %v", files, names)
		}
		for _, n := range names {
			if info, err := os.Stat(n); err != nil || info.Size() > 2<<10 || info.Size() == 0 {
				t.Errorf("%s has %d bytes, %v", n, info.Size(), err)
			}
		}
	}
}

// Only what was said in a time is read.
func TestTimes(t *testing.T) {
	c, w := newLog(t, 0, 1)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for i := range 5 {
		w.append(appendRecord(nil, Line{At: at.Add(time.Duration(i) * time.Second), Text: fmt.Appendf(nil, "%d\n", i)}, nil))
	}
	o := all()
	o.Since, o.Until = at.Add(time.Second), at.Add(3*time.Second)
	want(t, read(t, c, o), "out 1\n", "out 2\n", "out 3\n")
}

// A log is followed through rotations until its container and its writer have
// ended; nothing is lost or told twice.
func TestFollow(t *testing.T) {
	c, w := newLog(t, 4<<10, 10)
	ended := make(chan struct{})
	var got []string
	o := all()
	o.Follow = true
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const lines = 300
	in, out := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		w.copyAll(in, strings.NewReader(""))
		_ = w.close()
	}()
	say := func(i int) {
		if _, err := fmt.Fprintf(out, "line %d\n", i); err != nil {
			t.Error(err)
		}
	}
	say(0)
	err := Read(ctx, c.Path, o, ended, func(l Line) error {
		got = append(got, string(l.Text))
		switch {
		case len(got) < lines: // the next line is said only now
			say(len(got))
		default:
			close(ended)
			_ = out.Close()
			<-written
		}
		return nil
	})
	if err != nil || len(got) != lines || got[lines-1] != fmt.Sprintf("line %d\n", lines-1) {
		t.Errorf("%d lines were read, %v", len(got), err)
	}
}

// Who follows may leave, or refuse.
func TestLeave(t *testing.T) {
	c, w := newLog(t, 0, 1)
	write(w, "one\ntwo\n", "")
	o := all()
	o.Follow = true
	refusal := errors.New("enough")
	if err := Read(t.Context(), c.Path, o, never(), func(Line) error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("the refusal is not returned: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := Read(ctx, c.Path, o, never(), func(Line) error { cancel(); return nil }); err != nil {
		t.Errorf("leaving is an error: %v", err)
	}
	o.Until = time.Now().Add(100 * time.Millisecond)
	if err := Read(t.Context(), c.Path, o, never(), func(Line) error { return nil }); err != nil {
		t.Errorf("until has passed: %v", err)
	}
	if err := Read(t.Context(), filepath.Join(t.TempDir(), "none"), all(), never(), func(Line) error { return nil }); err != nil {
		t.Errorf("a log that is not there: %v", err)
	}
}

// A record without an end is not read until it has one; one that is broken is
// passed over.
func TestBroken(t *testing.T) {
	c, w := newLog(t, 0, 1)
	write(w, "one\n", "")
	for _, text := range []string{"{\"log\":\"torn\n", "\n", "null\n", strings.Repeat("x", recordBytesMax+10) + "\n"} {
		w.write([]byte(text))
	}
	write(w, "two\n", "")
	w.write([]byte(`{"log":"half`))
	want(t, read(t, c, all()), "out one\n", "out two\n")
	o := all()
	o.Tail = 1
	want(t, read(t, c, o), "out two\n")
}

// Two writers cannot have the same log.
func TestLock(t *testing.T) {
	c, w := newLog(t, 0, 1)
	if _, err := create(c); err == nil || !strings.Contains(err.Error(), "another log writer has") {
		t.Errorf("a second writer: %v", err)
	}
	if !beingWritten(c.Path) {
		t.Error("the log does not seem to be written")
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	if beingWritten(c.Path) {
		t.Error("the log still seems to be written")
	}
}

// Options are understood, or refused with the reason.
func TestConfigure(t *testing.T) {
	labels := map[string]string{"a": "1", "b.x": "2", "b.y": "3"}
	env := []string{"E=5", "F=6"}
	for _, c := range []struct {
		driver  string
		options map[string]string
		want    Config
		refusal string
	}{
		{driver: JSONFile, want: Config{FilesMax: 1}},
		{driver: None, want: Config{FilesMax: 1}},
		{driver: Local, want: Config{FilesMax: 5, SizeMax: 20 << 20}},
		{driver: JSONFile, options: map[string]string{"max-size": "10m", "max-file": "3"}, want: Config{FilesMax: 3, SizeMax: 10 << 20}},
		{driver: JSONFile, options: map[string]string{"max-size": "-1"}, want: Config{FilesMax: 1}},
		{
			driver: JSONFile, options: map[string]string{"labels": "a,none", "labels-regex": "^b", "env": "E", "compress": "false", "mode": "blocking"},
			want: Config{FilesMax: 1, Attributes: map[string]string{"a": "1", "b.x": "2", "b.y": "3", "E": "5"}},
		},
		{driver: "syslog", refusal: "no log driver named 'syslog' is registered"},
		{driver: None, options: map[string]string{"max-size": "1m"}, refusal: "takes no options"},
		{driver: JSONFile, options: map[string]string{"max-size": "lots"}, refusal: `invalid value for max-size: "lots"`},
		{driver: JSONFile, options: map[string]string{"max-size": "12"}, refusal: "at least 1024 bytes"},
		{driver: JSONFile, options: map[string]string{"max-file": "0"}, refusal: "a number from 1 to 1000"},
		{driver: JSONFile, options: map[string]string{"max-file": "3"}, refusal: "max-file cannot be greater than 1 without max-size"},
		{driver: JSONFile, options: map[string]string{"compress": "true"}, refusal: "not compressed"},
		{driver: JSONFile, options: map[string]string{"mode": "non-blocking"}, refusal: "only blocking"},
		{driver: JSONFile, options: map[string]string{"labels-regex": "("}, refusal: "labels-regex"},
		{driver: JSONFile, options: map[string]string{"colour": "red"}, refusal: "unknown log opt 'colour' for log driver json-file"},
	} {
		got, err := Configure(c.driver, "/log", c.options, labels, env)
		if c.refusal != "" {
			if err == nil || !strings.Contains(err.Error(), c.refusal) {
				t.Errorf("%s %v: %v, want %q", c.driver, c.options, err, c.refusal)
			}
			continue
		}
		c.want.Path = "/log"
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s %v: %+v, %v; want %+v", c.driver, c.options, got, err, c.want)
		}
	}
}

// Saved is what is loaded.
func TestSave(t *testing.T) {
	c := Config{Path: "/a", SizeMax: 5000, FilesMax: 2, Attributes: map[string]string{"a": "b"}}
	name := filepath.Join(t.TempDir(), "c")
	if err := c.Save(name); err != nil {
		t.Fatal(err)
	}
	if got, err := load(name); err != nil || fmt.Sprint(got) != fmt.Sprint(c) {
		t.Errorf("loaded is %+v, %v", got, err)
	}
}

// What is written as a record is read as the same line.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("plain\n"), "key", "value")
	f.Add([]byte("\xff\xfe\x00\"\\\u2028</script>"), "", "\x01")
	f.Fuzz(func(t *testing.T, text []byte, key, value string) {
		l := Line{Stderr: len(text)%2 == 0, At: time.Unix(12345, 678).UTC(), Text: text}
		record := appendRecord(nil, l, encodeAttributes(map[string]string{key: value}))
		if bytes.IndexByte(record, '\n') != len(record)-1 {
			t.Fatalf("the record %q is not one line", record)
		}
		got, err := decodeRecord(record)
		if err != nil {
			t.Fatalf("%v: %q", err, record)
		}
		if utf8.Valid(text) && string(got.Text) != string(text) || got.Stderr != l.Stderr || !got.At.Equal(l.At) {
			t.Errorf("read is %+v, written %+v", got, l)
		}
		if len(got.Attributes) != 1 {
			t.Errorf("the attributes are %v", got.Attributes)
		}
	})
}

// Whatever is in a log's file, reading it ends without harm.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"log":"x\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}`+"\n"), 1)
	f.Add([]byte("\n\n{\n"), -1)
	f.Fuzz(func(t *testing.T, content []byte, tail int) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		o := all()
		o.Tail = tail
		lines := 0
		if err := Read(t.Context(), path, o, never(), func(Line) error { lines++; return nil }); err != nil {
			t.Fatal(err)
		}
		if records := bytes.Count(content, []byte("\n")); lines > records || tail >= 0 && lines > tail {
			t.Errorf("%d lines were read of %d records with tail %d", lines, records, tail)
		}
	})
}

// A configuration that is accepted is one that a writer can go by.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"Path":"/log","SizeMax":1024,"FilesMax":3,"Attributes":{"a":"b"}}`))
	f.Add([]byte(`{"Path":"","FilesMax":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeConfig(data)
		if err == nil && (!filepath.IsAbs(c.Path) || c.SizeMax < 0 || c.FilesMax < 1 || c.FilesMax > filesMax) {
			t.Errorf("accepted is %+v", c)
		}
	})
}
