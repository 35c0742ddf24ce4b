package peer

import (
	"context"
	"fmt"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
)

// Call passes a call on to another manager and waits for its answer, or for ctx.
// [ErrUnlinked] says that it was not sent, [ErrLost] that its outcome is not known.
func (p *Peers) Call(ctx context.Context, to state.NodeID, call control.Call) (control.Answer, error) {
	l := p.link(to)
	if l == nil || !l.party.Manager {
		return nil, ErrUnlinked
	}
	data, err := control.EncodeCall(call)
	if err != nil {
		return nil, err
	}
	number, answer, err := l.expect()
	if err != nil {
		return nil, err
	}
	defer l.forget(number)
	if err := l.sendParts(ctx, kindCall, number, data); err != nil {
		return nil, err
	}
	select {
	case whole := <-answer:
		return control.DecodeAnswer(whole)
	case <-l.dead:
		return nil, ErrLost
	case <-ctx.Done():
		return nil, ErrLost
	}
}

func (l *link) expect() (uint64, <-chan []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) >= callsMax {
		return 0, nil, fmt.Errorf("%d calls wait for node %s already", callsMax, l.party.Node)
	}
	l.number++
	answer := make(chan []byte, 1)
	l.waiting[l.number] = answer
	return l.number, answer, nil
}

func (l *link) forget(number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, number)
}

// sendParts queues a call or an answer, and waits for room.
func (l *link) sendParts(ctx context.Context, k kind, number uint64, whole []byte) error {
	for {
		n := min(len(whole), chunkBytesMax)
		body := appendPart(make([]byte, 0, partHeaderBytes+n), part{number, n == len(whole), whole[:n]})
		select {
		case l.bulk <- frame{k, body}:
		case <-l.dead:
			return ErrLost
		case <-ctx.Done():
			return ErrLost
		}
		if whole = whole[n:]; len(whole) == 0 {
			return nil
		}
	}
}

func (l *link) takePart(k kind, body []byte) error {
	p, err := readPart(body)
	if err != nil {
		return err
	}
	if k == kindCall {
		whole, complete, err := l.calls.add(p)
		if err != nil || !complete {
			return err
		}
		return l.serveCall(p.number, whole)
	}
	l.mu.Lock()
	answer := l.waiting[p.number]
	l.mu.Unlock()
	if answer == nil { // nobody waits any more
		l.answers.forget(p.number)
		return nil
	}
	whole, complete, err := l.answers.add(p)
	if err == nil && complete {
		select {
		case answer <- whole:
		default: // answered twice
		}
	}
	return err
}

// serveCall makes a call for another manager.
func (l *link) serveCall(number uint64, data []byte) error {
	select {
	case l.slots <- struct{}{}:
	default:
		return fmt.Errorf("more than %d calls are under way", callsMax)
	}
	l.serving.Go(func() {
		defer func() { <-l.slots }()
		ctx, cancel := context.WithCancel(l.peers.ctx)
		defer cancel()
		l.serving.Go(func() {
			select {
			case <-l.dead:
				cancel()
			case <-ctx.Done():
			}
		})
		_ = l.sendParts(ctx, kindAnswer, number, l.answer(ctx, data)) // a link that is lost has no use for it
	})
	return nil
}

func (l *link) answer(ctx context.Context, data []byte) []byte {
	failed := func(err error) control.Answer {
		return control.Failed{Kind: control.Internal, Message: err.Error()}
	}
	call, err := control.DecodeCall(data)
	answer := failed(fmt.Errorf("the leader cannot make the call: %w", err))
	if err == nil {
		answer = l.peers.config.Called(ctx, l.party, call)
	}
	encoded, err := control.EncodeAnswer(answer)
	if err != nil {
		encoded, _ = control.EncodeAnswer(failed(err)) // a failure can always be written
	}
	return encoded
}
