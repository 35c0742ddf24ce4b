package runtime

import (
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/swarm"
)

func ignore(jsonstream.Message) {}

// All stories about containers share one containerd.
func TestContainers(t *testing.T) {
	h := startHost(t)
	h.load(t, tinyImage, imageOf(t, v1.Config{Cmd: []string{"sh"}}))
	for name, story := range map[string]func(*testing.T, *testHost){
		"lifecycle": lifecycle,
	} {
		t.Run(name, func(t *testing.T) { story(t, h) })
	}
}

// A container is created, says something on both streams, ends with a code, and
// is removed with its log.
func lifecycle(t *testing.T, h *testHost) {
	c := task("life", swarm.ContainerSpec{Command: sh("echo out; echo err >&2; exit 3")})
	if pid := h.run(t, c); pid <= 1 {
		t.Errorf("pid is %d", pid)
	}
	if e := h.awaitExit(t, c); e.Code != 3 || e.OOM {
		t.Errorf("exited with %+v, want code 3", e)
	}
	text := h.log(t, c)
	if !strings.Contains(text, "out\n") || !strings.Contains(text, "err\n") {
		t.Errorf("the log is %q", text)
	}
	h.gone(t, c)
	if _, err := h.find(c.ID); err == nil {
		t.Error("the container is still there")
	}
}
