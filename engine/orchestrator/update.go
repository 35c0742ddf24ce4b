package orchestrator

import (
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine/state"
)

// monitorDefault is how long an updated task is watched for failure where the
// user does not say.
const monitorDefault = 5 * time.Second

// isOver reports whether an update has come to its good end.
func isOver(u swarm.UpdateState) bool {
	return u == swarm.UpdateStateCompleted || u == swarm.UpdateStateRollbackCompleted
}

func isUnderWay(u swarm.UpdateState) bool {
	return u == swarm.UpdateStateUpdating || u == swarm.UpdateStateRollbackStarted
}

func isRollback(u swarm.UpdateState) bool {
	switch u {
	case swarm.UpdateStateRollbackStarted, swarm.UpdateStateRollbackPaused, swarm.UpdateStateRollbackCompleted:
		return true
	default:
		return false
	}
}

// configOf returns the configuration of the service's present update, with
// nothing left to guess.
func configOf(s *state.Service) swarm.UpdateConfig {
	config := s.Spec.UpdateConfig
	if s.Update != nil && isRollback(s.Update.State) {
		config = s.Spec.RollbackConfig
	}
	if config == nil {
		return swarm.UpdateConfig{Parallelism: 1, Monitor: monitorDefault, FailureAction: swarm.UpdateFailureActionPause}
	}
	c := *config
	if c.Monitor <= 0 {
		c.Monitor = monitorDefault
	}
	if c.Delay >= c.Monitor { // the last task is watched until after the next has begun
		c.Monitor = c.Delay + time.Second
	}
	return c
}

func startFirst(s *state.Service) bool { return configOf(s).Order == swarm.UpdateOrderStartFirst }
