package consensus

import (
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"github.com/swarmd/swarmd/engine/state"
)

// transferRetryPeriod is how often a proposal is made again during a transfer.
const transferRetryPeriod = 10 * time.Millisecond

// HandOver asks this manager, if it leads, to have another voter lead in its place.
// It does not wait for that, and nobody is told if it fails: who leads is told by
// events. The engine asks for no such thing; the simulator does, to see that the
// library's ways with it do no harm.
func (l *Log) HandOver(to state.NodeID) {
	in := l.running()
	for _, s := range in.raft.GetConfiguration().Configuration().Servers {
		if s.ID == raft.ServerID(to) {
			in.raft.LeadershipTransferToServer(s.ID, s.Address)
		}
	}
}

// settle waits for the outcome of a proposal. What is committed is told by the
// machine, what leadership's loss leaves unknown by Deposed; only a refusal by a
// leader that goes on leading must be seen to here. A refusal says that nothing was
// written, so the proposal is made again.
func (l *Log) settle(p proposed) {
	_ = l.insist(await(p.future, l.closing), func() error {
		return await(l.running().raft.ApplyLog(raft.Log{Data: p.data}, 0), l.closing)
	})
}

// insist asks again while a leader refuses what it is asked to append because it is
// handing over, and returns what came of it in the end.
//
// hashicorp/raft#696: a leader that was asked to hand over its leadership refuses
// proposals meanwhile, and a flag by which it does so can stick: it then refuses
// all proposals for as long as its process lives, those of a later leadership too,
// beginning with the one by which it learns that it leads. When the transfer has
// taken twice as long as the library allows, raft is started again.
func (l *Log) insist(err error, again func() error) error {
	if l.cfg.Unguarded.Transfer {
		return err
	}
	deadline := time.Now().Add(2 * max(l.cfg.Timing.Election, l.cfg.Timing.Heartbeat))
	for errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		if time.Now().After(deadline) {
			l.restart("a transfer of leadership has not ended")
			return err
		}
		select {
		case <-time.After(transferRetryPeriod):
		case <-l.closing:
			return err
		}
		err = again()
	}
	return err
}
