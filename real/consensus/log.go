package consensus

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
)

// proposalsUnsettledMax is how many proposals may wait for their outcome; more
// wait to be made.
const proposalsUnsettledMax = 4096

// A Log is a member's replicated log, running.
type Log struct {
	cfg      Config
	entries  *entries
	deadline *deadlined // nil without that guard
	logs     raft.LogStore
	stable   raft.StableStore
	snaps    *snapshots
	machine  *machine
	livelock *livelock

	proposals *queue[state.Entry]
	unsettled chan proposed
	questions *queue[engine.VerifyID]
	changes   *queue[membership.Change]
	restarts  chan string
	closing   chan struct{}
	workers   sync.WaitGroup
	closeOnce sync.Once
	fatalOnce sync.Once
	opened    atomic.Bool // the library runs: see park

	electedTerm uint64 // posted last; only the incarnation that runs has it

	mu      sync.Mutex
	current *incarnation
}

type proposed struct {
	future raft.ApplyFuture
	data   []byte
}

// New is the log of a member, which does not run yet and posts nothing. What is
// asked of it waits until it does: whoever hears that this node leads may be faster
// than [Log.Start] is to return.
func New(cfg Config) (*Log, error) { return newLog(cfg) }

// Start runs the log. The newest snapshot is posted before it returns, committed
// entries after it when a leader is known. A damaged log or snapshot is an error:
// an older snapshot is not silently used in place of a newer one. A log that could
// not be started is closed.
func (l *Log) Start() error {
	if err := l.open(); err != nil {
		l.stopWriter()
		return fmt.Errorf("open the log of node %s: %w", l.cfg.Node, err)
	}
	return nil
}

// Propose asks for an entry to be appended. It does not block. Committed answers,
// or Deposed.
func (l *Log) Propose(e state.Entry) { l.proposals.put(e) }

// Verify asks whether this manager still leads; a read made before the call is
// then linearizable. (There is no true lease: hashicorp/raft#603, #108; to verify
// first and read then may read what is stale.) It does not block. Verified
// answers.
func (l *Log) Verify(id engine.VerifyID) { l.questions.put(id) }

// Close stops the log, which runs; its storage can be closed then. It must not be called from
// the goroutine that takes what is posted, which it may have to wait for.
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		close(l.closing)
		l.running().shutdown() // so that nobody waits for raft any more
		l.workers.Wait()
		l.running().stop() // another one, if it was being started again
		l.stopWriter()
	})
	return nil
}

func newLog(cfg Config) (*Log, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if err := silenceMetrics(); err != nil {
		return nil, err
	}
	l := &Log{
		cfg:       cfg,
		proposals: newQueue[state.Entry](),
		unsettled: make(chan proposed, proposalsUnsettledMax),
		questions: newQueue[engine.VerifyID](),
		changes:   newQueue[membership.Change](),
		restarts:  make(chan string, 1),
		closing:   make(chan struct{}),
	}
	l.snaps = &snapshots{store: cfg.Snapshots, fatal: l.fail}
	l.entries = &entries{records: cfg.Records, snapshots: l.snaps, fatal: l.fail, park: l.park}
	l.logs = l.entries
	if !cfg.Unguarded.Stall {
		l.deadline = newDeadlined(l.entries, cfg.Timing.Write, l.closing)
		l.logs = l.deadline
	}
	l.livelock = &livelock{diverges: l.diverges, noticed: func() { l.restart("snapshots are installed, but no entries are appended") }}
	if !cfg.Unguarded.Livelock {
		l.logs = watched{l.logs, l.livelock}
	}
	values := stable{values: cfg.Values, fatal: l.fail, park: l.park}
	l.stable = values
	if !cfg.Unguarded.Vote {
		votes := &voteStable{stable: values}
		if l.deadline != nil {
			votes.before = l.deadline.settle
		}
		l.stable = votes
	}
	l.machine = &machine{post: cfg.Post, freeze: cfg.Freeze, fatal: l.fail, snapshots: l.snaps, running: l.opened.Load}
	if !cfg.Unguarded.Livelock {
		l.machine.installed = l.livelock.installed
	}
	return l, nil
}

func (l *Log) open() error {
	if err := l.checkStorage(); err != nil {
		return err
	}
	if err := l.start(false); err != nil {
		return err
	}
	l.workers.Go(l.propose)
	l.workers.Go(l.settleAll)
	l.workers.Go(l.verify)
	l.workers.Go(l.changeVoters)
	l.workers.Go(l.supervise)
	return nil
}

// checkStorage refuses what does not fit together, and mends what a crash may
// have left between two steps.
func (l *Log) checkStorage() error {
	if names := l.cfg.Snapshots.List(); len(names) > 0 {
		_, body, err := l.snaps.Open(names[0])
		if err != nil {
			return err
		}
		if err := body.Close(); err != nil {
			return err
		}
	}
	first, last := l.cfg.Records.Bounds()
	covered, _ := l.snaps.newest()
	if covered == 0 && last == 0 && l.cfg.Values.Get(joinedKey) == nil {
		return errors.New("there is no log: this node must join a swarm or make one")
	}
	if last != 0 && first > covered+1 {
		return fmt.Errorf("entries %d to %d are missing: the newest snapshot covers entries to %d, and the log begins with %d",
			covered+1, first-1, covered, first)
	}
	diverges, err := l.entries.diverges()
	if err != nil {
		return err
	}
	if last != 0 && last < covered || diverges && !l.cfg.Unguarded.Livelock {
		return l.entries.drop() // a snapshot was installed over it
	}
	return nil
}

func (l *Log) transport() transport {
	inner := l.cfg.Transport
	if inner == nil {
		inner = lone{}
	}
	return transport{Transport: inner, node: l.cfg.Node, address: l.cfg.Address, unguarded: l.cfg.Unguarded}
}

func (l *Log) stopWriter() {
	if l.deadline != nil {
		l.deadline.stop()
	}
}

// diverges says whether the log cannot be what led to the newest snapshot; one that
// cannot be read has its own way to be told.
func (l *Log) diverges() bool {
	diverges, err := l.entries.diverges()
	return err == nil && diverges
}

// fail ends it all: a write failed, or what was read cannot be.
func (l *Log) fail(err error) {
	l.fatalOnce.Do(func() {
		l.cfg.Logger.Error("the log cannot go on", "error", err)
		l.cfg.Fatal(err)
	})
}

// park keeps a goroutine of the library's from going on after a failure that is
// fatal. Where it cannot store its term or read its log the library panics; the
// process is to end in its own way, with the reason in its log, and a log that
// is closed has to let go of its goroutines.
func (l *Log) park() {
	if !l.opened.Load() {
		return // the error is Open's answer
	}
	<-l.closing
	runtime.Goexit()
}

// propose makes proposals in the order in which they were asked for.
func (l *Log) propose() {
	for {
		entries := l.proposals.take(l.closing)
		if entries == nil {
			return
		}
		for _, e := range entries {
			data := e.Append(nil)
			future := l.running().raft.ApplyLog(raft.Log{Data: data}, 0)
			select {
			case l.unsettled <- proposed{future, data}:
			case <-l.closing:
				return
			}
		}
	}
}

func (l *Log) settleAll() {
	for {
		select {
		case p := <-l.unsettled:
			l.settle(p)
		case <-l.closing:
			return
		}
	}
}

// verify answers all questions that have come with one round to the other
// managers.
func (l *Log) verify() {
	for {
		ids := l.questions.take(l.closing)
		if ids == nil {
			return
		}
		err := await(l.running().raft.VerifyLeader(), l.closing)
		for _, id := range ids {
			l.cfg.Post(engine.Verified{ID: id, Err: err})
		}
	}
}
