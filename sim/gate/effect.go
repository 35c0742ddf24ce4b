package gate

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/engine/wire"
)

// The first byte of an encoded effect.
const (
	effectReply = iota + 1
	effectForward
	effectPublish
	effectJoin
	effectChangeRole
	effectChangeVoter
	effectReach
	effectLeave
	effectPropose
	effectVerify
	effectSend
	effectPullImage
	effectCreateContainer
	effectStartContainer
	effectProbeContainer
	effectStopContainer
	effectRemoveContainer
	effectApplyNetwork
	effectLock
	effectUnlock
	effectMakeRoot
	effectRenew
	effectTrust
	effectRefound
)

// AppendEffect encodes an effect.
func AppendEffect(b []byte, effect engine.Effect) ([]byte, error) {
	switch f := effect.(type) {
	case engine.Reply:
		b = binary.AppendUvarint(append(b, effectReply), uint64(f.Request))
		answer, err := control.EncodeAnswer(f.Answer)
		return append(b, answer...), err
	case engine.Forward:
		b = binary.AppendUvarint(append(b, effectForward), uint64(f.Request))
		b = append(append(b, byte(len(f.To))), f.To...)
		call, err := control.EncodeCall(f.Call)
		return append(b, call...), err
	case engine.Publish:
		return asJSON(append(b, effectPublish), f)
	case engine.CreateAuthority, engine.Bootstrap:
		return nil, fmt.Errorf("%T does not pass: swarms are founded outside", effect)
	case engine.Join:
		return asJSON(append(b, effectJoin), f)
	case engine.ChangeRole:
		return asJSON(append(b, effectChangeRole), f)
	case engine.ChangeVoter:
		return asJSON(append(b, effectChangeVoter), f)
	case engine.Reach:
		return asJSON(append(b, effectReach), f)
	case engine.Leave:
		return append(b, effectLeave), nil
	case engine.Propose:
		return f.Entry.Append(append(b, effectPropose)), nil
	case engine.Verify:
		return binary.AppendUvarint(append(b, effectVerify), uint64(f.ID)), nil
	case engine.Send:
		b = append(b, effectSend, byte(len(f.To)))
		return wire.Append(append(b, f.To...), f.Message), nil
	case engine.PullImage:
		return asJSON(append(b, effectPullImage), f)
	case engine.CreateContainer:
		return asJSON(append(b, effectCreateContainer), f)
	case engine.StartContainer:
		return asJSON(append(b, effectStartContainer), f)
	case engine.ProbeContainer:
		return asJSON(append(b, effectProbeContainer), f)
	case engine.StopContainer:
		return asJSON(append(b, effectStopContainer), f)
	case engine.RemoveContainer:
		return asJSON(append(b, effectRemoveContainer), f)
	case engine.Lock:
		return asJSON(append(b, effectLock), f)
	case engine.Unlock:
		return asJSON(append(b, effectUnlock), f)
	case engine.MakeRoot:
		return asJSON(append(b, effectMakeRoot), f)
	case engine.Renew:
		return append(b, effectRenew), nil
	case engine.Trust:
		return asJSON(append(b, effectTrust), f)
	case engine.Refound:
		return asJSON(append(b, effectRefound), f)
	case engine.ApplyNetwork:
		return asJSON(append(b, effectApplyNetwork), f)
	default:
		return nil, fmt.Errorf("%T has no encoding", effect)
	}
}

// DecodeEffect reads what [AppendEffect] has written. What it returns shares
// memory with b.
func DecodeEffect(b []byte) (engine.Effect, error) {
	if len(b) == 0 {
		return nil, errShort
	}
	kind, b := b[0], b[1:]
	switch kind {
	case effectReply, effectForward, effectVerify:
		return decodeNumbered(kind, b)
	case effectPublish:
		return fromJSON[engine.Publish](b)
	case effectJoin:
		return fromJSON[engine.Join](b)
	case effectChangeRole:
		return fromJSON[engine.ChangeRole](b)
	case effectChangeVoter:
		return fromJSON[engine.ChangeVoter](b)
	case effectReach:
		return fromJSON[engine.Reach](b)
	case effectLeave:
		return engine.Leave{}, nil
	case effectPropose:
		entry, err := state.DecodeEntry(b)
		return engine.Propose{Entry: entry}, err
	case effectSend:
		if len(b) == 0 || len(b)-1 < int(b[0]) {
			return nil, errShort
		}
		message, err := wire.Decode(b[1+b[0]:])
		return engine.Send{To: state.NodeID(b[1 : 1+b[0]]), Message: message}, err
	case effectPullImage:
		return fromJSON[engine.PullImage](b)
	case effectCreateContainer:
		return fromJSON[engine.CreateContainer](b)
	case effectStartContainer:
		return fromJSON[engine.StartContainer](b)
	case effectProbeContainer:
		return fromJSON[engine.ProbeContainer](b)
	case effectStopContainer:
		return fromJSON[engine.StopContainer](b)
	case effectRemoveContainer:
		return fromJSON[engine.RemoveContainer](b)
	case effectLock:
		return fromJSON[engine.Lock](b)
	case effectUnlock:
		return fromJSON[engine.Unlock](b)
	case effectMakeRoot:
		return fromJSON[engine.MakeRoot](b)
	case effectRenew:
		return engine.Renew{}, nil
	case effectTrust:
		return fromJSON[engine.Trust](b)
	case effectRefound:
		return fromJSON[engine.Refound](b)
	case effectApplyNetwork:
		return fromJSON[engine.ApplyNetwork](b)
	default:
		return nil, fmt.Errorf("an effect of kind %d is not known", kind)
	}
}

// decodeNumbered reads effects that begin with a number.
func decodeNumbered(kind byte, b []byte) (engine.Effect, error) {
	number, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, errShort
	}
	b = b[n:]
	switch kind {
	case effectReply:
		answer, err := control.DecodeAnswer(b)
		return engine.Reply{Request: engine.RequestID(number), Answer: answer}, err
	case effectForward:
		if len(b) == 0 || len(b)-1 < int(b[0]) {
			return nil, errShort
		}
		call, err := control.DecodeCall(b[1+b[0]:])
		return engine.Forward{Request: engine.RequestID(number), To: state.NodeID(b[1 : 1+b[0]]), Call: call}, err
	default:
		return engine.Verify{ID: engine.VerifyID(number)}, nil
	}
}

func asJSON(b []byte, value any) ([]byte, error) {
	data, err := json.Marshal(value)
	return append(b, data...), err
}

func fromJSON[E engine.Effect](b []byte) (engine.Effect, error) {
	var f E
	err := json.Unmarshal(b, &f)
	return f, err
}
