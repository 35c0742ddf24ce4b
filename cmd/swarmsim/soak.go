//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/real/lab"
	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/check"
)

const (
	soakManagersMax = 7
	soakClientsMax  = 64
	soakEpoch       = 20 * time.Second // after which clients fight over other names
	soakNames       = 3                // that they fight over at one time
	soakThink       = 100 * time.Millisecond
	soakRest        = 2 * time.Minute // for the swarm to be whole again at the end
	soakHistory     = "soak-history.json"
)

type soakFlags struct {
	managers, workers, clients int
	length                     time.Duration
	seed                       uint64
	swarmd                     string
}

func newSoak(c console) *cobra.Command {
	f := &soakFlags{}
	cmd := &cobra.Command{
		Use:   "soak [OPTIONS]",
		Short: "See whether a real swarm stays linearizable while managers are killed, stopped and cut off",
		Long: `See whether a real swarm stays linearizable while managers are killed, stopped and cut off.

A lab is made, as with "lab up". Concurrent clients create, read, change and remove
services by every manager's API; meanwhile managers are killed and started again,
stopped for seconds, and cut off from the others, by both directions or one. At the
end all is healed and read once more by every manager. Porcupine then searches for an
order that explains all that clients were told: a write that was acknowledged and is
lost, or a read of what is no more, has none.

Exit codes: 0 linearizable, 1 not, 2 the lab could not be made.`,
		Example: "  swarmsim soak --for 10m\n  swarmsim soak --managers 5 --for 2m --seed 7",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runSoak(cmd.Context(), c, f) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.managers, "managers", 3, "how many hosts are managers")
	flags.IntVar(&f.workers, "workers", 0, "how many more are workers")
	flags.IntVar(&f.clients, "clients", 8, "how many clients there are")
	flags.DurationVar(&f.length, "for", time.Minute, "for how long")
	flags.Uint64Var(&f.seed, "seed", 1, "what faults and clients are drawn from; what comes of it is not the same twice")
	flags.StringVar(&f.swarmd, "swarmd", "", "the daemon's file (default: beside swarmsim, or on PATH)")
	return cmd
}

func (f *soakFlags) check() error {
	switch {
	case f.managers < 1 || f.managers > soakManagersMax:
		return fmt.Errorf("--managers is %d; 1 to %d can be had", f.managers, soakManagersMax)
	case f.workers < 0 || f.managers+f.workers > lab.HostsMax:
		return fmt.Errorf("a lab has at most %d hosts, not %d managers and %d workers", lab.HostsMax, f.managers, f.workers)
	case f.clients < 1 || f.clients > soakClientsMax:
		return fmt.Errorf("--clients is %d; 1 to %d can be had", f.clients, soakClientsMax)
	case f.length < time.Second:
		return fmt.Errorf("--for is %v; a second is the least", f.length)
	}
	return nil
}

// A soak is one run.
type soak struct {
	c       console
	f       *soakFlags
	cluster *lab.Cluster
	began   time.Time
	faults  map[string]int // by kind
	faulty  sync.Mutex     // guards faults

	mu         sync.Mutex
	operations []*sim.Operation
	acked      int           // writes
	lastAck    time.Duration // when the last was
	longest    time.Duration // without any
}

func runSoak(ctx context.Context, c console, f *soakFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	l := &labFlags{name: "soak-" + strconv.Itoa(os.Getpid())}
	up := &upFlags{managers: f.managers, workers: f.workers, swarmd: f.swarmd}
	if err := checkUp(l, up); err != nil {
		return err
	}
	cluster, err := lab.NewCluster(l.dirs())
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, cluster.Remove())
		_, _ = os.Remove(labsDir), os.Remove(labsDataDir) // if it was the last
	}()
	if err := makeLab(ctx, c, cluster, up); err != nil {
		return err
	}
	s := &soak{c: c, f: f, cluster: cluster, began: time.Now(), faults: map[string]int{}}
	c.say("%d managers, %d workers, %d clients, for %v, seed %d\n", f.managers, f.workers, f.clients, f.length, f.seed)
	if err := s.run(ctx); err != nil {
		return err
	}
	return s.judge()
}

// run lets clients and faults loose, and then has all be well again.
func (s *soak) run(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, s.f.length)
	defer cancel()
	var clients, injectors sync.WaitGroup
	for i := range s.f.clients {
		clients.Go(func() { s.client(ctx, parent, i) })
	}
	var managers []*lab.Host
	for _, h := range s.cluster.Hosts {
		if h.Manager {
			managers = append(managers, h)
		}
	}
	idle := make(chan *lab.Host, len(managers))
	for _, h := range managers {
		idle <- h
	}
	failed := make(chan error, s.f.managers)
	for i := range max(1, (s.f.managers-1)/2) { // a majority is well, most of the time
		injectors.Go(func() {
			draws := rand.New(rand.NewPCG(s.f.seed, uint64(1000+i))) //nolint:gosec // faults are no secret
			failed <- s.inject(ctx, parent, draws, idle, managers)
		})
	}
	s.watch(ctx)
	clients.Wait()
	injectors.Wait()
	for range max(1, (s.f.managers-1)/2) {
		if err := <-failed; err != nil {
			return err
		}
	}
	if err := parent.Err(); err != nil {
		return errors.New("interrupted")
	}
	return s.settle(parent, managers)
}

// watch shows how far it is.
func (s *soak) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if s.c.terminal {
				_, _ = fmt.Fprint(s.c.errs, "\r\033[K")
			}
			return
		case <-tick.C:
		}
		if s.c.terminal {
			s.mu.Lock()
			_, _ = fmt.Fprintf(s.c.errs, "\r\033[K%4.0fs  %d operations, %d writes acknowledged", time.Since(s.began).Seconds(), len(s.operations), s.acked)
			s.mu.Unlock()
		}
	}
}

// settle waits until every manager answers, and reads everything by each of them.
func (s *soak) settle(ctx context.Context, managers []*lab.Host) error {
	ctx, cancel := context.WithTimeout(ctx, soakRest)
	defer cancel()
	for _, h := range managers {
		for {
			op := &sim.Operation{Client: -1, Kind: sim.List}
			s.perform(ctx, h, op, listCall())
			if outcome(op) == "answered" {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("%s does not list services %v after all was healed: %v", h.Name, soakRest, op.Answer)
			}
			pause(ctx, soakThink)
		}
	}
	return nil
}

// judge tells what came of it.
func (s *soak) judge() error {
	kinds := map[string]int{}
	for _, op := range s.operations {
		kinds[string(op.Kind)+" "+outcome(op)]++
	}
	s.c.say("%d operations:\n", len(s.operations))
	for _, kind := range sortedKeys(kinds) {
		s.c.say("  %6d  %s\n", kinds[kind], kind)
	}
	s.c.say("faults:\n")
	for _, kind := range sortedKeys(s.faults) {
		s.c.say("  %6d  %s\n", s.faults[kind], kind)
	}
	s.c.say("%d writes acknowledged; the longest time without one: %.1f s\n", s.acked, s.longest.Seconds())
	history := &check.History{Clients: &sim.Clients{Operations: s.operations}}
	switch result, name := history.ByPorcupine(); result {
	case porcupine.Illegal:
		s.c.say("NOT linearizable: no order of the operations on %s explains what clients were told\n", name)
		if err := s.save(); err != nil {
			return err
		}
		return errViolated
	case porcupine.Unknown:
		s.c.say("porcupine gave up on some services, and found the others linearizable\n")
	case porcupine.Ok:
		s.c.say("porcupine: linearizable, no acknowledged write is lost\n")
	}
	return nil
}

// save keeps what clients did, for whoever looks for the fault.
func (s *soak) save() error {
	data, err := json.MarshalIndent(s.operations, "", " ")
	if err != nil {
		return err
	}
	s.c.say("what clients did is in %s\n", soakHistory)
	return os.WriteFile(soakHistory, data, 0o600)
}
