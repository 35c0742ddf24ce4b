package consensus

import (
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/swarmd/swarmd/engine/state"
)

// Bootstrap makes the log in cfg, which must be empty, that of a new swarm whose
// only voter is this node. It is durable when Bootstrap returns; [Log.Start] runs it.
func Bootstrap(cfg Config) error { return Found(cfg, []state.NodeID{cfg.Node}, nil) }

// Found makes the log in cfg, which must be empty, that of a new swarm with those
// voters and, after its configuration, those entries. Every voter's log must be
// made alike: they are then as if all that had been replicated. The simulator
// begins so.
func Found(cfg Config, voters []state.NodeID, first []state.Entry) error {
	l, err := newLog(cfg)
	if err != nil {
		return err
	}
	defer l.stopWriter()
	var configuration raft.Configuration
	for _, id := range voters {
		configuration.Servers = append(configuration.Servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(id), Address: raft.ServerAddress(id),
		})
	}
	err = raft.BootstrapCluster(l.cfg.raftConfig(nil, false), l.logs, l.stable, l.snaps, l.transport(), configuration)
	if err != nil {
		return fmt.Errorf("bootstrap the log of node %s: %w", cfg.Node, err)
	}
	for i, e := range first {
		// The configuration is entry 1, of term 1.
		err := l.logs.StoreLog(&raft.Log{Index: uint64(i) + 2, Term: 1, Type: raft.LogCommand, Data: e.Append(nil)})
		if err != nil {
			return fmt.Errorf("bootstrap the log of node %s: %w", cfg.Node, err)
		}
	}
	return nil
}
