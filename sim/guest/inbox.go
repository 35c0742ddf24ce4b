//go:build wasip1

package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim/gate"
)

// inboxFile is the file by which everything comes in.
const inboxFile = 3

// inboxBufferBytes is how much is read at a time.
const inboxBufferBytes = 64 << 10

// An inbox takes in what the host sends, in order.
type inbox struct {
	guest  *guest
	header [4]byte
}

// serve reads messages for good; there is no end but of the process.
func (i *inbox) serve() error {
	if err := syscall.SetNonblock(inboxFile, true); err != nil {
		return fmt.Errorf("open the inbox: %w", err)
	}
	r := bufio.NewReaderSize(os.NewFile(inboxFile, "inbox"), inboxBufferBytes)
	for {
		if err := i.take(r); err != nil {
			return fmt.Errorf("read the inbox: %w", err)
		}
	}
}

func (i *inbox) take(r io.Reader) error {
	if _, err := io.ReadFull(r, i.header[:]); err != nil {
		return err
	}
	message := make([]byte, binary.LittleEndian.Uint32(i.header[:]))
	if _, err := io.ReadFull(r, message); err != nil {
		return err
	}
	kind, body := message[0], message[1:]
	switch kind {
	case gate.ToRaft:
		from, frame := state.NodeID(body[1:1+body[0]]), body[1+body[0]:]
		i.guest.membership.receive(from, frame)
		return nil
	case gate.ToEvent:
		e, err := gate.DecodeEvent(body)
		if err != nil {
			return err
		}
		i.guest.happened(e)
		return nil
	case gate.ToSynced:
		i.guest.disk.synced(binary.LittleEndian.Uint64(body), gate.Errno(body[8]))
		return nil
	case gate.ToHandOver:
		if log := i.guest.membership.running(); log != nil {
			log.HandOver(state.NodeID(body))
		}
		return nil
	default:
		return fmt.Errorf("a message of kind %d is not known", kind)
	}
}

// happened posts what the host says has happened.
func (g *guest) happened(event engine.Event) {
	switch e := event.(type) {
	case engine.Called:
		go g.call(e)
	case engine.ForwardReturned:
		e.Request = g.requests.ours[e.Request]
		g.driver.Post(e)
	case engine.Joined:
		g.membership.orders <- func() error { return g.membership.joined(e) }
	case engine.RoleChanged:
		g.membership.orders <- func() error { return g.membership.roleChanged(e) }
	case engine.Unlocked:
		g.membership.orders <- func() error { return g.membership.unlocked(e) }
	default:
		g.driver.Post(event)
	}
}
