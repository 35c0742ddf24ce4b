package consensus

import "encoding/binary"

// stable is raft's StableStore on [Values].
type stable struct {
	values Values
	fatal  func(error)
	park   func() // see Log.park
}

// Set implements raft.StableStore.
func (s stable) Set(key, value []byte) error {
	return s.set(map[string][]byte{string(key): value})
}

// SetUint64 implements raft.StableStore.
func (s stable) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.LittleEndian.AppendUint64(nil, value))
}

// Get implements raft.StableStore. A value that was never set is nil.
func (s stable) Get(key []byte) ([]byte, error) { return s.values.Get(string(key)), nil }

// GetUint64 implements raft.StableStore. A value that was never set is 0.
func (s stable) GetUint64(key []byte) (uint64, error) {
	b := s.values.Get(string(key))
	if len(b) != 8 {
		return 0, nil
	}
	return binary.LittleEndian.Uint64(b), nil
}

func (s stable) set(values map[string][]byte) error {
	err := s.values.Set(values)
	if err != nil {
		s.fatal(err)
		s.park()
	}
	return err
}
