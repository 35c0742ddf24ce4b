package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/plan"
	"github.com/swarmd/swarmd/sim/sandbox"
)

// The worlds.
const (
	worldModel = "model" // engines in one thread; the log is a model of raft
	worldRaft  = "raft"  // each manager is production's code in a sandbox; the log is real
	worldReal  = "real"  // hosts of this machine
)

// What managers of world raft run, beside swarmsim's own file.
const (
	guestFile     = "guest.wasm"
	unguardedFile = "guest-unguarded.wasm" // in which guards can be turned off
)

// A world is where scenarios are played.
type world struct {
	name      string
	program   *sandbox.Program // nil in world model
	other     *sandbox.Program // nil if there is no other build
	unguarded []string
	verbose   bool
}

// shape makes a world out of the shape of a swarm.
func (w world) shape(c *sim.Config) {
	if w.program != nil {
		c.Program, c.Unguarded, c.Verbose = w.program, w.unguarded, w.verbose
	}
	if w.other != nil {
		c.Other = w.other
	}
}

// stage is how plans are played there.
func (w world) stage() plan.Stage { return plan.Stage{Parser: parser{}, Shape: w.shape} }

// close lets go of what the world runs.
func (w world) close() error {
	var failed []error
	for _, p := range []*sandbox.Program{w.program, w.other} {
		if p != nil {
			failed = append(failed, p.Close())
		}
	}
	return errors.Join(failed...)
}

// A worldChoice is what the command line says of the world.
type worldChoice struct {
	name, guest, other string
	unguarded          []string
	verbose            bool
	real               bool // the command can play in the real world too
}

func (f *worldChoice) add(flags *pflag.FlagSet) {
	words := ""
	if f.real {
		words = ", or real, on hosts of this machine"
	}
	flags.StringVar(&f.name, "world", worldModel, "world to play in: model, simulated in one thread; raft, the same with managers that run production's code in sandboxes"+words)
	flags.StringVar(&f.guest, "guest", "", "what managers of world raft run (default "+guestFile+" beside swarmsim)")
	flags.StringVar(&f.other, "other-guest", "", "another build of what managers run, for stories that install it")
	flags.StringSliceVar(&f.unguarded, "unguarded", nil, "turn off guards against faults of hashicorp/raft: heartbeat, vote, livelock, transfer, stall, notify, barrier")
	flags.BoolVar(&f.verbose, "guest-log", false, "have what managers of world raft log be in the trace")
}

// open makes the world ready.
func (f *worldChoice) open() (world, error) {
	switch {
	case f.name != worldRaft && (f.guest != "" || f.other != "" || len(f.unguarded) > 0 || f.verbose):
		return world{}, errors.New("--guest, --other-guest, --unguarded and --guest-log are for --world raft")
	case f.name == worldModel, f.name == worldReal && f.real:
		return world{name: f.name}, nil
	case f.name != worldRaft:
		all := worldModel + ", " + worldRaft
		if f.real {
			all += ", " + worldReal
		}
		return world{}, fmt.Errorf("there is no world %q; there are: %s", f.name, all)
	}
	file, err := f.file()
	if err != nil {
		return world{}, err
	}
	cache, err := os.UserCacheDir()
	if err == nil {
		cache = filepath.Join(cache, "swarmsim")
	}
	w := world{name: worldRaft, unguarded: f.unguarded, verbose: f.verbose}
	if w.program, err = sandbox.Load(file, cache); err != nil || f.other == "" {
		return w, err
	}
	if w.other, err = sandbox.Load(f.other, cache); err != nil {
		return world{}, errors.Join(err, w.close())
	}
	return w, nil
}

// file is what managers run.
func (f *worldChoice) file() (string, error) {
	name, tags := guestFile, ""
	if len(f.unguarded) > 0 {
		name, tags = unguardedFile, "-tags unguarded "
	}
	file := f.guest
	if file == "" {
		own, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("swarmsim's own file cannot be found, beside which %s is: %w; give that with --guest", name, err)
		}
		file = filepath.Join(filepath.Dir(own), name)
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no %s: make build makes it (GOOS=wasip1 GOARCH=wasm go build %s-o %s ./sim/guest)", file, tags, file)
	}
	return file, nil
}

// flags are what plays in the same world once more.
func (w world) flags() string {
	if w.name != worldRaft {
		return ""
	}
	s := "--world " + w.name + " "
	if len(w.unguarded) > 0 {
		s += "--unguarded " + strings.Join(w.unguarded, ",") + " "
	}
	if w.other != nil {
		s += "--other-guest FILE "
	}
	return s
}
