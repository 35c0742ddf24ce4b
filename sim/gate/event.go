package gate

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// The first byte of an encoded event.
const (
	eventWoken = iota + 1
	eventClockAdjusted
	eventCalled
	eventForwardReturned
	eventElected
	eventDeposed
	eventVoterChanged
	eventJoined
	eventRoleChanged
	eventLeaderChanged
	eventCommitted
	eventRestored
	eventVerified
	eventLeft
	eventReceived
	eventContainersFound
	eventImagePulled
	eventContainerCreated
	eventContainerStarted
	eventContainerProbed
	eventContainerExited
	eventContainerRemoved
	eventNetworkApplied
	eventStarted
	eventUnlocked
	eventRootMade
	eventCertified
	eventRenewed
	eventRefounded
)

// AppendEvent encodes an event. Of [engine.Started] only that it came is kept.
func AppendEvent(b []byte, event engine.Event) ([]byte, error) {
	switch e := event.(type) {
	case engine.Started:
		return append(b, eventStarted), nil
	case engine.Woken:
		return append(b, eventWoken), nil
	case engine.ClockAdjusted:
		return packed(append(b, eventClockAdjusted), e, nil)
	case engine.Called:
		return appendCalled(b, e)
	case engine.ForwardReturned:
		b = binary.AppendUvarint(append(b, eventForwardReturned), uint64(e.Request))
		answer, err := control.EncodeAnswer(e.Answer)
		return append(b, answer...), err
	case engine.AuthorityCreated:
		return nil, fmt.Errorf("%T does not pass: swarms are founded outside", event)
	case engine.Elected:
		return packed(append(b, eventElected), e, nil)
	case engine.Deposed:
		return append(b, eventDeposed), nil
	case engine.VoterChanged:
		err := e.Err
		e.Err = nil
		return packed(append(b, eventVoterChanged), e, err)
	case engine.Joined:
		err := e.Err
		e.Err = nil
		return packed(append(b, eventJoined), e, err)
	case engine.RoleChanged:
		err := e.Err
		e.Err = nil
		return packed(append(b, eventRoleChanged), e, err)
	case engine.Unlocked:
		err := e.Err
		e.Err = nil
		return packed(append(b, eventUnlocked), e, err)
	case engine.RootMade:
		return packed(append(b, eventRootMade), e, nil)
	case engine.Certified:
		return packed(append(b, eventCertified), e, nil)
	case engine.Renewed:
		return packed(append(b, eventRenewed), engine.Renewed{}, e.Err)
	case engine.Refounded:
		err := e.Err
		e.Err = nil
		return packed(append(b, eventRefounded), e, err)
	case engine.LeaderChanged:
		return append(append(b, eventLeaderChanged), e.Leader...), nil
	case engine.Committed:
		return e.Entry.Append(binary.AppendUvarint(append(b, eventCommitted), e.Index)), nil
	case engine.Restored:
		w := bytes.NewBuffer(append(b, eventRestored))
		_, err := e.Store.Freeze().WriteTo(w)
		return w.Bytes(), err
	case engine.Verified:
		err := e.Err
		e.Err = nil
		return packed(append(b, eventVerified), e, err)
	case engine.Left:
		return append(b, eventLeft), nil
	case engine.Received:
		b = append(b, eventReceived, byte(len(e.From)))
		return wire.Append(append(b, e.From...), e.Message), nil
	default:
		return appendContainerEvent(b, event)
	}
}

func appendCalled(b []byte, e engine.Called) ([]byte, error) {
	forwarded := byte(0)
	if e.Forwarded {
		forwarded = 1
	}
	b = binary.AppendUvarint(append(b, eventCalled, forwarded), uint64(e.Request))
	call, err := control.EncodeCall(e.Call)
	return append(b, call...), err
}

// appendContainerEvent encodes what the container runtime and the network say.
func appendContainerEvent(b []byte, event engine.Event) ([]byte, error) {
	switch e := event.(type) {
	case engine.ContainersFound:
		return packed(append(b, eventContainersFound), e, nil)
	case engine.ImagePulled:
		err := e.Err
		e.Err = nil
		return packed(append(b, eventImagePulled), e, err)
	case engine.ContainerCreated:
		err := e.Err
		e.Err = nil
		return packed(append(b, eventContainerCreated), e, err)
	case engine.ContainerStarted:
		err := e.Err
		e.Err = nil
		return packed(append(b, eventContainerStarted), e, err)
	case engine.ContainerProbed:
		return packed(append(b, eventContainerProbed), e, nil)
	case engine.ContainerExited:
		err := e.Err
		e.Err = nil
		return packed(append(b, eventContainerExited), e, err)
	case engine.ContainerRemoved:
		err := e.Err
		e.Err = nil
		return packed(append(b, eventContainerRemoved), e, err)
	case engine.NetworkApplied:
		err := e.Err
		e.Err = nil
		return packed(append(b, eventNetworkApplied), e, err)
	default:
		return nil, fmt.Errorf("%T has no encoding", event)
	}
}

var errShort = errors.New("it ends too early")

// DecodeEvent reads what [AppendEvent] has written. What it returns shares memory
// with b.
func DecodeEvent(b []byte) (engine.Event, error) {
	if len(b) == 0 {
		return nil, errShort
	}
	kind, b := b[0], b[1:]
	switch kind {
	case eventStarted:
		return engine.Started{}, nil
	case eventWoken:
		return engine.Woken{}, nil
	case eventClockAdjusted:
		return unpacked[engine.ClockAdjusted](b, nil)
	case eventCalled:
		return decodeCalled(b)
	case eventForwardReturned:
		request, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errShort
		}
		answer, err := control.DecodeAnswer(b[n:])
		return engine.ForwardReturned{Request: engine.RequestID(request), Answer: answer}, err
	case eventElected:
		return unpacked[engine.Elected](b, nil)
	case eventDeposed:
		return engine.Deposed{}, nil
	case eventVoterChanged:
		return unpacked(b, func(e *engine.VoterChanged, err error) { e.Err = err })
	case eventJoined:
		return unpacked(b, func(e *engine.Joined, err error) { e.Err = err })
	case eventRoleChanged:
		return unpacked(b, func(e *engine.RoleChanged, err error) { e.Err = err })
	case eventUnlocked:
		return unpacked(b, func(e *engine.Unlocked, err error) { e.Err = err })
	case eventRootMade:
		return unpacked[engine.RootMade](b, nil)
	case eventCertified:
		return unpacked[engine.Certified](b, nil)
	case eventRenewed:
		return unpacked(b, func(e *engine.Renewed, err error) { e.Err = err })
	case eventRefounded:
		return unpacked(b, func(e *engine.Refounded, err error) { e.Err = err })
	case eventLeaderChanged:
		return engine.LeaderChanged{Leader: state.NodeID(b)}, nil
	case eventCommitted:
		index, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errShort
		}
		entry, err := state.DecodeEntry(b[n:])
		return engine.Committed{Index: index, Entry: entry}, err
	case eventRestored:
		store, err := state.Restore(bytes.NewReader(b))
		return engine.Restored{Store: store}, err
	case eventVerified:
		return unpacked(b, func(e *engine.Verified, err error) { e.Err = err })
	case eventLeft:
		return engine.Left{}, nil
	case eventReceived:
		if len(b) == 0 || len(b)-1 < int(b[0]) {
			return nil, errShort
		}
		message, err := wire.Decode(b[1+b[0]:])
		return engine.Received{From: state.NodeID(b[1 : 1+b[0]]), Message: message}, err
	default:
		return decodeContainerEvent(kind, b)
	}
}

func decodeCalled(b []byte) (engine.Event, error) {
	if len(b) == 0 {
		return nil, errShort
	}
	request, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return nil, errShort
	}
	call, err := control.DecodeCall(b[1+n:])
	return engine.Called{Request: engine.RequestID(request), Call: call, Forwarded: b[0] == 1}, err
}

func decodeContainerEvent(kind byte, b []byte) (engine.Event, error) {
	switch kind {
	case eventContainersFound:
		return unpacked[engine.ContainersFound](b, nil)
	case eventImagePulled:
		return unpacked(b, func(e *engine.ImagePulled, err error) { e.Err = err })
	case eventContainerCreated:
		return unpacked(b, func(e *engine.ContainerCreated, err error) { e.Err = err })
	case eventContainerStarted:
		return unpacked(b, func(e *engine.ContainerStarted, err error) { e.Err = err })
	case eventContainerProbed:
		return unpacked[engine.ContainerProbed](b, nil)
	case eventContainerExited:
		return unpacked(b, func(e *engine.ContainerExited, err error) { e.Err = err })
	case eventContainerRemoved:
		return unpacked(b, func(e *engine.ContainerRemoved, err error) { e.Err = err })
	case eventNetworkApplied:
		return unpacked(b, func(e *engine.NetworkApplied, err error) { e.Err = err })
	default:
		return nil, fmt.Errorf("an event of kind %d is not known", kind)
	}
}

// packed appends the length of an error's text and the text, and a value, in
// which the error is nil, in JSON.
func packed(b []byte, value any, failure error) ([]byte, error) {
	text := ""
	if failure != nil {
		text = failure.Error()
	}
	b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	data, err := json.Marshal(value)
	return append(b, data...), err
}

// unpacked reads what packed has written.
func unpacked[E engine.Event](b []byte, fail func(*E, error)) (engine.Event, error) {
	var e E
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, errShort
	}
	text, b := string(b[n:n+int(size)]), b[n+int(size):]
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, err
	}
	if text != "" && fail != nil {
		fail(&e, errors.New(text))
	}
	return e, nil
}
