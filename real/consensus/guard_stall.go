package consensus

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// stallsMax is how many appends in a row may miss the deadline before the
// process ends: a disk that does not come back is no disk.
const stallsMax = 3

var errStalled = errors.New("the disk has not taken entries in time, this manager steps down")

// deadlined is entries with a deadline on appends.
//
// hashicorp/raft#503 and #666: while a leader's disk hangs, the goroutines that
// send heartbeats go on, so nobody else stands for election and the swarm takes
// no write for as long as the disk hangs. Here an append that takes too long
// fails, and the leader steps down. The write itself cannot be called back: when
// it ends, what it wrote is taken out of the log again before anything else is
// written, since the library goes on as if it had not been; and before a vote is
// given, so that votes are given by the log that is on the disk.
type deadlined struct {
	*entries
	deadline time.Duration
	jobs     chan *appendJob
	closing  <-chan struct{}
	stalls   atomic.Int32
	stopped  sync.WaitGroup

	late *appendJob // the last that missed the deadline, for the library's main loop
}

// An appendJob is an append that is under way; its outcome belongs to whoever of
// writer and waiter settles it first.
type appendJob struct {
	first   uint64
	records [][]byte
	settled atomic.Bool
	done    chan error
	over    chan struct{} // closed when nothing of it is under way any more
}

func newDeadlined(e *entries, deadline time.Duration, closing <-chan struct{}) *deadlined {
	d := &deadlined{entries: e, deadline: deadline, closing: closing, jobs: make(chan *appendJob)}
	d.stopped.Go(d.write)
	return d
}

// StoreLog implements raft.LogStore.
func (d *deadlined) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (d *deadlined) StoreLogs(logs []*raft.Log) error {
	if d.refuse.CompareAndSwap(true, false) {
		return errResigned
	}
	if len(logs) == 0 {
		return nil
	}
	first, records, err := encode(logs)
	if err != nil {
		d.fatal(err)
		return err
	}
	job := &appendJob{first: first, records: records, done: make(chan error, 1), over: make(chan struct{})}
	timer := time.NewTimer(d.deadline)
	defer timer.Stop()
	select {
	case d.jobs <- job:
	case <-timer.C: // an earlier write has not ended yet
		return d.stall()
	}
	select {
	case err := <-job.done:
		d.stalls.Store(0)
		return err
	case <-timer.C:
		if job.settled.CompareAndSwap(false, true) {
			d.late = job
			return d.stall()
		}
		d.stalls.Store(0)
		return <-job.done
	}
}

// settle waits until an append that missed its deadline is undone, and counts as one
// more that missed it if that takes too long. Like StoreLogs, it is for the library's
// main loop.
func (d *deadlined) settle() error {
	if d.late == nil {
		return nil
	}
	timer := time.NewTimer(d.deadline)
	defer timer.Stop()
	select {
	case <-d.late.over:
		d.late = nil
		return nil
	case <-timer.C:
		return d.stall()
	case <-d.closing:
		return errResigned
	}
}

// stop ends the writer once its write has ended.
func (d *deadlined) stop() {
	close(d.jobs)
	d.stopped.Wait()
}

func (d *deadlined) stall() error {
	if d.stalls.Add(1) >= stallsMax {
		d.fatal(fmt.Errorf("the disk has not taken entries within %v, %d times in a row", d.deadline, stallsMax))
	}
	return errStalled
}

func (d *deadlined) write() {
	for job := range d.jobs {
		d.carryOut(job)
		close(job.over)
	}
}

func (d *deadlined) carryOut(job *appendJob) {
	err := d.append(job.first, job.records)
	if job.settled.CompareAndSwap(false, true) {
		job.done <- err
		return
	}
	if err != nil {
		return
	}
	if err := d.records.DropAfter(job.first - 1); err != nil {
		d.fatal(err)
	}
}
