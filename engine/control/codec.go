package control

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/swarmd/swarmd/engine/state"
)

// Limits of what managers pass on to each other, encoded.
const (
	CallBytesMax   = 16 << 20
	AnswerBytesMax = 256 << 20
)

// errKind says that what was sent is none of the kinds that this build knows.
var errKind = errors.New("it is of a kind that this build does not know")

// An envelope is a call or an answer with the name of its type. The names are
// those of the Go types: a type that is renamed needs its old name here.
type envelope struct {
	Kind string          `json:"kind"`
	Body json.RawMessage `json:"body"`
}

// EncodeCall is the call as managers send it to each other.
func EncodeCall(call Call) ([]byte, error) { return seal(callKind(call), call, CallBytesMax) }

// DecodeCall reads what [EncodeCall] has written. Fields that this build does not
// know are left out.
func DecodeCall(data []byte) (Call, error) {
	e, err := open(data, CallBytesMax)
	if err != nil {
		return nil, fmt.Errorf("a call cannot be read: %w", err)
	}
	call, err := callOf(e)
	if err != nil {
		return nil, fmt.Errorf("a call of kind %.40q cannot be read: %w", e.Kind, err)
	}
	return call, nil
}

// EncodeAnswer is the answer as managers send it to each other.
func EncodeAnswer(answer Answer) ([]byte, error) {
	switch a := answer.(type) {
	case Tasks:
		p := packTasks(a.Tasks, a.Templates, false)
		p.Networks = a.Networks
		return seal("Tasks", p, AnswerBytesMax)
	case Sources:
		return seal("Sources", packTasks(a.Tasks, a.Templates, a.TTY), AnswerBytesMax)
	default:
		return seal(answerKind(answer), answer, AnswerBytesMax)
	}
}

// DecodeAnswer reads what [EncodeAnswer] has written.
func DecodeAnswer(data []byte) (Answer, error) {
	e, err := open(data, AnswerBytesMax)
	if err != nil {
		return nil, fmt.Errorf("an answer cannot be read: %w", err)
	}
	answer, err := answerOf(e)
	if err != nil {
		return nil, fmt.Errorf("an answer of kind %.40q cannot be read: %w", e.Kind, err)
	}
	return answer, nil
}

func seal(kind string, body any, limit int) ([]byte, error) {
	if kind == "" {
		return nil, fmt.Errorf("%T is not passed on between managers", body)
	}
	data, err := json.Marshal(body)
	if err == nil {
		data, err = json.Marshal(envelope{kind, data})
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s cannot be written: %w", kind, err)
	case len(data) > limit:
		return nil, fmt.Errorf("%s has %d bytes: at most %d are passed on between managers", kind, len(data), limit)
	}
	return data, nil
}

func open(data []byte, limit int) (envelope, error) {
	var e envelope
	if len(data) > limit {
		return e, fmt.Errorf("it has %d bytes, at most %d are read", len(data), limit)
	}
	return e, json.Unmarshal(data, &e)
}

func callKind(call Call) string {
	switch call.(type) {
	case SwarmInit:
		return "SwarmInit"
	case SwarmJoin:
		return "SwarmJoin"
	case SwarmLeave:
		return "SwarmLeave"
	case SwarmInspect:
		return "SwarmInspect"
	case SwarmUpdate:
		return "SwarmUpdate"
	case SwarmUnlock:
		return "SwarmUnlock"
	case SwarmUnlockKey:
		return "SwarmUnlockKey"
	case Info:
		return "Info"
	case NodeJoin:
		return "NodeJoin"
	case NodeRenew:
		return "NodeRenew"
	case NodeList:
		return "NodeList"
	case NodeInspect:
		return "NodeInspect"
	case NodeUpdate:
		return "NodeUpdate"
	case NodeRemove:
		return "NodeRemove"
	case ServiceCreate:
		return "ServiceCreate"
	case ServiceUpdate:
		return "ServiceUpdate"
	case ServiceRemove:
		return "ServiceRemove"
	case ServiceInspect:
		return "ServiceInspect"
	case ServiceList:
		return "ServiceList"
	case TaskList:
		return "TaskList"
	case TaskInspect:
		return "TaskInspect"
	case LogSources:
		return "LogSources"
	case NetworkCreate:
		return "NetworkCreate"
	case NetworkRemove:
		return "NetworkRemove"
	case NetworkInspect:
		return "NetworkInspect"
	case NetworkList:
		return "NetworkList"
	default:
		return ""
	}
}

func callOf(e envelope) (Call, error) {
	switch e.Kind {
	case "SwarmInit":
		return bodyOf[SwarmInit](e)
	case "SwarmJoin":
		return bodyOf[SwarmJoin](e)
	case "SwarmLeave":
		return bodyOf[SwarmLeave](e)
	case "SwarmInspect":
		return bodyOf[SwarmInspect](e)
	case "SwarmUpdate":
		return bodyOf[SwarmUpdate](e)
	case "SwarmUnlock":
		return bodyOf[SwarmUnlock](e)
	case "SwarmUnlockKey":
		return bodyOf[SwarmUnlockKey](e)
	case "Info":
		return bodyOf[Info](e)
	case "NodeJoin":
		return bodyOf[NodeJoin](e)
	case "NodeRenew":
		return bodyOf[NodeRenew](e)
	case "NodeList":
		return bodyOf[NodeList](e)
	case "NodeInspect":
		return bodyOf[NodeInspect](e)
	case "NodeUpdate":
		return bodyOf[NodeUpdate](e)
	case "NodeRemove":
		return bodyOf[NodeRemove](e)
	case "ServiceCreate":
		return bodyOf[ServiceCreate](e)
	case "ServiceUpdate":
		return bodyOf[ServiceUpdate](e)
	case "ServiceRemove":
		return bodyOf[ServiceRemove](e)
	case "ServiceInspect":
		return bodyOf[ServiceInspect](e)
	case "ServiceList":
		return bodyOf[ServiceList](e)
	case "TaskList":
		return bodyOf[TaskList](e)
	case "TaskInspect":
		return bodyOf[TaskInspect](e)
	case "LogSources":
		return bodyOf[LogSources](e)
	case "NetworkCreate":
		return bodyOf[NetworkCreate](e)
	case "NetworkRemove":
		return bodyOf[NetworkRemove](e)
	case "NetworkInspect":
		return bodyOf[NetworkInspect](e)
	case "NetworkList":
		return bodyOf[NetworkList](e)
	default:
		return nil, errKind
	}
}

func answerKind(answer Answer) string {
	switch answer.(type) {
	case Failed:
		return "Failed"
	case Done:
		return "Done"
	case Created:
		return "Created"
	case Admitted:
		return "Admitted"
	case Swarm:
		return "Swarm"
	case UnlockKey:
		return "UnlockKey"
	case NodeInfo:
		return "NodeInfo"
	case Nodes:
		return "Nodes"
	case Services:
		return "Services"
	case Tasks:
		return "Tasks"
	case Sources:
		return "Sources"
	case Networks:
		return "Networks"
	default:
		return ""
	}
}

func answerOf(e envelope) (Answer, error) {
	switch e.Kind {
	case "Failed":
		return bodyOf[Failed](e)
	case "Done":
		return bodyOf[Done](e)
	case "Created":
		return bodyOf[Created](e)
	case "Admitted":
		return bodyOf[Admitted](e)
	case "Swarm":
		return bodyOf[Swarm](e)
	case "UnlockKey":
		return bodyOf[UnlockKey](e)
	case "NodeInfo":
		return bodyOf[NodeInfo](e)
	case "Nodes":
		return bodyOf[Nodes](e)
	case "Services":
		return bodyOf[Services](e)
	case "Tasks":
		tasks, templates, p, err := unpackTasks(e)
		return Tasks{Tasks: tasks, Templates: templates, Networks: p.Networks}, err
	case "Sources":
		tasks, templates, p, err := unpackTasks(e)
		return Sources{Tasks: tasks, Templates: templates, TTY: p.TTY}, err
	case "Networks":
		return bodyOf[Networks](e)
	default:
		return nil, errKind
	}
}

func bodyOf[T any](e envelope) (T, error) {
	var body T
	err := json.Unmarshal(e.Body, &body)
	return body, err
}

// taskPack is tasks with what they are made from: each template once, though
// thousands of tasks share it. Template has an index for every task, -1 for none.
type taskPack struct {
	Tasks     []*state.Task
	Templates []*state.Template
	Template  []int
	TTY       bool
	Networks  []*state.Network `json:",omitempty"`
}

func packTasks(tasks []*state.Task, templates []*state.Template, tty bool) taskPack {
	p := taskPack{Tasks: tasks, TTY: tty}
	at := map[*state.Template]int{}
	for _, t := range templates {
		i, packed := at[t]
		switch {
		case t == nil:
			i = -1
		case !packed:
			i = len(p.Templates)
			at[t] = i
			p.Templates = append(p.Templates, t)
		}
		p.Template = append(p.Template, i)
	}
	return p
}

func unpackTasks(e envelope) (tasks []*state.Task, templates []*state.Template, p taskPack, err error) {
	p, err = bodyOf[taskPack](e)
	if err != nil {
		return nil, nil, p, err
	}
	if len(p.Template) != len(p.Tasks) {
		return nil, nil, p, fmt.Errorf("it has %d tasks, and templates for %d", len(p.Tasks), len(p.Template))
	}
	for i, at := range p.Template {
		switch {
		case p.Tasks[i] == nil:
			return nil, nil, p, fmt.Errorf("task %d is missing", i)
		case at == -1:
			templates = append(templates, nil)
		case at < 0 || at >= len(p.Templates):
			return nil, nil, p, fmt.Errorf("task %d has template %d of %d", i, at, len(p.Templates))
		default:
			templates = append(templates, p.Templates[at])
		}
	}
	return p.Tasks, templates, p, nil
}
