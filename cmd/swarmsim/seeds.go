package main

import (
	"fmt"
	"strconv"
	"strings"
)

// seedsMax is how many seeds one command plays.
const seedsMax = 10_000_000

// A seedRange is seeds from first to last, both included.
type seedRange struct{ first, last uint64 }

func (s *seedRange) String() string {
	if *s == (seedRange{}) {
		return ""
	}
	return fmt.Sprintf("%d..%d", s.first, s.last)
}

func (s *seedRange) Type() string { return "A..B" }

// Set reads A..B, or one seed.
func (s *seedRange) Set(text string) error {
	from, to, ranged := strings.Cut(text, "..")
	if !ranged {
		to = from
	}
	first, err := strconv.ParseUint(from, 0, 64)
	if err != nil {
		return fmt.Errorf("%q is no range of seeds: write two numbers as in 1..100", text)
	}
	last, err := strconv.ParseUint(to, 0, 64)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no range of seeds: write two numbers as in 1..100", text)
	case last < first:
		return fmt.Errorf("%q ends before it begins", text)
	case last-first >= seedsMax:
		return fmt.Errorf("%q is more than the %d seeds that are played at once", text, seedsMax)
	}
	s.first, s.last = first, last
	return nil
}
