package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"strconv"
	"strings"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// traceBufferBytes is how much of a trace gathers before it is hashed and written.
const traceBufferBytes = 32 << 10

// A Trace is what happened in a run, a line each, and the SHA-256 of that. It is
// taken whether or not anybody wants the lines, so that wanting them changes
// nothing.
//
// A line is the virtual time in nanoseconds, the host (or -), and words: "<" and
// an event that the host's engine took, ">" and an effect that it asked for, "!"
// and a fault or a command, "#" and a note of what really happened.
type Trace struct {
	out io.Writer // nil: nobody wants the lines
	sum hash.Hash
	buf []byte
	err error
}

func newTrace(out io.Writer) *Trace {
	return &Trace{out: out, sum: sha256.New(), buf: make([]byte, 0, traceBufferBytes+4096)}
}

// Sum returns the SHA-256 of all lines so far.
func (t *Trace) Sum() string {
	t.flush()
	return hex.EncodeToString(t.sum.Sum(nil))
}

// Err returns why lines could not be written, if any could not.
func (t *Trace) Err() error {
	t.flush()
	return t.err
}

func (t *Trace) flush() {
	_, _ = t.sum.Write(t.buf) // a hash never fails
	if t.out != nil && t.err == nil {
		_, t.err = t.out.Write(t.buf)
	}
	t.buf = t.buf[:0]
}

func (t *Trace) begin(at int64, host, sign string) {
	t.buf = strconv.AppendInt(t.buf, at, 10)
	t.word(host)
	t.word(sign)
}

func (t *Trace) word(s string) {
	t.buf = append(t.buf, ' ')
	t.buf = append(t.buf, s...)
}

func (t *Trace) words(words ...string) {
	for _, w := range words {
		t.word(w)
	}
}

func (t *Trace) number(n uint64) {
	t.buf = append(t.buf, ' ')
	t.buf = strconv.AppendUint(t.buf, n, 10)
}

func (t *Trace) end() {
	t.buf = append(t.buf, '\n')
	if len(t.buf) >= traceBufferBytes {
		t.flush()
	}
}

// say writes a line of words.
func (t *Trace) say(at int64, host, sign string, words ...string) {
	t.begin(at, host, sign)
	t.words(words...)
	t.end()
}

// event writes what an engine took in.
func (t *Trace) event(at int64, host string, event engine.Event) {
	t.begin(at, host, "<")
	switch e := event.(type) {
	case engine.Started:
		t.word("started")
	case engine.Woken:
		t.word("woken")
	case engine.ClockAdjusted:
		t.words("clock-adjusted", e.Offset.String())
	case engine.Called:
		t.word("called")
		t.number(uint64(e.Request))
		t.word(callName(e.Call))
	case engine.ForwardReturned:
		t.word("forward-returned")
		t.number(uint64(e.Request))
	case engine.AuthorityCreated:
		t.word("authority-created")
	case engine.VoterChanged:
		t.words("voter-changed", string(e.Node), e.Standing.String())
		t.failure(e.Err)
	case engine.Joined:
		t.words("joined", string(e.Identity.Node))
		t.failure(e.Err)
	case engine.RootMade:
		t.word("root-made")
		t.number(uint64(e.Request))
	case engine.Certified:
		t.word("certified")
		t.number(e.Certificate.Version)
	case engine.Renewed:
		t.word("renewed")
		t.failure(e.Err)
	case engine.Refounded:
		t.word("refounded")
		t.failure(e.Err)
	case engine.Unlocked:
		t.word("unlocked")
		t.failure(e.Err)
	case engine.RoleChanged:
		t.words("role-changed", strconv.FormatBool(e.Identity.Manager))
		t.failure(e.Err)
	case engine.Elected:
		t.word("elected")
		t.number(e.Term)
	case engine.Deposed:
		t.word("deposed")
	case engine.LeaderChanged:
		t.words("leader-changed", string(e.Leader))
	case engine.Committed:
		t.word("committed")
		t.number(e.Index)
		t.proposal(e.Entry)
	case engine.Restored:
		t.word("restored")
		t.number(e.Store.Index())
	case engine.Verified:
		t.word("verified")
		t.number(uint64(e.ID))
		t.failure(e.Err)
	case engine.Left:
		t.word("left")
	case engine.Received:
		t.words("received", string(e.From))
		t.message(e.Message)
	default:
		t.container(event)
	}
	t.end()
}

// container writes events that the container runtime and the network make.
func (t *Trace) container(event engine.Event) {
	switch e := event.(type) {
	case engine.ContainersFound:
		t.word("containers-found")
		t.number(uint64(len(e.Containers)))
	case engine.ImagePulled:
		t.words("image-pulled", string(e.Task))
		t.failure(e.Err)
	case engine.ContainerCreated:
		t.words("container-created", string(e.Task))
		t.failure(e.Err)
	case engine.ContainerStarted:
		t.words("container-started", string(e.Task))
		t.number(uint64(e.PID))
		t.failure(e.Err)
	case engine.ContainerProbed:
		t.words("container-probed", string(e.Task), strconv.FormatBool(e.Healthy))
	case engine.ContainerExited:
		t.words("container-exited", string(e.Task))
		t.number(uint64(e.Code))
		t.failure(e.Err)
	case engine.ContainerRemoved:
		t.words("container-removed", string(e.Task))
		t.failure(e.Err)
	case engine.NetworkApplied:
		t.word("network-applied")
		t.number(e.Generation)
		t.failure(e.Err)
	default:
	}
}

// trust writes what an engine asked for about certificates.
func (t *Trace) trust(effect engine.Effect) {
	switch f := effect.(type) {
	case engine.MakeRoot:
		t.word("make-root")
		t.number(uint64(f.Request))
	case engine.Renew:
		t.word("renew")
	case engine.Refound:
		t.words("refound", f.Addr)
	case engine.Trust:
		t.word("trust")
		for _, e := range f.Change.Entries {
			t.word(string(e.Node))
			t.number(e.Trust)
		}
		for _, id := range f.Change.Gone {
			t.word("-" + string(id))
		}
	default:
	}
}

// effect writes what an engine asked for.
func (t *Trace) effect(at int64, host string, effect engine.Effect) {
	t.begin(at, host, ">")
	switch f := effect.(type) {
	case engine.Reply:
		t.word("reply")
		t.number(uint64(f.Request))
		t.word(answerName(f.Answer))
	case engine.Forward:
		t.word("forward")
		t.number(uint64(f.Request))
		t.word(string(f.To))
	case engine.Publish:
		t.word("publish")
		t.number(uint64(len(f.Events)))
	case engine.CreateAuthority:
		t.words("create-authority", string(f.Cluster))
	case engine.Bootstrap:
		t.words("bootstrap", string(f.Identity.Node))
	case engine.Leave:
		t.word("leave")
	case engine.Join:
		t.word("join")
	case engine.ChangeRole:
		t.words("change-role", strconv.FormatBool(f.Manager))
	case engine.MakeRoot, engine.Renew, engine.Refound, engine.Trust:
		t.trust(effect)
	case engine.Lock:
		t.word("lock")
		t.number(f.Version)
	case engine.Unlock:
		t.word("unlock")
	case engine.ChangeVoter:
		t.words("change-voter", string(f.Node), f.Standing.String())
	case engine.Reach:
		t.word("reach")
		t.number(uint64(len(f.Managers)))
	case engine.Propose:
		t.word("propose")
		t.proposal(f.Entry)
	case engine.Verify:
		t.word("verify")
		t.number(uint64(f.ID))
	case engine.Send:
		t.words("send", string(f.To))
		t.message(f.Message)
	case engine.PullImage:
		t.words("pull-image", string(f.Task), f.Image)
	case engine.CreateContainer:
		t.words("create-container", string(f.Container.Task), taskName(f.Container))
	case engine.StartContainer:
		t.words("start-container", string(f.Task))
	case engine.ProbeContainer:
		t.words("probe-container", string(f.Task))
	case engine.StopContainer:
		t.words("stop-container", string(f.Task), f.Grace.String())
	case engine.RemoveContainer:
		t.words("remove-container", string(f.Task))
	case engine.ApplyNetwork:
		t.word("apply-network")
		t.number(f.Plan.Generation)
		t.number(uint64(len(f.Plan.Endpoints)))
	}
	t.end()
}

// taskName is the service of a container's task, and its slot, or its node if the
// service is global: readers of a trace know tasks by it.
func taskName(c agent.Container) string {
	return strings.TrimSuffix(c.Labels["com.docker.swarm.task.name"], "."+string(c.Task))
}

func (t *Trace) failure(err error) {
	if err != nil {
		t.word("failed: " + err.Error())
	}
}

func (t *Trace) proposal(e state.Entry) {
	t.number(e.Proposal.Term)
	t.number(e.Proposal.Seq)
	t.number(e.Base)
	for _, c := range e.Changes {
		t.buf = append(t.buf, ' ')
		if c.Data == nil {
			t.buf = append(t.buf, '-')
		}
		t.buf = append(t.buf, c.Key.Kind.String()...)
		t.buf = append(t.buf, '/')
		t.buf = append(t.buf, c.Key.ID...)
	}
}

func (t *Trace) message(message wire.Message) {
	switch m := message.(type) {
	case wire.Hello:
		t.word("hello")
		t.number(m.Session)
	case wire.Heartbeat:
		t.word("heartbeat")
		t.number(m.Session)
		t.number(m.Sequence)
	case wire.Report:
		t.word("report")
		t.number(m.Session)
		for _, s := range m.Statuses {
			t.word(string(s.Task))
			t.number(uint64(s.Status.State))
		}
	case wire.Assign:
		t.word("assign")
		t.number(m.Session)
		t.number(m.Sequence)
		for _, a := range m.Tasks {
			t.word(string(a.Task.ID))
			t.number(uint64(a.Task.Desired))
		}
		t.number(uint64(len(m.Keep)))
		t.number(uint64(len(m.Gone)))
		if !m.Tables.Empty() {
			t.number(uint64(len(m.Tables.Peers)))
			t.number(uint64(len(m.Tables.Services)))
			for _, e := range m.Tables.Endpoints {
				t.word(string(e.Task))
				t.number(uint64(e.Phase))
			}
		}
	case wire.Applied:
		t.word("applied")
		t.number(m.Session)
		t.number(m.Sequence)
	case wire.Quit:
		t.word("quit")
		t.number(m.Session)
	case wire.Bye:
		t.word("bye")
		t.number(m.Session)
	}
}
