package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/swarmd/swarmd/engine/invariant"
	"github.com/swarmd/swarmd/engine/state"
)

// The first byte of an encoded message says which it is. Never reuse a number.
const (
	kindHello     = 1
	kindHeartbeat = 2
	kindReport    = 3
	kindAssign    = 4
	kindBye       = 5
	kindQuit      = 6
	kindApplied   = 7
)

// MessageBytesMax is how large an encoded message may be.
const MessageBytesMax = 64 << 20

// Errors of decoding, wrapped with what was being read.
var (
	errShort   = errors.New("it ends too early")
	errTooMuch = errors.New("there is something after its end")
)

// Append encodes a message: its fields, one behind the other, without tags. A field
// that a kind of message gets later goes behind all that it has, and is left out
// where it is zero, as is then every one behind it: builds of before and after
// understand each other as long as nothing needs the field, and one that does not
// know it refuses what does, rather than do something else. A field whose
// absence would be no harm belongs into what is JSON, where there is some.
func Append(b []byte, message Message) []byte {
	switch m := message.(type) {
	case Hello:
		b = append(b, kindHello)
		b = binary.AppendUvarint(b, m.Session)
		b = appendText(b, m.Addr)
		b = appendText(b, m.ManagerAddr)
		b = binary.AppendUvarint(b, m.Certificate)
		description, err := json.Marshal(m.Description)
		invariant.Check(err == nil, "a node's description cannot be written: %v", err)
		b = appendText(b, string(description))
		if m.DataPath != "" {
			b = appendText(b, m.DataPath)
		}
	case Heartbeat:
		b = append(b, kindHeartbeat)
		b = binary.AppendUvarint(b, m.Session)
		b = binary.AppendUvarint(b, m.Sequence)
		b = binary.AppendUvarint(b, m.Reports)
		b = binary.AppendUvarint(b, m.Index)
		b = binary.AppendUvarint(b, m.Applied)
	case Applied:
		b = append(b, kindApplied)
		b = binary.AppendUvarint(b, m.Session)
		b = binary.AppendUvarint(b, m.Sequence)
	case Report:
		b = append(b, kindReport)
		b = binary.AppendUvarint(b, m.Session)
		b = binary.AppendUvarint(b, m.Number)
		b = binary.AppendUvarint(b, uint64(len(m.Statuses)))
		for _, s := range m.Statuses {
			b = appendTask(b, &state.Task{ID: s.Task, Status: s.Status})
		}
	case Assign:
		b = appendAssign(append(b, kindAssign), m)
	case Quit:
		b = append(b, kindQuit)
		b = binary.AppendUvarint(b, m.Session)
	case Bye:
		b = append(b, kindBye)
		b = binary.AppendUvarint(b, m.Session)
		b = appendText(b, string(m.Leader))
		b = appendText(b, m.Addr)
		b = binary.AppendUvarint(b, m.Term)
		b = append(b, flag(m.Removed))
	default:
		invariant.Violated("unknown message %T", message)
	}
	return b
}

func appendAssign(b []byte, m Assign) []byte {
	b = binary.AppendUvarint(b, m.Session)
	b = binary.AppendUvarint(b, m.Sequence)
	b = binary.AppendUvarint(b, m.Term)
	b = append(b, flag(m.Full), flag(m.Manager))
	b = binary.AppendUvarint(b, m.Certificate)
	b = binary.AppendVarint(b, m.Period)
	b = binary.AppendUvarint(b, uint64(len(m.Managers)))
	for _, o := range m.Managers {
		b = appendText(b, string(o.ID))
		b = appendText(b, o.Addr)
	}
	// A template goes once, before the first task that is made from it.
	type ref struct {
		service state.ServiceID
		version uint64
	}
	sent := map[ref]bool{}
	b = binary.AppendUvarint(b, uint64(len(m.Tasks)))
	for _, a := range m.Tasks {
		b = appendTask(b, a.Task)
		key := ref{a.Task.Service, a.Task.Template}
		switch {
		case a.Template == nil:
			b = append(b, templateNone)
		case sent[key]:
			b = append(b, templateBefore)
		default:
			sent[key] = true
			b = append(b, templateHere)
			b = appendBytes(b, func(b []byte) []byte { return state.AppendTemplate(b, a.Template) })
		}
	}
	for _, ids := range [][]state.TaskID{m.Keep, m.Gone} {
		b = binary.AppendUvarint(b, uint64(len(ids)))
		for _, id := range ids {
			b = appendText(b, string(id))
		}
	}
	return appendTables(b, m.Tables)
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// Where the template of an assignment is.
const (
	templateNone   = 0
	templateHere   = 1
	templateBefore = 2 // with an earlier assignment of the message
)

func appendTask(b []byte, t *state.Task) []byte {
	b = appendText(b, string(t.ID))
	return appendBytes(b, func(b []byte) []byte { return state.AppendTask(b, t) })
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendBytes appends what f appends, behind its length.
func appendBytes(b []byte, f func([]byte) []byte) []byte {
	data := f(nil)
	b = binary.AppendUvarint(b, uint64(len(data)))
	return append(b, data...)
}

// Decode reads a message. Nothing of b is kept.
func Decode(b []byte) (Message, error) {
	r := &reader{b: b}
	m := r.message()
	if r.err == nil && len(r.b) > 0 {
		r.err = errTooMuch
	}
	if r.err != nil {
		return nil, fmt.Errorf("a message of %d bytes cannot be read: %w", len(b), r.err)
	}
	return m, nil
}

// A reader takes things off b, until something is wrong.
type reader struct {
	b   []byte
	err error
}

func (r *reader) message() Message {
	switch kind := r.byte(); kind {
	case kindHello:
		m := Hello{Session: r.uvarint(), Addr: r.text(), ManagerAddr: r.text(), Certificate: r.uvarint()}
		if data := r.bytes(); r.err == nil {
			r.err = json.Unmarshal(data, &m.Description)
		}
		if r.more() {
			m.DataPath = r.text()
			r.given(m.DataPath != "")
		}
		return m
	case kindHeartbeat:
		return Heartbeat{Session: r.uvarint(), Sequence: r.uvarint(), Reports: r.uvarint(), Index: r.uvarint(), Applied: r.uvarint()}
	case kindApplied:
		return Applied{Session: r.uvarint(), Sequence: r.uvarint()}
	case kindReport:
		m := Report{Session: r.uvarint(), Number: r.uvarint()}
		for range r.count() {
			if t := r.task(); t != nil {
				m.Statuses = append(m.Statuses, Status{Task: t.ID, Status: t.Status})
			}
		}
		return m
	case kindAssign:
		return r.assign()
	case kindQuit:
		return Quit{Session: r.uvarint()}
	case kindBye:
		return Bye{Session: r.uvarint(), Leader: state.NodeID(r.text()), Addr: r.text(), Term: r.uvarint(), Removed: r.byte() == 1}
	default:
		if r.err == nil {
			r.err = fmt.Errorf("messages of kind %d are not known", kind)
		}
		return nil
	}
}

func (r *reader) assign() Assign {
	m := Assign{Session: r.uvarint(), Sequence: r.uvarint(), Term: r.uvarint(), Full: r.byte() == 1, Manager: r.byte() == 1, Certificate: r.uvarint(), Period: r.varint()}
	for range r.count() {
		m.Managers = append(m.Managers, Manager{ID: state.NodeID(r.text()), Addr: r.text()})
	}
	var templates []*state.Template
	for range r.count() {
		a := Assignment{Task: r.task()}
		if r.err != nil {
			return m
		}
		switch where := r.byte(); where {
		case templateNone:
		case templateHere:
			var err error
			if a.Template, err = state.DecodeTemplate(a.Task.Service, a.Task.Template, r.bytes()); err != nil {
				r.err = err
				return m
			}
			templates = append(templates, a.Template)
		case templateBefore:
			for _, t := range templates {
				if t.Service == a.Task.Service && t.Version == a.Task.Template {
					a.Template = t
				}
			}
		default:
			r.err = fmt.Errorf("a template cannot be at %d", where)
		}
		m.Tasks = append(m.Tasks, a)
	}
	for _, ids := range []*[]state.TaskID{&m.Keep, &m.Gone} {
		for range r.count() {
			*ids = append(*ids, state.TaskID(r.text()))
		}
	}
	m.Tables = r.tables()
	return m
}

func (r *reader) task() *state.Task {
	id, data := state.TaskID(r.text()), r.bytes()
	if r.err != nil {
		return nil
	}
	t, err := state.DecodeTask(id, data)
	if err != nil {
		r.err = err
		return nil
	}
	return t
}

// more reports whether there are fields that came later: see [Append].
func (r *reader) more() bool { return r.err == nil && len(r.b) > 0 }

// given refuses a last field that should have been left out: no message is encoded
// in two ways.
func (r *reader) given(something bool) {
	if r.err == nil && !something {
		r.err = errTooMuch
	}
}

// count is how many of something follow: no more than there are bytes.
func (r *reader) count() uint64 {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.err = errShort
		return 0
	}
	return n
}

func (r *reader) byte() byte {
	if r.err != nil || len(r.b) == 0 {
		r.short()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.err != nil || n <= 0 {
		r.short()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if r.err != nil || n <= 0 {
		r.short()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.count()
	if r.err != nil {
		return nil
	}
	data := r.b[:n]
	r.b = r.b[n:]
	return data
}

func (r *reader) text() string { return string(r.bytes()) }

func (r *reader) short() {
	if r.err == nil {
		r.err = errShort
	}
	r.b = nil
}
