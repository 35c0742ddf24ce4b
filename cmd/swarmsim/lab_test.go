//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// buildPrograms builds what a lab needs, once.
var buildPrograms = sync.OnceValues(func() (string, error) { //nolint:gochecknoglobals // built once, when a test wants it
	dir, err := os.MkdirTemp("", builtPattern)
	if err != nil {
		return "", err
	}
	builtDir = dir
	build := exec.Command("go", "build", "-o", dir, ".", "../swarmd", "../swarmd-log", "../swarmd-shim", "../swarmctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w: %s", build.Args, err, out)
	}
	return dir, nil
})

// builtPattern is what the name of that directory begins with.
const builtPattern = "swarmsim-test"

// builtDir is the directory that buildPrograms has made.
var builtDir string //nolint:gochecknoglobals // TestMain removes it

func TestMain(m *testing.M) {
	code := m.Run()
	if builtDir != "" {
		_ = os.RemoveAll(builtDir)
	}
	os.Exit(code)
}

// needLab skips a test where there can be no lab, and builds what it runs.
func needLab(t *testing.T) (dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a lab can only be made by root: sudo make test")
	}
	programs := labPrograms()
	programs["busybox"] = "busybox-static"
	if err := needPrograms(programs); err != nil {
		t.Skip(err)
	}
	dir, err := buildPrograms()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// insideName is set for the part of TestLab that runs where nothing else does.
const insideName = "SWARMSIM_TEST_INSIDE"

// A lab is made, lived in, broken in every way, and taken away, and nothing is left.
// That is looked at where nobody else makes anything: with mounts, processes, a
// network and a /run of its own.
func TestLab(t *testing.T) {
	if dir := os.Getenv(insideName); dir != "" {
		name := "test-" + filepath.Base(dir)[len(builtPattern):] // of control groups too, which are the machine's
		s := &labStory{t: t, programs: dir, name: name}
		t.Cleanup(func() { _, _ = s.lab("down") })
		s.play()
		return
	}
	dir := needLab(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A directory that another lab may remove is no place for a mount: that goes
	// with it. The first network namespace makes a mount that stays for all others.
	const inside = `mount -t tmpfs tmpfs /run && ip netns add first && ip netns del first && mount -t tmpfs tmpfs /var/lib && ip link set lo up && exec "$0" "$@"`
	c := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", inside, self, "-test.run=^TestLab$", "-test.v")
	c.Env = append(os.Environ(), insideName+"="+dir)
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// A labStory is the part of TestLab that runs where nothing else does.
type labStory struct {
	t        *testing.T
	programs string
	name     string // of the lab
}

func (s *labStory) play() {
	t := s.t
	before := s.everything()

	t.Log("two hosts, one of them a manager")
	s.says("swarm-01   worker", "up", "--managers", "1", "--workers", "1")
	s.refused("is up already", "up")
	s.refused(`has no host "swarm-07"; it has swarm-00, swarm-01`, "kill", "swarm-07")
	s.says("swarm-00", "exec", "swarm-00", "--", "hostname")
	s.types("swarm-00", "service", "create", "--no-resolve-image", "-q", "--name", "website", "--mode", "global", "--publish", "80:80", "nginx:alpine")
	s.await("2/2", func() string { return s.types("swarm-00", "service", "ls", "--format", "{{.Replicas}}") })

	t.Log("a host stands still, is cut off, crashes, and loses its power; each time it comes back")
	s.says("stands still", "stop", "swarm-01")
	if got := s.hosts()[1].State; got != "stopped" {
		t.Errorf("swarm-01 is %s", got)
	}
	s.says("runs", "start", "swarm-01")
	s.says("do not hear each other", "cut", "swarm-00", "swarm-01")
	s.says("hears nobody", "ls")
	if _, err := s.lab("exec", "swarm-01", "--", "busybox", "ping", "-c", "1", "-W", "1", "10.77.0.10"); err == nil {
		t.Error("hosts that are cut off from each other hear each other")
	}
	s.says("hear each other", "heal")
	s.says("1 packets received", "exec", "swarm-01", "--", "busybox", "ping", "-c", "1", "-W", "9", "10.77.0.10")
	s.says("was killed", "kill", "swarm-01")
	s.refused("does not run (it is down)", "stop", "swarm-01")
	s.says("runs", "start", "swarm-01")
	s.says("has no power", "power-off", "swarm-01")
	s.refused("has no power; start it with: swarmsim lab start --name "+s.name+" swarm-01", "exec", "swarm-01", "hostname")
	s.says("runs", "start", "swarm-01")
	s.await("2/2", func() string { return s.types("swarm-00", "service", "ls", "--format", "{{.Replicas}}") })
	s.says("swarmd serves", "logs", "swarm-01")

	t.Log("whatever was killed, and whatever stands still, all of it goes")
	for _, name := range []string{"containerd-shim-runc-v2", "containerd", "swarmd"} {
		s.killOne(name)
	}
	s.says("all others do not hear each other", "cut", "swarm-00")
	s.says("the lab is gone", "down")
	s.nothingSince(before)
	s.refused("there is no lab "+s.name+"; make it with: swarmsim lab up", "ls")

	t.Log("one that was killed while it made a lab leaves what the next one takes away")
	up := exec.CommandContext(t.Context(), filepath.Join(s.programs, "swarmsim"), "lab", "up", "--name", s.name, "--managers", "1", "--workers", "1")
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	s.await("true", func() string {
		found, _ := filepath.Glob(filepath.Join(labsDir, s.name, "swarm-0?", "pid"))
		return strconv.FormatBool(len(found) > 0)
	})
	_ = up.Process.Kill()
	_ = up.Wait()
	s.says("an earlier lab is taken away first", "up", "--managers", "1", "--workers", "0")
	s.says("the lab is gone", "down")
	s.nothingSince(before)
}

// lab runs swarmsim lab.
func (s *labStory) lab(args ...string) (string, error) {
	c := exec.CommandContext(s.t.Context(), filepath.Join(s.programs, "swarmsim"), append([]string{"lab", args[0], "--name", s.name}, args[1:]...)...)
	out, err := c.CombinedOutput()
	return string(out), err
}

func (s *labStory) says(want string, args ...string) {
	s.t.Helper()
	if out, err := s.lab(args...); err != nil || !strings.Contains(out, want) {
		s.t.Fatalf("lab %v: %v\n%s", args, err, out)
	}
}

func (s *labStory) refused(want string, args ...string) {
	s.t.Helper()
	if out, err := s.lab(args...); err == nil || !strings.Contains(out, want) {
		s.t.Fatalf("lab %v does not fail with %q: %v\n%s", args, want, err, out)
	}
}

// types runs the CLI on a host.
func (s *labStory) types(host string, args ...string) string {
	s.t.Helper()
	out, err := s.lab(append([]string{"exec", host, "--", filepath.Join(s.programs, "swarmctl")}, args...)...)
	if err != nil {
		s.t.Fatalf("%v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(out)
}

func (s *labStory) hosts() []labRow {
	s.t.Helper()
	out, err := s.lab("ls", "--json")
	var list struct{ Hosts []labRow }
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	if err != nil {
		s.t.Fatal(err, out)
	}
	return list.Hosts
}

// await waits for something of the real world.
func (s *labStory) await(want string, is func() string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for last := is(); last != want; last = is() {
		select {
		case <-ctx.Done():
			s.t.Fatalf("gave up waiting for %q: it is %q", want, last)
		case <-poll.C:
		}
	}
}

// killOne kills one process of a program.
func (s *labStory) killOne(name string) {
	s.t.Helper()
	for pid := range s.processes() {
		line, _ := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if program, _, _ := bytes.Cut(line, []byte{0}); filepath.Base(string(program)) == name {
			number, err := strconv.Atoi(pid)
			if err == nil {
				err = unix.Kill(number, unix.SIGKILL)
			}
			if err != nil {
				s.t.Fatal(err)
			}
			return
		}
	}
	s.t.Fatalf("no %s runs", name)
}

// processes yields those that run, and are not over.
func (s *labStory) processes() func(yield func(pid string) bool) {
	return func(yield func(string) bool) {
		files, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, file := range files {
			text, _ := os.ReadFile(file)
			over := bytes.Contains(text, []byte(") Z "))
			if pid := filepath.Base(filepath.Dir(file)); len(text) > 0 && !over && !yield(pid) {
				return
			}
		}
	}
}

// everything is what there is on this machine that a lab could have made.
func (s *labStory) everything() map[string][]string {
	s.t.Helper()
	all := map[string][]string{}
	for pid := range s.processes() {
		line, _ := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		all["processes"] = append(all["processes"], strings.ReplaceAll(string(line), "\x00", " "))
	}
	for what, words := range map[string][]string{
		"network namespaces": {"ip", "netns"}, "links": {"ip", "-o", "link"}, "rules": {"nft", "list", "ruleset"}, "mounts": {"cat", "/proc/self/mounts"},
	} {
		out, err := exec.CommandContext(s.t.Context(), words[0], words[1:]...).CombinedOutput()
		if err != nil {
			s.t.Fatalf("%v: %v: %s", words, err, out)
		}
		all[what] = strings.Split(string(out), "\n")
	}
	for _, root := range []string{"/run", labsDataDir} {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() || strings.Contains(path, "lab") {
				all["files"] = append(all["files"], path)
			}
			return nil
		})
	}
	for _, host := range []string{"swarm-00", "swarm-01"} {
		sum := sha256.Sum256([]byte(filepath.Join(labsDataDir, s.name, host)))
		for _, pattern := range []string{"/sys/fs/cgroup/swarmd/swarmd-%s", "/sys/fs/cgroup/*/swarmd/swarmd-%s"} {
			found, _ := filepath.Glob(fmt.Sprintf(pattern, hex.EncodeToString(sum[:4])))
			all["control groups"] = append(all["control groups"], found...)
		}
	}
	for _, list := range all {
		slices.Sort(list)
	}
	return all
}

func (s *labStory) nothingSince(before map[string][]string) {
	s.t.Helper()
	after := s.everything()
	// Mounts of others were here from the start, and go when those take them away;
	// new ones of theirs do not come here.
	before["mounts"] = slices.DeleteFunc(slices.Clone(before["mounts"]), func(m string) bool { return !slices.Contains(after["mounts"], m) })
	if diff := cmp.Diff(before, after); diff != "" {
		s.t.Errorf("it has left something, or taken something away:\n%s", diff)
	}
}
