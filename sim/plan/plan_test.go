package plan_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/swarm"
	"pgregory.net/rapid"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/plan"
	"github.com/swarmd/swarmd/sim/script"
)

var (
	plans = flag.Int("plans", 40, "how many random plans to run")
	first = flag.Uint64("first", 1, "the seed of the first")
	out   = flag.String("out", "", "folder for the scenarios of plans that fail; none is the test's own")
)

// A commandLine reads the swarm's own commands as swarmctl does.
type commandLine struct{}

func (commandLine) Parse(args []string) ([]script.Request, error) {
	commands, err := request.Parse(args, known(nil))
	var list []script.Request
	for _, c := range commands {
		switch c := c.(type) {
		case request.CreateService:
			list = append(list, script.CreateService(c))
		case request.ChangeService:
			list = append(list, script.ChangeService{Name: c.Name, Networks: c.Networks, Change: func(networks map[string]string, spec *swarm.ServiceSpec) error {
				return c.Change(known(networks), spec)
			}})
		case request.CreateNetwork:
			list = append(list, script.CreateNetwork(c))
		case request.RemoveNetwork:
			list = append(list, script.RemoveNetwork(c))
		case request.RollbackService:
			list = append(list, script.RollbackService(c))
		case request.RemoveService:
			list = append(list, script.RemoveService(c))
		case request.ChangeNode:
			list = append(list, script.ChangeNode(c))
		case request.RemoveNode:
			list = append(list, script.RemoveNode(c))
		case request.ChangeSwarm:
			list = append(list, script.ChangeSwarm{Change: func(s *swarm.Spec) error {
				c.Change(s)
				return nil
			}})
		}
	}
	return list, err
}

// known are the IDs of networks, by name. While nothing is looked up a network goes by
// its name.
type known map[string]string

var errNone = errors.New("there is none in the simulator")

func (k known) Network(_ context.Context, name string) (string, error) {
	if id, ok := k[name]; ok {
		return id, nil
	}
	if k == nil {
		return name, nil
	}
	return "", errNone
}

func (known) Secrets(context.Context, []string) (map[string]string, error) { return nil, errNone }
func (known) Configs(context.Context, []string) (map[string]string, error) { return nil, errNone }

// rapidDraws draws a plan from what rapid draws, so that rapid chooses its corners.
type rapidDraws struct{ t *rapid.T }

func (d rapidDraws) N(n int) int           { return rapid.IntRange(0, n-1).Draw(d.t, "n") }
func (d rapidDraws) Chance(p float64) bool { return rapid.Float64Range(0, 1).Draw(d.t, "chance") < p }

// No random plan breaks a sentence. One that does is made small, and is a scenario.
func TestPlans(t *testing.T) {
	folder := *out
	if folder == "" {
		folder = t.ArtifactDir()
	}
	for i := range *plans {
		seed := *first + uint64(i)
		p := plan.Draw(sim.NewStream(seed, "plan"), seed, nil)
		r, err := plan.Stage{Parser: commandLine{}}.Run(p)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if r.Sentence() == "" {
			continue
		}
		tries := 0
		s := plan.Shrinker{Stage: plan.Stage{Parser: commandLine{}}, Enough: func() bool { return tries > 300 }, Tried: func(n int, _ *plan.Plan) { tries = n }}
		small, sentence, err := s.Shrink(p)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		file := filepath.Join(folder, strings.ToLower(strings.Fields(sentence)[0])+".txt")
		if err := os.WriteFile(file, []byte(small.Scenario()), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Fatalf("seed %d: %s: %s\n%s\n(in %s)", seed, sentence, r.Violations[0].Text, small.Scenario(), file)
	}
}

// Whatever is drawn is a scenario that can be read, and reads as it was written.
func TestPlansAreScenarios(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := plan.Draw(rapidDraws{t}, 1, nil)
		text := p.Scenario()
		if _, err := script.Parse("plan.txt", text, commandLine{}); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		back, err := plan.Parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if again := back.Scenario(); again != text {
			t.Fatalf("written:\n%s\nread back, and written again:\n%s", text, again)
		}
	})
}

// A plan runs the same however often, and when it comes from its text.
func TestPlansRepeat(t *testing.T) {
	p := plan.Draw(sim.NewStream(3, "plan"), 3, nil)
	read, err := plan.Parse(p.Scenario())
	if err != nil {
		t.Fatal(err)
	}
	var steps []uint64
	for _, p := range []*plan.Plan{p, p, read} {
		r, err := plan.Stage{Parser: commandLine{}}.Run(p)
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, r.Steps)
	}
	if steps[0] != steps[1] || steps[0] != steps[2] {
		t.Errorf("three runs of a plan, the last from its text, took %v steps", steps)
	}
}

// A plan with a rule of its own that is broken is made small: the one operation
// that breaks it is left, and no fault.
func TestShrink(t *testing.T) {
	var p *plan.Plan
	for seed := uint64(1); ; seed++ { // one with much to leave out
		p = plan.Draw(sim.NewStream(seed, "plan"), seed, nil)
		if operations, faults := p.Counts(); operations > 20 && faults > 8 {
			break
		}
	}
	p.Rules = []string{"never starts s1 >= 1"}
	s := plan.Shrinker{Stage: plan.Stage{Parser: commandLine{}}}
	small, sentence, err := s.Shrink(p)
	if err != nil {
		t.Fatal(err)
	}
	if sentence != "the scenario holds" {
		t.Fatalf("the plan broke %q", sentence)
	}
	if operations, faults := small.Counts(); operations != 1 || faults != 0 || len(small.Necessary()) != 0 {
		t.Errorf("%d operations and %d faults are left:\n%s", operations, faults, small.Scenario())
	}
	if !strings.Contains(small.Scenario(), "service create --name s1") {
		t.Errorf("what is left does not make the service:\n%s", small.Scenario())
	}
}

// What is no plan is refused with what would be one.
func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"# x\nadvance 1m\nsettle 2h\n":                              "needs a swarm line",
		"swarm --managers three\n":                                  `found "three", expected a number after --managers`,
		"swarm --managers 3\nat noon: crash m1\nadvance 1m\n":       `found "noon", expected a time`,
		"swarm --managers 3\nawait 3s leader\nadvance 1m\n":         `found "await", which is not of a plan`,
		"swarm --managers 3\nadvance tomorrow\nsettle 2h\n":         `found "tomorrow", expected a duration after advance`,
		"swarm --managers 3 --workers 1\nat 3s: crash m1\nsettle\n": "an advance before settle",
	} {
		if _, err := plan.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is refused with %v, want %q", text, err, want)
		}
	}
}
