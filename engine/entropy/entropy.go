// Package entropy mints identifiers and secrets from a seed, so that the same
// seed mints the same ones. In production the seed is drawn from the operating
// system; ChaCha8 expands it, so what is minted is as unpredictable as the seed.
package entropy

import (
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"math/rand/v2"
	"strings"
)

// A Seed is 256 bits of entropy.
type Seed [32]byte

// A Source mints. It is not safe for concurrent use.
type Source struct{ chacha *rand.ChaCha8 }

// New returns a source that is a function of seed alone.
func New(seed Seed) *Source { return &Source{chacha: rand.NewChaCha8(seed)} }

// ID mints an identifier in Docker's form: a random number of 128 bits, in base
// 36, 25 characters long.
func (s *Source) ID() string { return s.base36(16, 25) }

// Secret mints the secret part of a join token: 128 bits as 25 characters of
// base 36.
func (s *Source) Secret() string { return s.base36(16, 25) }

// ContainerID mints a container's identifier: 64 hexadecimal digits.
func (s *Source) ContainerID() string {
	var b [32]byte
	s.fill(b[:])
	return hex.EncodeToString(b[:])
}

// Bytes mints n random bytes.
func (s *Source) Bytes(n int) []byte {
	b := make([]byte, n)
	s.fill(b)
	return b
}

// Uint64N returns a number in [0, n), which must not be 0.
func (s *Source) Uint64N(n uint64) uint64 {
	return rand.New(s.chacha).Uint64N(n)
}

func (s *Source) fill(b []byte) {
	var word [8]byte
	for len(b) > 0 {
		binary.LittleEndian.PutUint64(word[:], s.chacha.Uint64())
		b = b[copy(b, word[:]):]
	}
}

// base36 mints size random bytes and writes them as width digits of base 36.
func (s *Source) base36(size, width int) string {
	if size == 16 {
		return s.base36of128(width)
	}
	text := new(big.Int).SetBytes(s.Bytes(size)).Text(36)
	return strings.Repeat("0", max(0, width-len(text))) + text
}

// base36of128 is base36 for 128 bits without big numbers: identifiers are
// minted a hundred thousand at a time.
func (s *Source) base36of128(width int) string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	const chunk = 36 * 36 * 36 * 36 * 36 * 36 // keeps the remainder's product within 64 bits
	words := [4]uint64{}
	for i := 0; i < 4; i += 2 {
		w := s.chacha.Uint64()
		words[i], words[i+1] = w>>32, w&0xffffffff
	}
	out := [26]byte{}
	for i := range out {
		out[i] = '0'
	}
	for at := width; at > 0; {
		var rest uint64
		for i := range words {
			v := rest<<32 | words[i]
			words[i], rest = v/chunk, v%chunk
		}
		for d := 0; d < 6 && at > 0; d++ {
			at--
			out[at] = digits[rest%36]
			rest /= 36
		}
	}
	return string(out[:width])
}
