package orchestrator

import (
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/mutant"
	"github.com/swarmd/swarmd/engine/state"
)

// What applies where the user says nothing, and the back-off of decision 0005.
const (
	restartDelayDefault = 5 * time.Second
	backoffFailuresMin  = 5 // consecutive quick failures with the plain delay
	backoffDelayMin     = time.Second
	backoffDelayMax     = 5 * time.Minute
	quickRunMax         = 10 * time.Second // a task that ran as long did not fail quickly
	stopPatienceMin     = time.Minute
	stopPatienceSlack   = 10 * time.Second
	stopGraceDefault    = 10 * time.Second
	backoffLabel        = "swarmd.restart.backoff"
	backoffOff          = "off"
)

// A policy is a restart policy with nothing left to guess.
type policy struct {
	condition swarm.RestartPolicyCondition
	delay     time.Duration
	attempts  uint64        // restarts, 0 for no limit
	window    time.Duration // within which attempts are counted, 0 for all time
	backoff   bool
}

// policyOf returns the policy that holds for tasks made from a template. The
// back-off can be switched off with a label of the service.
func policyOf(s *state.Service, template *state.Template) policy {
	p := policy{
		condition: swarm.RestartPolicyConditionAny,
		delay:     restartDelayDefault,
		backoff:   s.Spec.Labels[backoffLabel] != backoffOff,
	}
	if template == nil || template.Spec.RestartPolicy == nil {
		return p
	}
	r := template.Spec.RestartPolicy
	if r.Condition != "" {
		p.condition = r.Condition
	}
	if r.Delay != nil {
		p.delay = *r.Delay
	}
	if r.MaxAttempts != nil {
		p.attempts = *r.MaxAttempts
	}
	if r.Window != nil {
		p.window = *r.Window
	}
	return p
}

// allows reports whether a task that is over, or must leave its node, may have a
// successor. Slot holds it and its predecessors.
func (r policy) allows(t *state.Task, slot []*state.Task) bool {
	switch {
	case r.condition == swarm.RestartPolicyConditionNone:
		return false
	case t.Status.State == state.TaskComplete && (t.Job && !mutant.On(mutant.JobRunAgain) || r.condition == swarm.RestartPolicyConditionOnFailure):
		return false
	case r.attempts == 0 || !selfEnded(t):
		return true
	}
	ends := uint64(0)
	for _, o := range slot {
		recent := r.window == 0 || t.Status.At.Sub(o.Status.At) <= r.window
		if o.Template == t.Template && selfEnded(o) && recent && older(o, t) <= 0 {
			ends++
		}
	}
	return ends <= r.attempts || ends == r.attempts+1 && mutant.On(mutant.OneAttemptMore)
}

// failures returns how many quick failures in a row the slot has seen, t's own
// end included. A task that ran for long, or did what it was to do, breaks the row.
func (r policy) failures(t *state.Task, wall state.Wall) uint32 {
	failed := t.Status.State == state.TaskFailed || t.Status.State == state.TaskRejected
	if !failed || t.Ran != 0 && wall.Sub(t.Ran) >= max(quickRunMax, r.window) {
		return 0
	}
	return t.Failures + 1
}

// delayAfter returns how long a slot waits after so many quick failures in a
// row: the user's delay, doubled with every failure after the first few.
func (r policy) delayAfter(failures uint32) time.Duration {
	if !r.backoff || failures <= backoffFailuresMin {
		return r.delay
	}
	delay := max(r.delay, backoffDelayMin)
	for range failures - backoffFailuresMin {
		if delay >= backoffDelayMax {
			break
		}
		delay *= 2
	}
	return max(r.delay, min(delay, backoffDelayMax))
}

// stopPatience is how long a task waits for its predecessor to stop: Docker's
// minute, or the grace that the user gives it if that is longer.
func stopPatience(template *state.Template) time.Duration {
	grace := stopGraceDefault
	if template != nil && template.Spec.ContainerSpec != nil && template.Spec.ContainerSpec.StopGracePeriod != nil {
		grace = *template.Spec.ContainerSpec.StopGracePeriod
	}
	return max(stopPatienceMin, grace+stopPatienceSlack)
}
