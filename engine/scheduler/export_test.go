package scheduler

// Trim makes the scheduler forget what it can compute anew.
func (s *Scheduler) Trim() { s.trim(0, 0) }
