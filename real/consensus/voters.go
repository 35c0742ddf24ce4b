package consensus

import (
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/membership"
	"github.com/swarmd/swarmd/engine/state"
)

// joinedKey marks, among the stable values, a log that began empty because its
// node joined: one that is empty without it has lost what it promised.
const joinedKey = "swarmd.joined"

// Prepare makes the log in cfg, which must be empty, that of a manager that joins a
// swarm: whoever leads that fills it. It is durable when Prepare returns; [Log.Start]
// runs it.
func Prepare(cfg Config) error {
	if err := cfg.check(); err != nil {
		return err
	}
	if err := cfg.Values.Set(map[string][]byte{joinedKey: {1}}); err != nil {
		return fmt.Errorf("prepare the log of node %s: %w", cfg.Node, err)
	}
	return nil
}

// ChangeVoter asks for a manager to have another standing in the log's
// configuration. It does not block. VoterChanged answers, or Deposed.
func (l *Log) ChangeVoter(c membership.Change) { l.changes.put(c) }

// changeVoters makes changes of the configuration one after another.
func (l *Log) changeVoters() {
	for {
		changes := l.changes.take(l.closing)
		if changes == nil {
			return
		}
		for _, c := range changes {
			err := l.configure(c)
			if err != nil {
				l.cfg.Logger.Warn("the log's configuration could not be changed", "node", c.Node, "standing", c.Standing, "error", err)
			}
			l.cfg.Post(engine.VoterChanged{Member: c.Member, Err: err})
		}
	}
}

func (l *Log) configure(c membership.Change) error {
	in := l.running()
	id, addr := raft.ServerID(c.Node), raft.ServerAddress(c.Addr)
	var change raft.IndexFuture
	switch c.Standing {
	case membership.None:
		change = in.raft.RemoveServer(id, 0, 0)
	case membership.Nonvoter:
		change = in.raft.AddNonvoter(id, addr, 0, 0)
	case membership.Voter:
		change = in.raft.AddVoter(id, addr, 0, 0)
	default:
		return fmt.Errorf("a manager cannot have standing %d", c.Standing)
	}
	return await(change, in.stopped)
}

// members is the log's configuration.
func (in *incarnation) members() []membership.Member {
	var all []membership.Member
	for _, s := range in.raft.GetConfiguration().Configuration().Servers {
		m := membership.Member{Node: state.NodeID(s.ID), Standing: membership.Nonvoter}
		if s.Suffrage == raft.Voter {
			m.Standing = membership.Voter
		}
		all = append(all, m)
	}
	return all
}
