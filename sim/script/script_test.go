package script_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/sim/script"
)

// toy reads the few of the swarm's own commands that these tests need.
type toy struct{}

func (toy) Parse(args []string) ([]script.Request, error) {
	switch {
	case len(args) == 5 && strings.Join(args[:2], " ") == "service create":
		replicas := uint64(0)
		if _, err := fmt.Sscan(args[3], &replicas); err != nil {
			return nil, fmt.Errorf("%q is no number", args[3])
		}
		return []script.Request{script.CreateService{Spec: swarm.ServiceSpec{
			Annotations:  swarm.Annotations{Name: args[2]},
			TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: args[4]}},
			Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
		}}}, nil
	case len(args) == 3 && strings.Join(args[:2], " ") == "network create":
		return []script.Request{script.CreateNetwork{Spec: swarm.NetworkSpec{Annotations: swarm.Annotations{Name: args[2]}}}}, nil
	case len(args) == 3 && strings.Join(args[:2], " ") == "network rm":
		return []script.Request{script.RemoveNetwork{Name: args[2]}}, nil
	case len(args) == 5 && strings.Join(args[:2], " ") == "service join":
		return []script.Request{script.ChangeService{Name: args[2], Networks: args[3:], Change: func(ids map[string]string, spec *swarm.ServiceSpec) error {
			for _, name := range args[3:] {
				if ids != nil && ids[name] == "" {
					return errors.New("there is no network " + name)
				}
				spec.TaskTemplate.Networks = append(spec.TaskTemplate.Networks, swarm.NetworkAttachmentConfig{Target: ids[name]})
			}
			return nil
		}}}, nil
	case len(args) == 3 && strings.Join(args[:2], " ") == "service rm":
		return []script.Request{script.RemoveService{Name: args[2]}}, nil
	}
	return nil, errors.New("unknown command " + strings.Join(args, " "))
}

// Each file of testdata has scenarios, and what becomes of them: the errors of
// those that cannot be read ("read"), or how they are played ("play seed=N").
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
			s, err := script.Parse("story.txt", d.Input, toy{})
			if err != nil {
				return err.Error() + "\n"
			}
			if d.Cmd == "read" {
				return fmt.Sprintf("%s: %d hosts\n", s.Sentence, len(s.Config.Hosts))
			}
			return played(t, s)
		})
	}
}

func played(t *testing.T, s *script.Script) string {
	t.Helper()
	s.Config.Seed = 1
	stage, err := script.NewModel(s.Config)
	if err != nil {
		return err.Error() + "\n"
	}
	outcome := script.Play(s, stage)
	if outcome.Passed() {
		return fmt.Sprintf("passed after %v\n", outcome.Virtual.Round(1e9))
	}
	var b strings.Builder
	for _, v := range outcome.Violations {
		fmt.Fprintf(&b, "%v %s: %s\n", v.At.Round(1e9), v.Sentence, v.Text)
	}
	return b.String()
}

// Whatever is in a file, it is read or refused.
func FuzzParse(f *testing.F) {
	for _, file := range []string{"../../scenarios/everything.txt", "../../scenarios/clients.txt", "../../scenarios/global.txt"} {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("# a\nswarm --managers 1\nwhen leader +3s: crash leader\nat 3s: storm 9s --kill 1/s \\\n")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = script.Parse("fuzz.txt", text, toy{}) })
}
