package check_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/check"
)

// Clients fight over a few services while leaders are lost; what they saw can be
// explained, and both checks say so.
func TestHistory(t *testing.T) {
	for seed := range uint64(20) {
		w, history := fight(t, seed)
		if wrong := history.ByLog(); wrong != "" {
			t.Errorf("seed %d: %s", seed, wrong)
		}
		if result, name := history.ByPorcupine(); result != porcupine.Ok {
			t.Errorf("seed %d: porcupine says %v of %s", seed, result, name)
		}
		if len(w.Violations()) > 0 {
			t.Errorf("seed %d: %v", seed, w.Violations())
		}
	}
}

// fight is a minute of clients and lost leaders.
func fight(t *testing.T, seed uint64) (*sim.World, *check.History) {
	t.Helper()
	var hosts []sim.HostConfig
	for i := range 3 {
		hosts = append(hosts, sim.HostConfig{Name: fmt.Sprintf("m%d", i+1), Manager: true})
	}
	w, err := sim.New(sim.Config{Seed: seed, Hosts: hosts})
	if err != nil {
		t.Fatal(err)
	}
	history := &check.History{}
	check.Watch(w, history)
	history.Clients = w.StartClients(sim.ClientsConfig{Clients: 8, Until: time.Minute, LoseAnswer: 0.05, LoseRequest: 0.02})
	draws := w.Stream("faults")
	for at := 5 * time.Second; at < time.Minute; at += draws.Between(2*time.Second, 10*time.Second) {
		w.At(at, func() {
			if h := w.Leader(); h != nil {
				h.Kill()
				w.At(w.Now()+draws.Between(time.Second, 5*time.Second), h.Start)
			}
		})
	}
	w.Run(2 * time.Minute)
	if n := len(history.Clients.Operations); n < 100 {
		t.Errorf("seed %d: only %d operations", seed, n)
	}
	return w, history
}

// Either check notices an answer that was not true.
func TestHistoryNoticesLies(t *testing.T) {
	lies := map[string]func(op *sim.Operation) bool{
		"a write that was refused is said to be done": func(op *sim.Operation) bool {
			f, ok := op.Answer.(control.Failed)
			if !ok || op.Kind != sim.Create || f.Kind != control.Conflict {
				return false
			}
			op.Answer = control.Created{ID: "x"}
			return true
		},
		"a service that is there is said to be absent": func(op *sim.Operation) bool {
			if _, ok := op.Answer.(control.Services); !ok || op.Kind != sim.Inspect {
				return false
			}
			op.Answer = control.Failed{Kind: control.NotFound, Message: "service not found"}
			return true
		},
		"an update that was done is said to be out of sequence": func(op *sim.Operation) bool {
			if _, ok := op.Answer.(control.Done); !ok || op.Kind != sim.Update {
				return false
			}
			op.Answer = control.Failed{Kind: control.Internal, Message: "rpc error: code = Unknown desc = update out of sequence"}
			return true
		},
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			byLog, byPorcupine := false, false
			for seed := range uint64(5) {
				_, history := fight(t, seed)
				for _, op := range history.Clients.Operations {
					if lie(op) {
						break
					}
				}
				byLog = byLog || history.ByLog() != ""
				result, _ := history.ByPorcupine()
				byPorcupine = byPorcupine || result == porcupine.Illegal
			}
			if !byLog || !byPorcupine {
				t.Errorf("noticed by the log's order: %v, by porcupine: %v", byLog, byPorcupine)
			}
		})
	}
}
