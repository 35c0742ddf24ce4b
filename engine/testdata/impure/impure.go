// Package impure has one of everything that the purity test must find.
package impure

import (
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"
)

var counter int // want package variable counter

var errFine error

func spawn(m map[string]int) {
	go spawn(m)         // want go statement
	c := make(chan int) // want channel type
	c <- 1              // want channel send
	select {            // want select
	default:
	}
	for range m { // want range over a map
		counter++
	}
	_ = slices.Collect(maps.Keys(m)) // want maps.Keys outside slices.Sorted
	_ = slices.Sorted(maps.Keys(m))
	at := time.Now()      // want time.Now is impure
	_ = at.Local()        // want time.Time).Local is impure
	_ = rand.IntN(3)      // want math/rand/v2.IntN is impure
	_ = os.Getenv("HOME") // want os.Getenv is impure
	var mu sync.Mutex
	mu.Lock() // want sync.Mutex).Lock is impure
	_ = rand.New(rand.NewPCG(1, 2)).IntN(3)
	_ = errFine
	_ = at.After(at)
}

func unordered(m map[string]int) (sum int) {
	for _, n := range m {
		sum += n
	}
	return sum
}
