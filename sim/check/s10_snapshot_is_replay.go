package check

import (
	"bytes"

	"github.com/swarmd/swarmd/engine/state"
)

// How often, in entries, snapshots are tried out while the world runs, and up to
// which number of tasks.
const (
	snapshotEvery    = 64
	snapshotTasksMax = 2000
)

// snapshotReplay takes snapshots of what the log comes to.
type snapshotReplay struct{}

// Sentence implements [Oracle].
func (*snapshotReplay) Sentence() string {
	return "S10 a snapshot is what the entries before it come to"
}

// Committed implements [Committer].
func (o *snapshotReplay) Committed(c *Checker, index uint64, _ state.Entry, _ *state.Delta) {
	if index%snapshotEvery == 0 && c.Store.Len(state.KindTask) <= snapshotTasksMax {
		o.judge(c, c.Store)
	}
}

// AtRest implements [Rester].
func (o *snapshotReplay) AtRest(c *Checker) { o.judge(c, c.Store) }

// judge restores a snapshot of a store, and takes one of what was restored.
func (o *snapshotReplay) judge(c *Checker, s *state.Store) {
	var first, second bytes.Buffer
	if _, err := s.Freeze().WriteTo(&first); err != nil {
		c.Violate(o, "a snapshot cannot be written: %v", err)
		return
	}
	data := bytes.Clone(first.Bytes())
	restored, err := state.Restore(&first)
	if err != nil {
		c.Violate(o, "a snapshot cannot be restored: %v", err)
		return
	}
	o.compare(c, s, restored)
	if _, err := restored.Freeze().WriteTo(&second); err != nil || !bytes.Equal(data, second.Bytes()) {
		c.Violate(o, "the snapshot of a restored snapshot has other bytes (%v)", err)
	}
}

func (o *snapshotReplay) compare(c *Checker, s, restored *state.Store) {
	if restored.Index() != s.Index() || restored.Hash() != s.Hash() {
		c.Violate(o, "the snapshot at %d restores another state, at %d", s.Index(), restored.Index())
	}
}
