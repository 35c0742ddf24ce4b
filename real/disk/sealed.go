package disk

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
)

// Sealed is a storage of which nothing can be read, or changed unnoticed, without
// a key: entries, values, and snapshots with their descriptions. What can be seen
// is how many there are, how long, and the names of values.
type Sealed struct {
	Log       *SealedLog
	Stable    *SealedStable
	Snapshots *SealedSnapshots
}

// Seal returns the storage as it is with a key of 32 bytes. All that is in it must
// have been written with that key.
func (s *Storage) Seal(key []byte) (*Sealed, error) {
	of, err := newSealer(key)
	if err != nil {
		return nil, err
	}
	stable, err := sealStable(s.Stable, of)
	if err != nil {
		return nil, err
	}
	return &Sealed{
		Log: &SealedLog{s.Log, of}, Stable: stable,
		Snapshots: &SealedSnapshots{s.Snapshots, of, slices.Clone(key)},
	}, nil
}

// A SealedLog is a [Log] whose entries are encrypted.
type SealedLog struct {
	*Log
	sealer *sealer
}

// Append encrypts entries and appends them; see [Log.Append].
func (l *SealedLog) Append(first uint64, entries [][]byte) error {
	sealed := make([][]byte, len(entries))
	for i, e := range entries {
		var err error
		if sealed[i], err = l.sealer.seal(e, entryPlace(first+uint64(i))); err != nil {
			return fmt.Errorf("encrypt entry %d of the log: %w", first+uint64(i), err)
		}
	}
	return l.Log.Append(first, sealed)
}

// Read returns an entry; see [Log.Read].
func (l *SealedLog) Read(index uint64) ([]byte, error) {
	sealed, err := l.Log.Read(index)
	if err != nil {
		return nil, err
	}
	plain, err := l.sealer.open(sealed, entryPlace(index))
	if err != nil {
		return nil, fmt.Errorf("entry %d of the log in %s: %w", index, l.dir, err)
	}
	return plain, nil
}

func entryPlace(index uint64) []byte { return strconv.AppendUint([]byte("entry "), index, 10) }

// A SealedStable is a [Stable] whose values are encrypted.
type SealedStable struct {
	stable *Stable
	sealer *sealer
	mu     sync.Mutex
	values map[string][]byte // plain
}

func sealStable(stable *Stable, of *sealer) (*SealedStable, error) {
	s := &SealedStable{stable: stable, sealer: of, values: map[string][]byte{}}
	stable.mu.Lock()
	defer stable.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(stable.values)) {
		plain, err := of.open(stable.values[key], valuePlace(key))
		if err != nil {
			return nil, fmt.Errorf("the value %s in %s: %w", key, stable.name, err)
		}
		s.values[key] = plain
	}
	return s, nil
}

// Get returns a value; see [Stable.Get].
func (s *SealedStable) Get(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key]
}

// Set encrypts the values given and changes them; see [Stable.Set].
func (s *SealedStable) Set(values map[string][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sealed := map[string][]byte{}
	for key, value := range values {
		if old, ok := s.values[key]; ok && slices.Equal(old, value) {
			continue
		}
		var err error
		if sealed[key], err = s.sealer.seal(value, valuePlace(key)); err != nil {
			return fmt.Errorf("encrypt the value %s: %w", key, err)
		}
	}
	if err := s.stable.Set(sealed); err != nil {
		return err
	}
	for key := range sealed {
		s.values[key] = slices.Clone(values[key])
	}
	return nil
}

func valuePlace(key string) []byte { return []byte("value " + key) }

// The body of a sealed snapshot is a salt and chunks, each encrypted under a key
// of the snapshot's own with its number, and whether it is the last, for a nonce.
const (
	bodySaltBytes  = 32
	chunkBytes     = 64 << 10
	chunkNumberAt  = 3 // within the nonce
	chunkLastAt    = 11
	chunkNonceSize = 12
)

// SealedSnapshots are [Snapshots] whose bodies and descriptions are encrypted.
type SealedSnapshots struct {
	snapshots *Snapshots
	sealer    *sealer
	key       []byte
}

// List returns the names of the snapshots; see [Snapshots.List].
func (s *SealedSnapshots) List() []string { return s.snapshots.List() }

// Abort gives a snapshot up; see [Snapshots.Abort].
func (s *SealedSnapshots) Abort(name string) error { return s.snapshots.Abort(name) }

// Create begins a snapshot; see [Snapshots.Create].
func (s *SealedSnapshots) Create(name string, about []byte) (io.WriteCloser, error) {
	sealed, err := s.sealer.seal(about, aboutPlace(name))
	if err != nil {
		return nil, fmt.Errorf("encrypt the description of snapshot %s: %w", name, err)
	}
	salt := make([]byte, bodySaltBytes)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("encrypt snapshot %s: %w", name, err)
	}
	aead, err := bodyCipher(s.key, salt, bodyPlace(name))
	if err != nil {
		return nil, fmt.Errorf("encrypt snapshot %s: %w", name, err)
	}
	to, err := s.snapshots.Create(name, sealed)
	if err != nil {
		return nil, err
	}
	if _, err := to.Write(salt); err != nil {
		return nil, errors.Join(err, s.snapshots.Abort(name))
	}
	return &chunkWriter{to: to, aead: aead}, nil
}

// About returns the description of a snapshot and the length of its body; see
// [Snapshots.About].
func (s *SealedSnapshots) About(name string) (about []byte, size int64, err error) {
	sealed, size, err := s.snapshots.About(name)
	if err != nil {
		return nil, 0, err
	}
	return s.plain(name, sealed, size)
}

// Open returns the description and the body of a snapshot; see [Snapshots.Open].
// What is wrong with the encryption of the body shows when it is read.
func (s *SealedSnapshots) Open(name string) (about []byte, size int64, body io.ReadCloser, err error) {
	sealed, size, from, err := s.snapshots.Open(name)
	if err != nil {
		return nil, 0, nil, err
	}
	about, size, err = s.plain(name, sealed, size)
	salt := make([]byte, bodySaltBytes)
	if err == nil {
		_, err = io.ReadFull(from, salt)
	}
	var aead cipher.AEAD
	if err == nil {
		aead, err = bodyCipher(s.key, salt, bodyPlace(name))
	}
	if err != nil {
		return nil, 0, nil, errors.Join(err, from.Close())
	}
	return about, size, &chunkReader{from: from, aead: aead, name: name}, nil
}

func (s *SealedSnapshots) plain(name string, sealed []byte, size int64) (about []byte, plainSize int64, err error) {
	if about, err = s.sealer.open(sealed, aboutPlace(name)); err != nil {
		return nil, 0, fmt.Errorf("the description of snapshot %s: %w", name, err)
	}
	body := size - bodySaltBytes
	chunks := (body + chunkBytes + sealTagBytes - 1) / (chunkBytes + sealTagBytes)
	if plainSize = body - chunks*sealTagBytes; plainSize < 0 || chunks == 0 {
		return nil, 0, fmt.Errorf("snapshot %s: %w", name, errSealed)
	}
	return about, plainSize, nil
}

func aboutPlace(name string) []byte { return []byte("about " + name) }
func bodyPlace(name string) string  { return "snapshot " + name }

func chunkNonce(number uint64, last bool) []byte {
	nonce := make([]byte, chunkNonceSize)
	binary.BigEndian.PutUint64(nonce[chunkNumberAt:], number)
	if last {
		nonce[chunkLastAt] = 1
	}
	return nonce
}

// A chunkWriter encrypts what is written to it.
type chunkWriter struct {
	to     io.WriteCloser
	aead   cipher.AEAD
	number uint64
	plain  []byte // less than a chunk, or a whole one that may be the last
	sealed []byte
}

// Write appends to the body.
func (w *chunkWriter) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		if len(w.plain) == chunkBytes {
			if err := w.flush(false); err != nil {
				return n, err
			}
		}
		part := p[n:min(len(p), n+chunkBytes-len(w.plain))]
		w.plain = append(w.plain, part...)
		n += len(part)
	}
	return len(p), nil
}

// Close writes the last chunk, and makes the snapshot durable.
func (w *chunkWriter) Close() error {
	err := w.flush(true)
	return errors.Join(err, w.to.Close())
}

func (w *chunkWriter) flush(last bool) error {
	w.sealed = w.aead.Seal(w.sealed[:0], chunkNonce(w.number, last), w.plain, nil)
	w.number++
	w.plain = w.plain[:0]
	_, err := w.to.Write(w.sealed)
	return err
}

// A chunkReader decrypts what it reads.
type chunkReader struct {
	from   io.ReadCloser
	aead   cipher.AEAD
	name   string
	number uint64
	next   []byte // sealed, read ahead: the last is the one that nothing follows
	plain  []byte
	ended  bool
	err    error
}

// Read reads the body.
func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.plain) == 0 && r.err == nil {
		r.err = r.fill()
	}
	if len(r.plain) == 0 {
		return 0, r.err
	}
	n := copy(p, r.plain)
	r.plain = r.plain[n:]
	return n, nil
}

// Close lets go of the file.
func (r *chunkReader) Close() error { return r.from.Close() }

// fill decrypts the next chunk.
func (r *chunkReader) fill() error {
	if r.ended {
		return io.EOF
	}
	if r.next == nil {
		var err error
		if r.next, err = r.chunk(); err != nil {
			return err
		}
	}
	sealed := r.next
	var err error
	if r.next, err = r.chunk(); err != nil {
		return err
	}
	r.ended = len(r.next) == 0
	if r.plain, err = r.aead.Open(nil, chunkNonce(r.number, r.ended), sealed, nil); err != nil {
		return fmt.Errorf("snapshot %s: %w", r.name, errSealed)
	}
	r.number++
	return nil
}

// chunk reads a sealed chunk, of which the last may be short; an empty one is none.
func (r *chunkReader) chunk() ([]byte, error) {
	b := make([]byte, chunkBytes+sealTagBytes)
	n, err := io.ReadFull(r.from, b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return b[:n], nil
}
