package sandbox

import (
	"context"
	"encoding/binary"
	"math"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"

	"github.com/swarmd/swarmd/sim"
)

// Files that a process has open.
const (
	fileOut   = 1
	fileErr   = 2
	fileInbox = 3
)

// Numbers of wasi_snapshot_preview1.
const (
	errnoSuccess = 0
	errnoAgain   = 6
	errnoBadf    = 8

	typeCharacterDevice = 2
	typeSocketStream    = 6
	flagNonblock        = 4

	clockRealtime = 0

	subscriptionBytes = 48
	eventBytes        = 32
	eventClock        = 0
	eventRead         = 1
	clockAbsolute     = 1
	maxSubscriptions  = 64
)

// A call is an import: its parameters are replaced with its result.
type call func(i *instance, m api.Memory, s []uint64)

func export(b wazero.HostModuleBuilder, name string, f call, parameters, results []api.ValueType) {
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, m api.Module, s []uint64) {
		for n, kind := range parameters {
			if kind == api.ValueTypeI32 { // the upper half is whatever was there
				s[n] &= math.MaxUint32
			}
		}
		f(of(ctx), m.Memory(), s)
	}), parameters, results).Export(name)
}

// exportSystem replaces what a process could see the outside by.
func exportSystem(b wazero.HostModuleBuilder) {
	const i32, i64 = api.ValueTypeI32, api.ValueTypeI64
	errno := []api.ValueType{i32}
	export(b, "clock_time_get", clockTimeGet, []api.ValueType{i32, i64, i32}, errno)
	export(b, "random_get", randomGet, []api.ValueType{i32, i32}, errno)
	export(b, "fd_fdstat_get", statGet, []api.ValueType{i32, i32}, errno)
	export(b, "fd_fdstat_set_flags", func(_ *instance, _ api.Memory, s []uint64) { s[0] = errnoSuccess }, []api.ValueType{i32, i32}, errno)
	export(b, "fd_prestat_get", func(_ *instance, _ api.Memory, s []uint64) { s[0] = errnoBadf }, []api.ValueType{i32, i32}, errno)
	export(b, "fd_read", read, []api.ValueType{i32, i32, i32, i32}, errno)
	export(b, "fd_write", write, []api.ValueType{i32, i32, i32, i32}, errno)
	export(b, "poll_oneoff", pollOneoff, []api.ValueType{i32, i32, i32, i32}, errno)
	export(b, "sched_yield", func(_ *instance, _ api.Memory, s []uint64) { s[0] = errnoSuccess }, nil, errno)
}

// exportOwn is what sim/guest calls beside.
func exportOwn(b wazero.HostModuleBuilder) {
	const i32, i64 = api.ValueTypeI32, api.ValueTypeI64
	export(b, "tell", tell, []api.ValueType{i32, i32}, nil)
	export(b, "disk", disk, []api.ValueType{i32, i32, i32, i32, i32, i32, i64}, []api.ValueType{i64})
}

// bytesAt is a process's memory. One that names memory it does not have is beyond
// help, and ends as it would by touching it.
func bytesAt(m api.Memory, at, size uint64) []byte {
	b, ok := m.Read(uint32(at), uint32(size))
	if !ok {
		exit(exitSegmentation)
	}
	return b
}

// exit ends the process from within a call of it, as wazero wants to be told.
func exit(code uint32) {
	panic(sys.NewExitError(code)) //nolint:forbidigo // the only way out of a call; wazero recovers it
}

// exitSegmentation is the exit code of a process that has touched what is not its
// own, as shells have it.
const exitSegmentation = 139

func clockTimeGet(i *instance, m api.Memory, s []uint64) {
	now := i.system.Monotonic()
	if s[0] == clockRealtime {
		now = i.system.Wall()
	}
	binary.LittleEndian.PutUint64(bytesAt(m, s[2], 8), uint64(now))
	s[0] = errnoSuccess
}

func randomGet(i *instance, m api.Memory, s []uint64) {
	i.system.Random(bytesAt(m, s[0], s[1]))
	s[0] = errnoSuccess
}

// statGet describes a file: the inbox is a socket, so that it can be waited for.
func statGet(_ *instance, m api.Memory, s []uint64) {
	if int32(s[0]) > fileInbox {
		s[0] = errnoBadf
		return
	}
	stat := bytesAt(m, s[1], 24)
	clear(stat)
	stat[0] = typeCharacterDevice
	if int32(s[0]) == fileInbox {
		stat[0], stat[2] = typeSocketStream, flagNonblock
	}
	for i := 8; i < len(stat); i++ {
		stat[i] = 0xff // every right
	}
	s[0] = errnoSuccess
}

// vectors are the buffers of a call that reads or writes.
func vectors(m api.Memory, at, count uint64, do func(b []byte) int) (total uint32) {
	for v := range count {
		vector := bytesAt(m, at+8*v, 8)
		total += uint32(do(bytesAt(m, uint64(binary.LittleEndian.Uint32(vector)), uint64(binary.LittleEndian.Uint32(vector[4:])))))
	}
	return total
}

func read(i *instance, m api.Memory, s []uint64) {
	total := uint32(0)
	if int32(s[0]) == fileInbox {
		if i.system.Waiting() == 0 {
			s[0] = errnoAgain
			return
		}
		total = vectors(m, s[1], s[2], i.system.Read)
	}
	binary.LittleEndian.PutUint32(bytesAt(m, s[3], 4), total)
	s[0] = errnoSuccess
}

func write(i *instance, m api.Memory, s []uint64) {
	file := int32(s[0])
	total := vectors(m, s[1], s[2], func(b []byte) int {
		if file == fileOut || file == fileErr {
			i.output = append(i.output, b[:min(len(b), outputBytesMax-len(i.output))]...)
		}
		return len(b)
	})
	binary.LittleEndian.PutUint32(bytesAt(m, s[3], 4), total)
	s[0] = errnoSuccess
}

// A subscription is something that a process waits for.
type subscription struct {
	user uint64
	kind byte
}

// pollOneoff waits until the first of some things has come. A process waits
// nowhere else.
func pollOneoff(i *instance, m api.Memory, s []uint64) {
	in, out, count, stored := s[0], s[1], min(s[2], maxSubscriptions), s[3]
	wake := int64(math.MaxInt64)
	reads := false
	for n := range count {
		b := bytesAt(m, in+n*subscriptionBytes, subscriptionBytes)
		i.poll[n] = subscription{binary.LittleEndian.Uint64(b), b[8]}
		switch b[8] {
		case eventClock:
			at := int64(binary.LittleEndian.Uint64(b[24:]))
			if b[40]&clockAbsolute == 0 {
				at += i.system.Monotonic()
			}
			wake = min(wake, at)
		case eventRead:
			reads = true
		}
	}
	for (!reads || i.system.Waiting() == 0) && wake > i.system.Monotonic() {
		if !i.rest(wake) {
			exit(exitKilled)
		}
	}
	came := uint64(0)
	for n := range count {
		p := i.poll[n]
		due := p.kind == eventClock && wake <= i.system.Monotonic() || p.kind == eventRead && i.system.Waiting() > 0
		if !due {
			continue
		}
		b := bytesAt(m, out+came*eventBytes, eventBytes)
		clear(b)
		binary.LittleEndian.PutUint64(b, p.user)
		b[10] = p.kind
		if p.kind == eventRead {
			binary.LittleEndian.PutUint64(b[16:], uint64(i.system.Waiting()))
		}
		came++
	}
	binary.LittleEndian.PutUint32(bytesAt(m, stored, 4), uint32(came))
	s[0] = errnoSuccess
}

func tell(i *instance, m api.Memory, s []uint64) { i.system.Tell(bytesAt(m, s[0], s[1])) }

func disk(i *instance, m api.Memory, s []uint64) {
	name := bytesAt(m, s[2], s[3])
	result, alive := i.system.Disk(sim.DiskCall{
		Call: uint32(s[0]), Handle: uint32(s[1]), Name: string(name), Data: bytesAt(m, s[4], s[5]), Offset: int64(s[6]),
	})
	if !alive {
		exit(exitKilled)
	}
	s[0] = uint64(result)
}
