package shimstart

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// Arguments are written as Go's flag package lets them be.
func TestOption(t *testing.T) {
	args := []string{"-namespace", "swarm", "-address=/run/c.sock", "--publish-binary", "/usr/bin/containerd", "--id=7", "start"}
	for name, want := range map[string]string{
		"namespace": "swarm", "address": "/run/c.sock", "publish-binary": "/usr/bin/containerd", "id": "7", "debug": "", "start": "",
	} {
		if got := option(args, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// The group is an annotation of the specification and nothing else in it.
func TestGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), configFile)
	for text, want := range map[string]string{
		`{"annotations":{"` + Group + `":"a"}}`:                                       "a",
		`{"process":{"env":["\"` + Group + `\":\"b\""]},"annotations":{"other":"c"}}`: "",
		`{`: "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := groupOf(file); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: the group is %q, %v, want %q", text, got, err, want)
		}
	}
	if _, err := groupOf(file + "-absent"); err == nil {
		t.Error("there is a group without a specification")
	}
}

// A socket answers while somebody listens, not when it was left behind.
func TestAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if answers(path) == nil {
		t.Error("a socket that is not there answers")
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if err := answers(path); err != nil {
		t.Errorf("a socket does not answer: %v", err)
	}
	listener.SetUnlinkOnClose(false)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if answers(path) == nil {
		t.Error("a socket that was left behind answers")
	}
}

// containerd's own program is found on PATH, or else beside containerd.
func TestFind(t *testing.T) {
	on, beside := t.TempDir(), t.TempDir()
	for _, dir := range []string{on, beside} {
		if err := os.WriteFile(filepath.Join(dir, Program), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	containerd := filepath.Join(beside, "containerd")
	t.Setenv("PATH", on)
	if got, err := Find(containerd); err != nil || got != filepath.Join(on, Program) {
		t.Errorf("found is %s, %v, want the one on PATH", got, err)
	}
	t.Setenv("PATH", "")
	if got, err := Find(containerd); err != nil || got != filepath.Join(beside, Program) {
		t.Errorf("found is %s, %v, want the one beside containerd", got, err)
	}
	if got, err := Find(""); err == nil {
		t.Errorf("found is %s, want nothing", got)
	}
}
