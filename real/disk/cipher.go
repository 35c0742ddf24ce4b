package disk

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// What is sealed is longer by so many bytes.
const (
	sealKeyBytes   = 32
	sealNonceBytes = 24
	sealTagBytes   = 16
	sealBytes      = sealNonceBytes + sealTagBytes
)

// errSealed says that something cannot be decrypted: it was damaged, or encrypted
// with another key, or is from another place.
var errSealed = errors.New("it cannot be decrypted: it is damaged, or was encrypted with another key")

// A sealer encrypts small things with XAES-256-GCM (C2SP): AES-256-GCM whose key
// is derived from the first half of a nonce of 24 random bytes, so that one key
// does for as many entries as a log can have.
type sealer struct {
	block  cipher.Block
	subkey [aes.BlockSize]byte // K1 of NIST SP 800-38B
}

func newSealer(key []byte) (*sealer, error) {
	if len(key) != sealKeyBytes {
		return nil, fmt.Errorf("the key of the raft data has %d bytes: %d are wanted", len(key), sealKeyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	s := &sealer{block: block}
	block.Encrypt(s.subkey[:], s.subkey[:])
	carry := byte(0)
	for i := len(s.subkey) - 1; i >= 0; i-- {
		s.subkey[i], carry = s.subkey[i]<<1|carry, s.subkey[i]>>7
	}
	s.subkey[aes.BlockSize-1] ^= carry * 0x87
	return s, nil
}

// aead is the cipher for one nonce.
func (s *sealer) aead(nonce []byte) (cipher.AEAD, error) {
	key := make([]byte, 0, sealKeyBytes)
	for counter := byte(1); counter <= 2; counter++ {
		m := [aes.BlockSize]byte{0, counter, 'X', 0}
		copy(m[4:], nonce[:sealNonceBytes/2])
		for i := range m {
			m[i] ^= s.subkey[i]
		}
		s.block.Encrypt(m[:], m[:])
		key = append(key, m[:]...)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal returns what open makes plain again, in the same place only.
func (s *sealer) seal(plain, place []byte) ([]byte, error) {
	sealed := make([]byte, sealNonceBytes, sealBytes+len(plain))
	if _, err := rand.Read(sealed); err != nil {
		return nil, err
	}
	aead, err := s.aead(sealed)
	if err != nil {
		return nil, err
	}
	return aead.Seal(sealed, sealed[sealNonceBytes/2:sealNonceBytes], plain, place), nil
}

func (s *sealer) open(sealed, place []byte) ([]byte, error) {
	if len(sealed) < sealBytes {
		return nil, errSealed
	}
	nonce := sealed[:sealNonceBytes]
	aead, err := s.aead(nonce)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nonce[sealNonceBytes/2:], sealed[sealNonceBytes:], place)
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

// bodyCipher is the cipher for one body that is encrypted in chunks.
func bodyCipher(key, salt []byte, place string) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, key, salt, place, sealKeyBytes)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
