package state

import (
	"fmt"
	"time"
)

// PatienceLabel is a label of a service: for how long its tasks on a node that is
// Down are waited for, before others run in their place. It is for services whose
// tasks are dear to move. Without it they are replaced at once.
const PatienceLabel = "swarmd.lost.patience"

// PatienceMax is how long a node that is Down is waited for at most: afterwards its
// tasks are given up in any case.
const PatienceMax = 24 * time.Hour

// PatienceOf returns the patience that the labels of a service ask for: between 0
// and [PatienceMax]. What cannot be read is an error, and no patience.
func PatienceOf(labels map[string]string) (time.Duration, error) {
	text, ok := labels[PatienceLabel]
	if !ok {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > PatienceMax {
		return 0, fmt.Errorf("label %s: %q is no duration between 0s and 24h, such as 90s or 10m", PatienceLabel, text)
	}
	return d, nil
}
