package consensus

import (
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// transferRetryPeriod is how often a proposal is made again during a transfer.
const transferRetryPeriod = 10 * time.Millisecond

// settle waits for the outcome of a proposal. What is committed is told by the
// machine, what leadership's loss leaves unknown by Deposed; only a refusal by a
// leader that goes on leading must be seen to here.
//
// hashicorp/raft#696: a leader that was asked to hand over its leadership refuses
// proposals meanwhile, and a flag by which it does so can stick: it then refuses
// all proposals for as long as it leads. A refusal says that nothing was written,
// so the proposal is made again; when the transfer has taken twice as long as the
// library allows, raft is started again.
func (l *Log) settle(p proposed) {
	err := await(p.future, l.closing)
	if l.cfg.Unguarded.Transfer {
		return
	}
	deadline := time.Now().Add(2 * max(l.cfg.Timing.Election, l.cfg.Timing.Heartbeat))
	for errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		if time.Now().After(deadline) {
			l.restart("a transfer of leadership has not ended")
			return
		}
		select {
		case <-time.After(transferRetryPeriod):
		case <-l.closing:
			return
		}
		err = await(l.running().raft.ApplyLog(raft.Log{Data: p.data}, 0), l.closing)
	}
}
