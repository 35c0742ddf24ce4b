package disk

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openSealed(t *testing.T, dir string, key byte) (*Storage, *Sealed, error) {
	t.Helper()
	storage, err := OpenStorage(OS{}, dir, StorageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := storage.Seal(bytes.Repeat([]byte{key}, sealKeyBytes))
	return storage, sealed, err
}

// The cipher is C2SP's XAES-256-GCM, by its own first test vector.
func TestCipher(t *testing.T) {
	s, err := newSealer(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
	aead, err := s.aead(nonce)
	if err != nil {
		t.Fatal(err)
	}
	got := hex.EncodeToString(aead.Seal(nil, nonce[12:], []byte("XAES-256-GCM"), nil))
	if want := "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What is stored comes back after a restart; nothing of it is on the disk in
// clear, and with another key there is nothing.
func TestSealed(t *testing.T) {
	dir := t.TempDir()
	storage, sealed, err := openSealed(t, dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("the secret of the swarm")
	if err := sealed.Log.Append(1, [][]byte{secret, {}, append([]byte("another: "), secret...)}); err != nil {
		t.Fatal(err)
	}
	if err := sealed.Stable.Set(map[string][]byte{"vote": secret, "term": {7}}); err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat(secret, 10_000)
	snapshot(t, sealed, "0001", secret, body)
	if err := storage.Close(); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("secret of")) {
			t.Errorf("%s has a secret in clear", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	storage, sealed, err = openSealed(t, dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sealed.Log.Read(3); err != nil || string(got) != "another: "+string(secret) {
		t.Errorf("entry 3 is %q, %v", got, err)
	}
	if got, err := sealed.Log.Read(2); err != nil || len(got) != 0 {
		t.Errorf("entry 2 is %q, %v", got, err)
	}
	if _, err := sealed.Log.Read(4); !errors.Is(err, ErrNoEntry) {
		t.Error(err)
	}
	if got := sealed.Stable.Get("vote"); !bytes.Equal(got, secret) {
		t.Errorf("the vote is %q", got)
	}
	about, size, got, err := readSnapshot(sealed, "0001")
	if err != nil || !bytes.Equal(about, secret) || size != int64(len(body)) || !bytes.Equal(got, body) {
		t.Errorf("the snapshot has %d bytes, said to be %d, about %q, %v", len(got), size, about, err)
	}
	if err := storage.Close(); err != nil {
		t.Fatal(err)
	}

	storage, _, err = openSealed(t, dir, 2)
	if err == nil || !strings.Contains(err.Error(), "it cannot be decrypted") {
		t.Errorf("another key: %v", err)
	}
	if err := errors.Join(storage.Clear(), storage.Close()); err != nil {
		t.Fatal(err)
	}
	storage, _, err = openSealed(t, dir, 2)
	if err := errors.Join(err, storage.Close()); err != nil {
		t.Errorf("cleared, it takes another key: %v", err)
	}
}

// Bodies of all lengths about a chunk's are told their right size, and cut short,
// or with chunks in another order, they are not read.
func TestSealedBody(t *testing.T) {
	storage, sealed, err := openSealed(t, t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close() //nolint:errcheck // a test's
	for i, length := range []int{0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1, 3*chunkBytes - 1, 3 * chunkBytes} {
		name := fmt.Sprintf("%04d", i)
		body := make([]byte, length)
		for at := range body {
			body[at] = byte(at >> 8)
		}
		snapshot(t, sealed, name, nil, body)
		_, told, err := sealed.Snapshots.About(name)
		if err != nil || told != int64(length) {
			t.Errorf("length %d: told %d, %v", length, told, err)
		}
		if _, size, got, err := readSnapshot(sealed, name); err != nil || size != int64(length) || !bytes.Equal(got, body) {
			t.Errorf("length %d: %d bytes, said to be %d, %v", length, len(got), size, err)
		}
	}
	_, _, raw, err := storage.Snapshots.Open("0006")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(raw)
	if err := errors.Join(err, raw.Close()); err != nil {
		t.Fatal(err)
	}
	const sealedChunk = chunkBytes + sealTagBytes
	swapped := bytes.Clone(whole)
	copy(swapped[bodySaltBytes:], whole[bodySaltBytes+sealedChunk:bodySaltBytes+2*sealedChunk])
	copy(swapped[bodySaltBytes+sealedChunk:], whole[bodySaltBytes:bodySaltBytes+sealedChunk])
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-1] ^= 1
	about, err := sealed.Snapshots.sealer.seal(nil, aboutPlace("0009"))
	if err != nil {
		t.Fatal(err)
	}
	for what, body := range map[string][]byte{
		"without its last chunk": whole[:len(whole)-sealedChunk], "in another order": swapped,
		"damaged": flipped, "of another name": whole,
	} {
		w, err := storage.Snapshots.Create("0009", about)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := readSnapshot(sealed, "0009"); !errors.Is(err, errSealed) {
			t.Errorf("a body %s: %v", what, err)
		}
	}
}

// An entry is where it was written, or nowhere.
func TestSealedPlace(t *testing.T) {
	storage, sealed, err := openSealed(t, t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close() //nolint:errcheck // a test's
	if err := sealed.Log.Append(1, [][]byte{[]byte("one")}); err != nil {
		t.Fatal(err)
	}
	raw, err := storage.Log.Read(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := storage.Log.Append(2, [][]byte{raw, []byte("clear")}); err != nil {
		t.Fatal(err)
	}
	for index := uint64(2); index <= 3; index++ {
		if _, err := sealed.Log.Read(index); !errors.Is(err, errSealed) {
			t.Errorf("entry %d: %v", index, err)
		}
	}
}

func snapshot(t *testing.T, s *Sealed, name string, about, body []byte) {
	t.Helper()
	w, err := s.Snapshots.Create(name, about)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func readSnapshot(s *Sealed, name string) (about []byte, size int64, body []byte, err error) {
	about, size, r, err := s.Snapshots.Open(name)
	if err != nil {
		return nil, 0, nil, err
	}
	body, err = io.ReadAll(r)
	return about, size, body, errors.Join(err, r.Close())
}

// Entries are sealed as fast as no disk takes them in.
func BenchmarkSeal(b *testing.B) {
	s, err := newSealer(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		b.Fatal(err)
	}
	entry := make([]byte, 512)
	b.SetBytes(int64(len(entry)))
	for b.Loop() {
		if _, err := s.seal(entry, []byte("entry 1")); err != nil {
			b.Fatal(err)
		}
	}
}
