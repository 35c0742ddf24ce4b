package runtime

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/swarm"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/real/runtime/shimstart"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Containers are spread over as many shims as there may be containers in the
// making, and no shim is overfilled.
func TestPlacing(t *testing.T) {
	const making = 4
	var table shimTable
	var placed []*shim
	for range 50 {
		placed = append(placed, table.place(making))
		roomy := 0
		for _, s := range table.byName {
			if s.placed < shimContainersMax {
				roomy++
			}
			if s.placed > shimContainersMax {
				t.Fatalf("a shim has %d containers", s.placed)
			}
		}
		if roomy > making || len(placed) >= making && roomy < making-1 {
			t.Fatalf("after %d containers, %d shims have room", len(placed), roomy)
		}
	}
	if n := len(table.byName); n > 50/shimContainersMax+making {
		t.Errorf("50 containers have %d shims", n)
	}
	if s := table.join(placed[0].name); s != placed[0] {
		t.Error("a container that is found again has another shim")
	}
	table.leave(placed[0])
	for _, s := range placed {
		table.leave(s)
	}
	if len(table.byName) != 0 {
		t.Errorf("%d shims are left without containers", len(table.byName))
	}
	if a, b := table.join(""), table.join(""); a == b || len(table.byName) != 0 {
		t.Error("containers that were made before shims were shared share one")
	}
}

// parent is the process that another has come from: of a container, its shim.
func parent(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nPPid:\t")
	var shim int
	if _, err := fmt.Sscan(rest, &shim); err != nil {
		t.Fatal(err)
	}
	return shim
}

// Containers share shims. One ends with its last container and not before; when
// it is killed its containers are told to have ended, and no others.
func TestSharedShims(t *testing.T) {
	h := startHost(t)
	h.load(t, tinyImage, imageOf(t, v1.Config{Cmd: []string{"sleep", "600"}}))
	byShim := make(map[int][]agent.Container)
	for range 2 * cap(h.launches) {
		c := task("shared", swarm.ContainerSpec{})
		shim := parent(t, h.run(t, c))
		byShim[shim] = append(byShim[shim], c)
	}
	var shims []int
	for shim, sharing := range byShim {
		shims = append(shims, shim)
		if len(sharing) != 2 {
			t.Errorf("shim %d has %d containers, want 2", shim, len(sharing))
		}
	}
	if len(shims) != cap(h.launches) {
		t.Fatalf("there are %d shims, want %d", len(shims), cap(h.launches))
	}
	slices.Sort(shims)
	// Where our own program for containerd looks for them.
	for _, i := range h.all() {
		path := shimstart.SocketPath(h.Runtime.config.Address, h.config.Namespace, i.record.Shim)
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Errorf("the shim of %s is not where it should be: %v", i.name(), err)
			continue
		}
		_ = conn.Close()
	}

	// The place of one that is gone is taken by the next.
	h.gone(t, byShim[shims[0]][0])
	next := task("next", swarm.ContainerSpec{})
	if shim := parent(t, h.run(t, next)); shim != shims[0] {
		t.Errorf("the next container has shim %d, want %d", shim, shims[0])
	}
	if out, _, code := h.execute(t, byShim[shims[0]][1], execRequest("echo", "here"), nil); code != 0 || out != "here\n" {
		t.Errorf("beside it, exec gives %q and code %d", out, code)
	}

	// Both of a shim end with it.
	if err := unix.Kill(shims[1], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, c := range byShim[shims[1]] {
		h.awaitExit(t, c)
		h.gone(t, c)
	}
	for _, c := range byShim[shims[2]] {
		if out, _, code := h.execute(t, c, execRequest("echo", "here"), nil); code != 0 || out != "here\n" {
			t.Errorf("in another shim, exec gives %q and code %d", out, code)
		}
		h.RemoveContainer(engine.RemoveContainer{Remove: agent.Remove{Task: c.Task}})
	}

	// While all leave it, others come.
	for range 2 * cap(h.launches) {
		h.run(t, task("late", swarm.ContainerSpec{}))
	}
}

// More are launched at a time where there is more to launch them with.
func TestLaunches(t *testing.T) {
	for cpus, want := range map[int]int{1: 4, 2: 4, 8: 16, 64: 32} {
		if got := launches(cpus); got != want {
			t.Errorf("on %d CPUs, %d containers are launched at a time, want %d", cpus, got, want)
		}
	}
}
