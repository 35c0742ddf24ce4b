package request

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/moby/moby/api/types/swarm"
)

// Replicas reads the number of service scale.
func Replicas(number string) (uint64, error) {
	replicas, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("invalid replicas value %s: %w", number, err)
	}
	return replicas, nil
}

// Scale changes how many tasks a service has.
func Scale(spec *swarm.ServiceSpec, replicas uint64) error {
	switch {
	case spec.Mode.Replicated != nil:
		spec.Mode.Replicated.Replicas = &replicas
	case spec.Mode.ReplicatedJob != nil:
		spec.Mode.ReplicatedJob.TotalCompletions = &replicas
	default:
		return errors.New("scale can only be used with replicated or replicated-job mode")
	}
	return nil
}
