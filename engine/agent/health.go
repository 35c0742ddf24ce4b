package agent

import (
	"cmp"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/swarmd/swarmd/engine/state"
)

// What a health check has where neither the service nor the image say, as in
// Docker.
const (
	healthInterval      = 30 * time.Second
	healthTimeout       = 30 * time.Second
	healthStartInterval = 5 * time.Second
	healthRetries       = 3
)

// health is the health check of a running container. Without a config there is
// none.
type health struct {
	config   *container.HealthConfig // effective; nil: none
	began    time.Time
	asked    time.Time // when the probe that is out was ordered
	next     time.Time // when the next one is due
	probing  bool
	passed   bool // it has been healthy once
	failures int  // since it was last healthy
}

// effectiveHealth is the health check that a spec and an image have together,
// nil for none.
func effectiveHealth(spec, image *container.HealthConfig) *container.HealthConfig {
	var c container.HealthConfig
	if spec != nil {
		c = *spec
	}
	if image != nil {
		if len(c.Test) == 0 {
			c.Test = image.Test
		}
		c.Interval = cmp.Or(c.Interval, image.Interval)
		c.Timeout = cmp.Or(c.Timeout, image.Timeout)
		c.StartPeriod = cmp.Or(c.StartPeriod, image.StartPeriod)
		c.StartInterval = cmp.Or(c.StartInterval, image.StartInterval)
		c.Retries = cmp.Or(c.Retries, image.Retries)
	}
	if len(c.Test) < 2 || c.Test[0] == "NONE" {
		return nil
	}
	c.Interval = cmp.Or(c.Interval, healthInterval)
	c.Timeout = cmp.Or(c.Timeout, healthTimeout)
	c.StartInterval = cmp.Or(c.StartInterval, healthStartInterval)
	c.Retries = cmp.Or(c.Retries, healthRetries)
	return &c
}

// begin says that the container has started.
func (h *health) begin(now time.Time) {
	h.began = now
	h.wait(now)
}

// wait puts the next probe one interval off: within the start period, until the
// first success, they follow faster.
func (h *health) wait(now time.Time) {
	if h.config == nil {
		return
	}
	interval := h.config.Interval
	if !h.passed && now.Sub(h.began) < h.config.StartPeriod {
		interval = h.config.StartInterval
	}
	h.next = now.Add(interval)
}

// good reports whether the container may be counted on.
func (h *health) good() bool { return h.config == nil || h.passed }

func (h *health) due(now time.Time) bool {
	return h.config != nil && !h.probing && !now.Before(h.next)
}

// deadline is when the next probe is due, zero while one is out.
func (h *health) deadline() time.Time {
	if h.config == nil || h.probing {
		return time.Time{}
	}
	return h.next
}

// word is Docker's for what the container is held to be.
func (h *health) word() string {
	switch {
	case h.failures >= h.config.Retries:
		return string(container.Unhealthy)
	case h.passed:
		return string(container.Healthy)
	default:
		return string(container.Starting)
	}
}

// judge takes in a probe's result and reports whether the container is held to
// be unhealthy. Failures in the start period do not count.
func (h *health) judge(healthy bool, now time.Time) bool {
	h.probing = false
	switch {
	case healthy:
		h.passed, h.failures = true, 0
	case h.passed || h.asked.Sub(h.began) >= h.config.StartPeriod:
		h.failures++
	}
	h.wait(now)
	return h.failures >= h.config.Retries
}

// Probed answers [Probe]. What the check printed is the runtime's to show.
func (a *Agent) Probed(id state.TaskID, healthy bool, _ string, now time.Time) {
	t := a.tasks[id]
	if t == nil || !t.health.probing {
		return
	}
	if t.health.judge(healthy, now) && t.cause == "" && !t.unwanted() {
		t.cause = textUnhealthy
	}
	a.mark(t)
}
