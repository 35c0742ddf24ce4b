package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
)

const (
	stableMagic     = "swarmkv1"
	stableBytesMax  = 1 << 20
	stableKeysMax   = 1024
	stableFieldsMax = 64 << 10 // bytes of one key or value
)

// Stable holds a few small values, all of them in one file that is replaced as a
// whole: what one [Stable.Set] sets is durable together or not at all.
type Stable struct {
	fs     FS
	name   string
	mu     sync.Mutex
	values map[string][]byte
	failed error
}

// OpenStable reads the values in the file, of which there are none if there is
// no file. A damaged file is a [CorruptError].
func OpenStable(fsys FS, name string) (*Stable, error) {
	s := &Stable{fs: fsys, name: name, values: map[string][]byte{}}
	data, err := readFile(fsys, name, stableBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	values, wrong := decodeStable(data)
	if wrong != "" {
		return nil, &CorruptError{File: name, Reason: wrong}
	}
	s.values = values
	return s, nil
}

// Get returns a value, nil if it was never set. It must not be changed.
func (s *Stable) Get(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key]
}

// Set changes the values given, together, and returns when they are durable. It
// writes nothing if they are as they were.
func (s *Stable) Set(values map[string][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	next := maps.Clone(s.values)
	for key, value := range values {
		next[key] = slices.Clone(value)
	}
	if maps.EqualFunc(next, s.values, slices.Equal) {
		return nil
	}
	data := encodeStable(next)
	if _, wrong := decodeStable(data); wrong != "" {
		return fmt.Errorf("set values in %s: %s", s.name, wrong)
	}
	if err := replaceFile(s.fs, s.name, data); err != nil {
		s.failed = fmt.Errorf("the values in %s cannot be changed until swarmd is started again, because a write failed: %w", s.name, err)
		return s.failed
	}
	s.values = next
	return nil
}

// Clear forgets all values, durably.
func (s *Stable) Clear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	if err := replaceFile(s.fs, s.name, encodeStable(nil)); err != nil {
		s.failed = fmt.Errorf("the values in %s cannot be changed until swarmd is started again, because a write failed: %w", s.name, err)
		return s.failed
	}
	s.values = map[string][]byte{}
	return nil
}

// encodeStable writes magic, checksum of what follows, and for each key in order
// the lengths of key and value and the two.
func encodeStable(values map[string][]byte) []byte {
	b := append([]byte(stableMagic), 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(values)))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(key)))
		b = append(b, key...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(values[key])))
		b = append(b, values[key]...)
	}
	binary.LittleEndian.PutUint32(b[8:], checksum(0, b[12:]))
	return b
}

func decodeStable(b []byte) (values map[string][]byte, wrong string) {
	if len(b) > stableBytesMax {
		return nil, fmt.Sprintf("it would have more than %d bytes", stableBytesMax)
	}
	if len(b) < 16 || string(b[:8]) != stableMagic {
		return nil, "it is not a file of values"
	}
	if binary.LittleEndian.Uint32(b[8:]) != checksum(0, b[12:]) {
		return nil, "it has a wrong checksum"
	}
	count := binary.LittleEndian.Uint32(b[12:])
	if count > stableKeysMax {
		return nil, fmt.Sprintf("it would have more than %d values", stableKeysMax)
	}
	values = make(map[string][]byte, count)
	rest := b[16:]
	field := func() (f []byte, ok bool) {
		if len(rest) < 4 {
			return nil, false
		}
		n := binary.LittleEndian.Uint32(rest)
		if n > stableFieldsMax || int(n) > len(rest)-4 {
			return nil, false
		}
		f, rest = rest[4:4+n:4+n], rest[4+n:]
		return f, true
	}
	for range count {
		key, ok := field()
		value, ok2 := field()
		if !ok || !ok2 {
			return nil, fmt.Sprintf("a key or value is cut short or has more than %d bytes", stableFieldsMax)
		}
		values[string(key)] = value
	}
	if len(rest) != 0 || len(values) != int(count) {
		return nil, "it has more in it than values"
	}
	return values, ""
}
