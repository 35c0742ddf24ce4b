package consensus

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
)

const (
	notifyQueueMax    = 64 // changes of leadership that wait to be told
	observerQueueMax  = 16
	electionNudge     = time.Millisecond
	unsnappedLookEach = time.Second
)

// An incarnation is one run of raft. Within a process there is more than one
// only if a guard had it started again.
type incarnation struct {
	log      *Log
	raft     *raft.Raft
	notify   chan bool
	observed chan raft.Observation
	stopped  chan struct{}
	telling  sync.WaitGroup
	ending   func() raft.Future

	elected bool         // Elected was posted, and Deposed was not since
	leader  state.NodeID // posted last
}

// start runs raft, again if it ran in this process before. The incarnation is the
// current one before it tells of anything: what is asked in answer is for it.
func (l *Log) start(again bool) error {
	in := &incarnation{
		log: l, notify: make(chan bool, notifyQueueMax), observed: make(chan raft.Observation, observerQueueMax),
		stopped: make(chan struct{}),
	}
	if l.cfg.Unguarded.Notify {
		in.notify = make(chan bool)
	}
	r, err := l.newRaft(in.notify, again)
	if err != nil {
		return err
	}
	in.raft = r
	in.ending = sync.OnceValue(r.Shutdown) // only the first future waits
	r.RegisterObserver(raft.NewObserver(in.observed, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}))
	l.mu.Lock()
	l.current = in
	l.mu.Unlock()
	in.telling.Go(in.tell)
	in.electIfAlone()
	return nil
}

// newRaft starts the library, which panics when it cannot read its log, and takes
// an older snapshot when it cannot read the newest.
func (l *Log) newRaft(notify chan<- bool, again bool) (r *raft.Raft, err error) {
	defer func() {
		if caught := recover(); caught != nil {
			r, err = nil, fmt.Errorf("start raft: %v", caught)
		}
	}()
	r, err = raft.NewRaft(l.cfg.raftConfig(notify, again), l.machine, l.logs, l.stable, l.snaps, l.transport())
	if unread := l.machine.unread.Load(); err == nil && unread != nil {
		err = errors.Join(*unread, r.Shutdown().Error())
	}
	if err == nil {
		l.opened.Store(true) // before raft has a reason to store anything
	}
	return r, err
}

// shutdown has raft end.
func (in *incarnation) shutdown() { in.ending() }

// stop ends raft, and with it a leadership that was told of.
func (in *incarnation) stop() {
	_ = in.ending().Error()
	close(in.stopped)
	in.telling.Wait()
	in.depose()
}

// await waits for a future, or until stop is closed: the library forgets what was
// asked of it and not begun when it shuts down.
func await(f raft.Future, stop <-chan struct{}) error {
	settled := make(chan error, 1)
	go func() { settled <- f.Error() }()
	select {
	case err := <-settled:
		return err
	case <-stop:
		return raft.ErrRaftShutdown
	}
}

// electIfAlone has the only voter stand for election at once: there is nobody to
// wait for. The library looks at its timers when a timeout is made shorter.
func (in *incarnation) electIfAlone() {
	servers := in.raft.GetConfiguration().Configuration().Servers
	if len(servers) != 1 || servers[0].ID != raft.ServerID(in.log.cfg.Node) {
		return
	}
	c := in.raft.ReloadableConfig()
	c.ElectionTimeout += electionNudge
	c.HeartbeatTimeout += electionNudge
	_ = in.raft.ReloadConfig(c) // a longer timeout is always valid
	c.HeartbeatTimeout -= electionNudge
	_ = in.raft.ReloadConfig(c)
}

// tell posts changes of leadership in order, once each.
//
// nomad#6977, vault#8547: the library blocks until a change is taken, and a
// handler that calls into it meanwhile waits for it in turn. Changes therefore
// go into a buffer, and this goroutine does nothing but take them.
func (in *incarnation) tell() {
	for {
		select {
		case leads := <-in.notify:
			in.depose()
			if leads && len(in.notify) == 0 { // else it is over already
				in.elect()
			}
		case <-in.observed:
			_, id := in.raft.LeaderWithID()
			if leader := state.NodeID(id); leader != in.leader {
				in.leader = leader
				in.log.cfg.Post(engine.LeaderChanged{Leader: leader})
			}
		case <-in.stopped:
			return
		}
	}
}

// elect posts Elected when everything committed before has been posted: that is
// when an entry of this term, the barrier, has come through the machine.
func (in *incarnation) elect() {
	barrier := in.raft.Barrier(0)
	if in.log.cfg.Unguarded.Barrier {
		in.post(in.raft.CurrentTerm())
		return
	}
	refused := in.log.insist(await(barrier, in.stopped), func() error {
		barrier = in.raft.Barrier(0)
		return await(barrier, in.stopped)
	})
	if refused != nil {
		return // leadership is lost; that is told next
	}
	var entry raft.Log
	at, ok := barrier.(raft.IndexFuture)
	if !ok || in.log.logs.GetLog(at.Index(), &entry) != nil {
		in.resign()
		return
	}
	in.post(entry.Term)
}

func (in *incarnation) post(term uint64) {
	if term <= in.log.electedTerm {
		in.resign() // told of it already, and that it was over: a term is led once
		return
	}
	in.log.electedTerm = term
	in.elected = true
	in.log.cfg.Post(engine.Elected{Term: term, Voters: in.members()})
}

func (in *incarnation) depose() {
	if in.elected {
		in.elected = false
		in.log.cfg.Post(engine.Deposed{})
	}
}

// resign has a leader step down, as if an append had failed.
func (in *incarnation) resign() {
	in.log.entries.refuse.Store(true)
	_ = await(in.raft.Barrier(0), in.stopped)
	in.log.entries.refuse.Store(false)
}

func (l *Log) running() *incarnation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}

// restart asks for raft to be started again. It does not block.
func (l *Log) restart(why string) {
	select {
	case l.restarts <- why:
	default:
	}
}

// supervise starts raft again when a guard asks for it, and has a snapshot taken
// when many bytes have been appended.
func (l *Log) supervise() {
	look := time.NewTicker(unsnappedLookEach)
	defer look.Stop()
	for {
		select {
		case why := <-l.restarts:
			if err := l.startAgain(why); err != nil {
				l.fail(err)
				return
			}
		case <-look.C:
			if l.entries.unsnapped.Load() >= l.cfg.SnapshotBytes {
				l.entries.unsnapped.Store(0)
				_ = await(l.running().raft.Snapshot(), l.closing) // raft logs why; it tries again
			}
		case <-l.closing:
			return
		}
	}
}

func (l *Log) startAgain(why string) error {
	l.livelock.installs.Store(0)
	diverges, err := l.entries.diverges()
	if err != nil {
		return err
	}
	l.cfg.Logger.Warn("raft is started again", "reason", why, "log dropped", diverges)
	l.running().stop()
	if diverges {
		if err := l.entries.drop(); err != nil {
			return err
		}
	}
	return l.start(true)
}
