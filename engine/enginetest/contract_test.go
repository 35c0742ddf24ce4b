package enginetest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/enginetest"
	"github.com/swarmd/swarmd/engine/netplan"
	"github.com/swarmd/swarmd/engine/state"
)

var errStuck = errors.New("it does not stop")

// A stepped is one step as a driver would show it to the contract.
type stepped struct {
	at      int // seconds
	event   engine.Event
	effects []engine.Effect
}

func do(at int, e engine.Event, effects ...engine.Effect) stepped { return stepped{at, e, effects} }

func faults(steps ...stepped) []string {
	var c enginetest.Contract
	for _, s := range steps {
		c.Stepped(time.Unix(int64(s.at), 0), s.event, engine.Step{Effects: s.effects})
	}
	return c.Faults()
}

// TestContractFinds shows that each clause can be found broken: the last step of
// every row breaks it, and none before does.
func TestContractFinds(t *testing.T) {
	start := do(1, engine.Started{})
	elected := do(1, engine.Elected{Term: 1})
	propose := engine.Propose{Entry: state.Entry{Proposal: state.ProposalID{Term: 1, Seq: 1}}}
	again := engine.Propose{Entry: state.Entry{Proposal: state.ProposalID{Term: 1, Seq: 2}}}
	plan := func(g uint64) engine.Effect { return engine.ApplyNetwork{Plan: netplan.Plan{Generation: g}} }
	pull := engine.PullImage{Pull: agent.Pull{Task: "t"}}
	stop := engine.StopContainer{Stop: agent.Stop{Task: "t"}}
	for _, c := range []struct {
		name, clause string
		steps        []stepped
	}{
		{"time goes back", "1:", []stepped{start, do(0, engine.Woken{})}},
		{"an answer that nothing asked for", "3: pulled t", []stepped{start, do(1, engine.ImagePulled{Task: "t"})}},
		{"an answer given twice", "3: pulled t", []stepped{start, do(1, engine.Woken{}, pull), do(1, engine.ImagePulled{Task: "t"}), do(1, engine.ImagePulled{Task: "t"})}},
		{"an answer about another task", "3: created t", []stepped{start, do(1, engine.Woken{}, pull), do(1, engine.ContainerCreated{Task: "t"})}},
		{"a start that was not asked for", "3: started t", []stepped{start, do(1, engine.ContainerStarted{Task: "t"})}},
		{"a probe that was not asked for", "3: probed t", []stepped{start, do(1, engine.ContainerProbed{Task: "t"})}},
		{"a removal that was not asked for", "3: removed t", []stepped{start, do(1, engine.ContainerRemoved{Task: "t"})}},
		{"a stop that failed and was not asked for", "3: exited t", []stepped{start, do(1, engine.ContainerExited{Task: "t", Err: errStuck})}},
		{"an authority that was not asked for", "3: authority c", []stepped{start, do(1, engine.AuthorityCreated{Cluster: "c"})}},
		{"a departure that was not asked for", "3: left", []stepped{start, do(1, engine.Left{})}},
		{"leadership confirmed that was not asked for", "3: verified 7", []stepped{start, elected, do(1, engine.Verified{ID: 7})}},
		{"a network that was not asked for", "3: network", []stepped{start, do(1, engine.NetworkApplied{Generation: 1})}},
		{"an old network after a newer one", "3: network", []stepped{
			start, do(1, engine.Woken{}, plan(1)), do(1, engine.Woken{}, plan(2)),
			do(1, engine.NetworkApplied{Generation: 2}), do(1, engine.NetworkApplied{Generation: 1}),
		}},
		{"a plan of an old generation", "3: network", []stepped{start, do(1, engine.Woken{}, plan(2)), do(1, engine.Woken{}, plan(2))}},
		{"an order for a task that waits for the same", "3: pulled t", []stepped{start, do(1, engine.Woken{}, pull), do(1, engine.Woken{}, pull)}},
		{"a stop while one is under way", "3: exited t", []stepped{start, do(1, engine.Woken{}, stop), do(1, engine.Woken{}, stop)}},
		{"a call answered twice", "3: reply 1", []stepped{
			start, do(1, engine.Called{Request: 1}, engine.Reply{Request: 1}), do(1, engine.Woken{}, engine.Reply{Request: 1}),
		}},
		{"a call passed on and answered by nobody", "3: returned 1", []stepped{start, do(1, engine.ForwardReturned{Request: 1})}},
		{"the log goes back", "4: index", []stepped{start, do(1, engine.Committed{Index: 2}), do(1, engine.Committed{Index: 2})}},
		{"elected twice", "4: elected", []stepped{start, elected, elected}},
		{"deposed without having led", "4: deposed", []stepped{start, do(1, engine.Deposed{})}},
		{"a proposal by one that does not lead", "5: a proposal by", []stepped{start, do(1, engine.Woken{}, propose)}},
		{"a second proposal in flight", "5: a proposal while", []stepped{start, elected, do(1, engine.Woken{}, propose), do(1, engine.Woken{}, again)}},
		{"a confirmation asked by one that does not lead", "5: Verify", []stepped{start, do(1, engine.Woken{}, engine.Verify{ID: 1})}},
		{"events before the start", "8:", []stepped{do(1, engine.Woken{})}},
		{"a second start", "8:", []stepped{start, do(1, engine.Started{})}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if f := faults(c.steps[:len(c.steps)-1]...); len(f) > 0 {
				t.Fatalf("broken too early: %q", f)
			}
			f := faults(c.steps...)
			if len(f) != 1 || !strings.HasPrefix(f[0], c.clause) {
				t.Errorf("found %q, want one fault that begins with %q", f, c.clause)
			}
		})
	}
}

// TestContractKept shows that what the contract allows is no fault.
func TestContractKept(t *testing.T) {
	propose := engine.Propose{Entry: state.Entry{Proposal: state.ProposalID{Term: 1, Seq: 1}}}
	next := engine.Propose{Entry: state.Entry{Proposal: state.ProposalID{Term: 2, Seq: 1}}}
	plan := func(g uint64) engine.Effect { return engine.ApplyNetwork{Plan: netplan.Plan{Generation: g}} }
	stop := engine.StopContainer{Stop: agent.Stop{Task: "t"}}
	f := faults(
		do(1, engine.Started{}),
		do(1, engine.Woken{}, plan(1)),
		do(1, engine.Woken{}, plan(2)),
		do(2, engine.NetworkApplied{Generation: 2}),       // for both
		do(2, engine.ContainerExited{Task: "t", Code: 1}), // by itself
		do(2, engine.Woken{}, stop),
		do(2, engine.ContainerExited{Task: "t"}),
		do(3, engine.Elected{Term: 1}, propose, engine.Verify{ID: 1}),
		do(3, engine.Deposed{}),
		do(3, engine.Committed{Index: 1, Entry: propose.Entry}), // after all
		do(3, engine.Verified{ID: 1}),                           // too late to matter
		do(4, engine.Elected{Term: 2}, next),
		do(4, engine.Committed{Index: 2, Entry: next.Entry}, engine.Leave{}),
		do(4, engine.Left{}),
		do(5, engine.Committed{Index: 1}), // of another log
	)
	if len(f) > 0 {
		t.Errorf("faults where there are none: %q", f)
	}
}

// TestContractOwed says what has not been answered.
func TestContractOwed(t *testing.T) {
	var c enginetest.Contract
	c.Stepped(time.Unix(1, 0), engine.Started{}, engine.Step{})
	c.Stepped(time.Unix(1, 0), engine.Woken{}, engine.Step{Effects: []engine.Effect{engine.PullImage{Pull: agent.Pull{Task: "t"}}}})
	if owed := c.Owed(); len(owed) != 1 || owed["pulled t"] != 1 {
		t.Errorf("owed is %v, want one pull of t", owed)
	}
	c.Stepped(time.Unix(1, 0), engine.ImagePulled{Task: "t"}, engine.Step{})
	if owed := c.Owed(); len(owed) != 0 {
		t.Errorf("owed is %v after the answer", owed)
	}
}
