package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/wire"
)

// A frame is four bytes of length, a byte that says what it is, and the rest.
type kind byte

// The kinds of frames on a link. Never reuse a number.
const (
	kindPing    kind = 1 // nothing
	kindMessage kind = 2 // an engine's message
	kindCall    kind = 3 // a part of a call: number, whether it is the last, bytes
	kindAnswer  kind = 4 // the same of an answer
	kindOpen    kind = 5 // a request for a stream: its name, the request
	kindRefused kind = 6 // that a stream cannot be had: its name, why
	kindAsk     kind = 7 // a request for a certificate
	kindGiven   kind = 8 // the answer to that
)

// Limits of frames.
const (
	headerBytes    = 5
	chunkBytesMax  = 64 << 10 // of a part of a call or answer
	workerBytesMax = 8 << 20  // of what a worker says at a time
	// Of what is said by a node that was removed: no more than a Hello.
	strangerBytesMax = 1 << 20
	managerBytesMax  = 1 + wire.MessageBytesMax
	requestBytesMax  = 64 << 10 // of a request for a certificate, and for a stream
	certifyBytesMax  = 1 << 20  // of the answer to a request for a certificate
	streamNameBytes  = 16
)

// How long a connection may be silent, or refuse to take bytes.
const (
	pingPeriod   = time.Second
	silenceMax   = 4 * time.Second
	writePeriod  = 4 * time.Second
	progressEach = 64 << 10 // bytes within silenceMax
)

var errFrame = errors.New("that is no frame")

func appendHeader(b []byte, k kind, length int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(length+1))
	return append(b, byte(k))
}

// readFrame reads one frame of at most limit bytes. What is not there yet is not
// made room for.
// Before it begins, and between its chunks, patience may pass.
func readFrame(r io.Reader, conn net.Conn, limit int, patience time.Duration) (kind, []byte, error) {
	var header [headerBytes]byte
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, nil, err
	}
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(header[:])
	switch {
	case length == 0:
		return 0, nil, errFrame
	case int64(length)-1 > int64(limit):
		return 0, nil, fmt.Errorf("%w: it has %d bytes, at most %d are allowed", errFrame, length-1, limit)
	}
	body := make([]byte, 0, min(int(length)-1, progressEach))
	for left := int(length) - 1; left > 0; {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return 0, nil, err
		}
		n := min(left, progressEach)
		at := len(body)
		body = append(body, make([]byte, n)...)
		if _, err := io.ReadFull(r, body[at:]); err != nil {
			return 0, nil, err
		}
		left -= n
	}
	return kind(header[4]), body, nil
}

// writeFrame writes one frame.
func writeFrame(w io.Writer, conn net.Conn, k kind, body []byte) error {
	return writeAll(w, conn, appendHeader(nil, k, len(body)), body)
}

// writeAll writes parts, with a deadline for every chunk.
func writeAll(w io.Writer, conn net.Conn, parts ...[]byte) error {
	for _, part := range parts {
		for len(part) > 0 {
			n := min(len(part), progressEach)
			if err := conn.SetWriteDeadline(time.Now().Add(writePeriod)); err != nil {
				return err
			}
			if _, err := w.Write(part[:n]); err != nil {
				return err
			}
			part = part[n:]
		}
	}
	return nil
}

// A part is what a frame of a call or an answer carries.
type part struct {
	number uint64
	last   bool
	bytes  []byte
}

const partHeaderBytes = 9

func appendPart(b []byte, p part) []byte {
	b = binary.BigEndian.AppendUint64(b, p.number)
	last := byte(0)
	if p.last {
		last = 1
	}
	return append(append(b, last), p.bytes...)
}

func readPart(body []byte) (part, error) {
	if len(body) < partHeaderBytes || body[8] > 1 {
		return part{}, errFrame
	}
	return part{number: binary.BigEndian.Uint64(body), last: body[8] == 1, bytes: body[partHeaderBytes:]}, nil
}

// An assembly puts parts together again.
type assembly struct {
	whole map[uint64][]byte
	limit int // bytes of one, and of all that are incomplete
	bytes int
}

func newAssembly(limit int) *assembly { return &assembly{whole: map[uint64][]byte{}, limit: limit} }

// add takes in a part, and returns the whole when it is the last.
func (a *assembly) add(p part) ([]byte, bool, error) {
	a.bytes += len(p.bytes)
	if a.bytes > a.limit || len(a.whole) > callsMax {
		return nil, false, fmt.Errorf("more than %d bytes, or %d calls, are under way", a.limit, callsMax)
	}
	a.whole[p.number] = append(a.whole[p.number], p.bytes...)
	if !p.last {
		return nil, false, nil
	}
	whole := a.whole[p.number]
	delete(a.whole, p.number)
	a.bytes -= len(whole)
	return whole, true, nil
}

// forget drops what there is of a whole that nobody wants any more.
func (a *assembly) forget(number uint64) {
	a.bytes -= len(a.whole[number])
	delete(a.whole, number)
}

// Of what is being put together on one link.
const (
	callsBytesMax   = 4 * control.CallBytesMax
	answersBytesMax = 2 * control.AnswerBytesMax
)
