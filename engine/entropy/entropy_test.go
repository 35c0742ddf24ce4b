package entropy_test

import (
	"math/big"
	"regexp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/engine/entropy"
)

// The same seed mints the same identifiers, another seed others, and none twice.
func TestSeedDecides(t *testing.T) {
	mint := func(seed byte) []string {
		s := entropy.New(entropy.Seed{seed})
		return []string{s.ID(), s.Secret(), s.ContainerID(), string(s.Bytes(9)), s.ID()}
	}
	first, again, other := mint(1), mint(1), mint(2)
	if !slices.Equal(first, again) {
		t.Errorf("one seed minted %q, then %q", first, again)
	}
	for i := range first {
		if first[i] == other[i] {
			t.Errorf("two seeds minted %q", first[i])
		}
	}
	if first[0] == first[4] {
		t.Errorf("%q was minted twice", first[0])
	}
}

// Identifiers have Docker's form, and are what the slow way of writing the same
// 128 bits gives.
func TestForm(t *testing.T) {
	id, container := regexp.MustCompile(`^[0-9a-z]{25}$`), regexp.MustCompile(`^[0-9a-f]{64}$`)
	rapid.Check(t, func(t *rapid.T) {
		var seed entropy.Seed
		copy(seed[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed"))
		s, bits := entropy.New(seed), entropy.New(seed)
		got := s.ID()
		words := bits.Bytes(16) // two words of 64 bits, the lowest byte first
		slices.Reverse(words[:8])
		slices.Reverse(words[8:])
		want := new(big.Int).SetBytes(words).Text(36)
		for len(want) < 25 {
			want = "0" + want
		}
		if got != want || !id.MatchString(got) {
			t.Fatalf("%q, want %q", got, want)
		}
		if c := s.ContainerID(); !container.MatchString(c) {
			t.Fatalf("%q is no container's identifier", c)
		}
		n := rapid.Uint64Min(1).Draw(t, "n")
		if v := s.Uint64N(n); v >= n {
			t.Fatalf("%d of %d", v, n)
		}
	})
}

func BenchmarkID(b *testing.B) {
	s := entropy.New(entropy.Seed{1})
	b.ReportAllocs()
	for b.Loop() {
		s.ID()
	}
}
