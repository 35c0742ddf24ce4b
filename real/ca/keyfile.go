package ca

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// The node's key is a PKCS#8 key as PEM, with headers that swarmkit has too: the
// key of the raft data, and a version of the unlock key, which encrypts both when
// managers are to be locked.
const (
	blockPlain     = "PRIVATE KEY"
	blockEncrypted = "ENCRYPTED PRIVATE KEY"
	headerVersion  = "kek-version"
	headerData     = "raft-dek"
	dataKeyBytes   = 32
)

// Errors of a key file that is locked.
var (
	// ErrLocked says that an unlock key is needed.
	ErrLocked = errors.New("the node's key is locked")
	// ErrUnlockKey says that the unlock key is not the right one.
	ErrUnlockKey = errors.New("the unlock key is not the one that the node's key is locked with")
)

// A Lock is what a node's key file holds beside the node's key.
type Lock struct {
	// Data is the key of the raft data; nil on a node that does not manage.
	Data []byte
	// Unlock encrypts the file; nil leaves it open.
	Unlock []byte
	// Version says how new Unlock is: greater is newer.
	Version uint64
}

// NewDataKey makes a key for raft data.
func NewDataKey() ([]byte, error) {
	key := make([]byte, dataKeyBytes)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make the key of the raft data: %w", err)
	}
	return key, nil
}

// Locked reports whether the key file in dir needs an unlock key.
func Locked(dir string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(dir, keyFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the node's key: %w", err)
	}
	block, _ := pem.Decode(text)
	return block != nil && block.Type == blockEncrypted, nil
}

// encodeKeyFile writes a node's key, PEM, with its lock.
func encodeKeyFile(key []byte, l Lock) ([]byte, error) {
	private, err := decodeKey(key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("encode the node's key: %w", err)
	}
	block := &pem.Block{Type: blockPlain, Bytes: der, Headers: map[string]string{headerVersion: strconv.FormatUint(l.Version, 10)}}
	if l.Unlock != nil {
		block.Type = blockEncrypted
		if block.Bytes, err = encryptPKCS8(der, l.Unlock); err != nil {
			return nil, err
		}
	}
	if l.Data != nil {
		wrapped, err := wrapKey(l.Data, l.Unlock)
		if err != nil {
			return nil, err
		}
		block.Headers[headerData] = base64.StdEncoding.EncodeToString(wrapped)
	}
	return pem.EncodeToMemory(block), nil
}

// decodeKeyFile reads a node's key, as PEM without headers, and its lock.
func decodeKeyFile(text, unlock []byte) (key []byte, l Lock, err error) {
	if len(text) > pemBytesMax {
		return nil, l, fmt.Errorf("%d bytes are too many for a key", len(text))
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, l, errors.New("that is no PEM of a key")
	}
	der := block.Bytes
	if block.Type == blockEncrypted {
		if unlock == nil {
			return nil, l, ErrLocked
		}
		if der, err = decryptPKCS8(block.Bytes, unlock); errors.Is(err, errDecrypt) {
			return nil, l, ErrUnlockKey
		}
		if err != nil {
			return nil, l, err
		}
		l.Unlock = bytes.Clone(unlock)
	}
	private, err := parseKey(block.Type, der)
	if err != nil {
		if l.Unlock != nil { // the padding was right by chance
			err = ErrUnlockKey
		}
		return nil, l, err
	}
	if text, ok := block.Headers[headerVersion]; ok {
		if l.Version, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, l, fmt.Errorf("the header %s: %w", headerVersion, err)
		}
	}
	if text, ok := block.Headers[headerData]; ok {
		wrapped, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, l, fmt.Errorf("the header %s: %w", headerData, err)
		}
		if l.Data, err = unwrapKey(wrapped, l.Unlock); err != nil {
			return nil, l, err
		}
	}
	key, err = encodeKey(private)
	return key, l, err
}

func parseKey(kind string, der []byte) (*ecdsa.PrivateKey, error) {
	if kind == blockEC {
		return x509.ParseECPrivateKey(der)
	}
	if kind != blockPlain && kind != blockEncrypted {
		return nil, fmt.Errorf("a %s is no key", kind)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a %T is not of the kind ECDSA", parsed)
	}
	return key, nil
}

// A wrapped key is swarmkit's MaybeEncryptedRecord, a protocol buffer: how it is
// encrypted, the bytes, and the nonce. AES-256-GCM is ours; its number is none of
// swarmkit's.
const (
	wrapNone   = 0
	wrapAESGCM = 16

	fieldAlgorithm = 1 << 3
	fieldData      = 2<<3 | 2
	fieldNonce     = 3<<3 | 2
)

func wrapKey(key, unlock []byte) ([]byte, error) {
	data, nonce := key, []byte(nil)
	var record []byte
	if unlock != nil {
		aead, err := keyAEAD(unlock)
		if err != nil {
			return nil, err
		}
		nonce = make([]byte, aead.NonceSize())
		if _, err := rand.Read(nonce); err != nil {
			return nil, fmt.Errorf("encrypt the key of the raft data: %w", err)
		}
		data = aead.Seal(nil, nonce, key, []byte(headerData))
		record = append(record, fieldAlgorithm, wrapAESGCM)
	}
	record = append(binary.AppendUvarint(append(record, fieldData), uint64(len(data))), data...)
	if nonce != nil {
		record = append(binary.AppendUvarint(append(record, fieldNonce), uint64(len(nonce))), nonce...)
	}
	return record, nil
}

func unwrapKey(record, unlock []byte) ([]byte, error) {
	algorithm, data, nonce, ok := readRecord(record)
	if !ok {
		return nil, errors.New("the key of the raft data cannot be read")
	}
	switch {
	case algorithm == wrapNone && unlock == nil:
	case algorithm == wrapAESGCM && unlock != nil:
		aead, err := keyAEAD(unlock)
		if err != nil {
			return nil, err
		}
		if len(nonce) != aead.NonceSize() {
			return nil, errors.New("the key of the raft data has a nonce of a wrong length")
		}
		if data, err = aead.Open(nil, nonce, data, []byte(headerData)); err != nil {
			return nil, ErrUnlockKey
		}
	default:
		return nil, fmt.Errorf("the key of the raft data is encrypted in a way (%d) that is not known", algorithm)
	}
	if len(data) != dataKeyBytes {
		return nil, fmt.Errorf("the key of the raft data has %d bytes: %d are wanted", len(data), dataKeyBytes)
	}
	return data, nil
}

func readRecord(b []byte) (algorithm uint64, data, nonce []byte, ok bool) {
	for len(b) > 0 {
		field := b[0]
		value, n := binary.Uvarint(b[1:])
		if n <= 0 {
			return 0, nil, nil, false
		}
		b = b[1+n:]
		if field == fieldAlgorithm {
			algorithm = value
			continue
		}
		if value > uint64(len(b)) {
			return 0, nil, nil, false
		}
		switch field {
		case fieldData:
			data = b[:value]
		case fieldNonce:
			nonce = b[:value]
		default:
			return 0, nil, nil, false
		}
		b = b[value:]
	}
	return algorithm, data, nonce, true
}

// keyAEAD encrypts under an unlock key, as few times as an unlock key is changed.
func keyAEAD(unlock []byte) (cipher.AEAD, error) {
	if len(unlock) != aesKeyBytes {
		return nil, ErrUnlockKey
	}
	block, err := aes.NewCipher(unlock)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
