package runtime

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A later variable replaces an earlier one; a name alone takes it away.
func TestMergeEnv(t *testing.T) {
	got := mergeEnv("h", true, []string{"PATH=/image", "A=1", "B=2"}, []string{"A=3", "B", "C=", "D", "=x"})
	if want := []string{"PATH=/image", "HOSTNAME=h", "TERM=xterm", "A=3", "C="}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Capabilities are added and dropped as Docker does it.
func TestCapabilities(t *testing.T) {
	host := append(defaultCapabilities(), "CAP_NET_ADMIN", "CAP_SYS_ADMIN")
	slices.Sort(host)
	for _, c := range []struct {
		add, drop []string
		has, not  string
		count     int
	}{
		{count: 14, has: "CAP_CHOWN", not: "CAP_NET_ADMIN"},
		{add: []string{"net_admin"}, count: 15, has: "CAP_NET_ADMIN"},
		{drop: []string{"CHOWN", "CAP_KILL"}, count: 12, not: "CAP_CHOWN"},
		{drop: []string{"ALL"}, count: 0},
		{drop: []string{"all"}, add: []string{"CAP_CHOWN"}, count: 1, has: "CAP_CHOWN"},
		{add: []string{"ALL"}, drop: []string{"NET_ADMIN"}, count: 15, has: "CAP_SYS_ADMIN", not: "CAP_NET_ADMIN"},
	} {
		got, err := capabilities(c.add, c.drop, host)
		if err != nil || len(got) != c.count || c.has != "" && !slices.Contains(got, c.has) || slices.Contains(got, c.not) {
			t.Errorf("add %v, drop %v: %v, %v", c.add, c.drop, got, err)
		}
	}
	for _, bad := range []string{"CAP_FLY", "CAP_SYSLOG", ""} {
		if _, err := capabilities([]string{bad}, nil, host); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// The user's command takes the place of the image's entrypoint and arguments;
// the user's arguments only that of the image's.
func TestCommand(t *testing.T) {
	config := dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{Entrypoint: []string{"entry"}, Cmd: []string{"cmd"}}}
	yes := true
	for _, c := range []struct {
		spec swarm.ContainerSpec
		want []string
	}{
		{swarm.ContainerSpec{}, []string{"entry", "cmd"}},
		{swarm.ContainerSpec{Args: []string{"arg"}}, []string{"entry", "arg"}},
		{swarm.ContainerSpec{Command: []string{"command"}}, []string{"command"}},
		{swarm.ContainerSpec{Command: []string{"command"}, Args: []string{"arg"}}, []string{"command", "arg"}},
		{swarm.ContainerSpec{Init: &yes}, []string{initTarget, "--", "entry", "cmd"}},
	} {
		spec, _ := drawn(t, paper(t), task("x", c.spec), config)
		if !slices.Equal(spec.Process.Args, c.want) {
			t.Errorf("%+v: %q, want %q", c.spec, spec.Process.Args, c.want)
		}
	}
	image := paperImage(dockerspec.DockerOCIImageConfig{})
	rec := newRecord(task("x", swarm.ContainerSpec{}), image, "")
	if err := paper(t).design(&rec, image); err == nil || !strings.Contains(err.Error(), "no command specified") {
		t.Errorf("nothing to run: %v", err)
	}
}

// Limits become what the kernel knows of them.
func TestResources(t *testing.T) {
	r := paper(t)
	res, err := r.resources(swarm.Limit{MemoryBytes: 64 << 20, NanoCPUs: 1_500_000_000, Pids: 9})
	if err != nil || *res.Memory.Limit != 64<<20 || *res.Memory.Swap != 128<<20 || *res.CPU.Quota != 150_000 || *res.CPU.Period != 100_000 || *res.Pids.Limit != 9 {
		t.Errorf("%+v, %v", res, err)
	}
	if res, err := r.resources(swarm.Limit{}); err != nil || res.Memory != nil || res.CPU != nil || res.Pids != nil || len(res.Devices) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := r.resources(swarm.Limit{MemoryBytes: 1}); err == nil {
		t.Error("a limit that nothing can start in is accepted")
	}
}

// Mounts come parents first, and the user's take the place of the system's.
func TestMountOrder(t *testing.T) {
	tmpfs := func(target string) mount.Mount { return mount.Mount{Type: mount.TypeTmpfs, Target: target} }
	c := task("x", swarm.ContainerSpec{Command: []string{"x"}, Mounts: []mount.Mount{tmpfs("/a/b/c"), tmpfs("/dev/shm/"), tmpfs("/a"), tmpfs("/etc/hosts")}})
	spec, _ := drawn(t, paper(t), c, dockerspec.DockerOCIImageConfig{})
	var targets []string
	for _, m := range spec.Mounts {
		targets = append(targets, m.Destination)
	}
	if a, b := slices.Index(targets, "/a"), slices.Index(targets, "/a/b/c"); a < 0 || b < a {
		t.Errorf("the order is %v", targets)
	}
	slices.Sort(targets)
	if compact := slices.Compact(slices.Clone(targets)); len(compact) != len(targets) {
		t.Errorf("something is mounted twice: %v", targets)
	}
}

// Propagation of a mount widens that of the root, whatever their order.
func TestPropagation(t *testing.T) {
	for _, c := range []struct {
		list []mount.Propagation
		want string
	}{
		{nil, ""},
		{[]mount.Propagation{mount.PropagationRPrivate}, ""},
		{[]mount.Propagation{mount.PropagationSlave, mount.PropagationRShared}, "rshared"},
		{[]mount.Propagation{mount.PropagationShared, mount.PropagationRSlave}, "rshared"},
		{[]mount.Propagation{mount.PropagationRSlave, mount.PropagationRPrivate}, "rslave"},
	} {
		root := ""
		for _, p := range c.list {
			root = widest(root, p)
		}
		if root != c.want {
			t.Errorf("%v: %q, want %q", c.list, root, c.want)
		}
	}
}

// What a user leaves out of a health check is the image's.
func TestMergeHealth(t *testing.T) {
	image := &container.HealthConfig{Test: []string{"CMD", "image"}, Interval: time.Second, Retries: 7}
	user := &container.HealthConfig{Interval: time.Minute}
	want := &container.HealthConfig{Test: []string{"CMD", "image"}, Interval: time.Minute, Retries: 7}
	if got := mergeHealth(image, user); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if mergeHealth(image, nil) != image || mergeHealth(nil, user) != user || mergeHealth(nil, nil) != nil {
		t.Error("one alone is not itself")
	}
}
