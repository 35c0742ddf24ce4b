package check

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/control"
	"github.com/swarmd/swarmd/engine/state"
	"github.com/swarmd/swarmd/sim"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func keep(*state.Service) {}

// Every oracle can fail: each story plants one thing that its sentence forbids, and
// that sentence is broken, and no other.
func TestPlanted(t *testing.T) {
	stories := planted()
	maps.Copy(stories, plantedAtRest())
	broken := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(stories)) {
		t.Run(name, func(t *testing.T) {
			f := live(t)
			stories[name](f)
			number, _, _ := strings.Cut(name, " ")
			f.breaks(number)
			for _, v := range f.w.Violations() {
				broken[v.Sentence] = true
			}
		})
	}
	for _, o := range All() {
		if !broken[o.Sentence()] {
			t.Errorf("no story breaks %q", o.Sentence())
		}
	}
}

// Where nothing is planted nothing is broken: a swarm that users leave alone, one
// all of whose hosts have lost power at once, and one that loses a minority for good.
func TestNothingPlanted(t *testing.T) {
	lose := map[string]func(f *fixture) []*sim.Host{
		"nothing": func(f *fixture) []*sim.Host { return nil },
		"all power": func(f *fixture) []*sim.Host {
			for _, h := range f.w.Hosts {
				h.PowerOff()
			}
			f.w.Run(f.w.Now() + time.Minute)
			return nil
		},
		"a worker": func(f *fixture) []*sim.Host {
			f.w.Host("h4").PowerOff()
			return f.w.Hosts[:3]
		},
	}
	for name, lose := range lose {
		t.Run(name, func(t *testing.T) {
			f := live(t)
			Settle(f.c, lose(f), time.Hour)
			f.breaks()
			if n := len(f.tasks("web")); n < 3 {
				t.Errorf("web has %d tasks", n)
			}
		})
	}
}

// planted are stories that are broken as soon as they are told, by number.
func planted() map[string]func(*fixture) {
	stories := map[string]func(*fixture){
		"S3": func(f *fixture) {
			oracle[*leaderCompleteness](f).judge(f.c, "h2", sim.LogView{Last: sim.Position{Term: 2, Index: f.c.Store.Index() - 1}}, 2)
		},
		"S4": func(f *fixture) {
			f.c.hashes[f.c.Store.Index()] = [16]byte{1}
			f.c.committed(f.w.Leader(), engine.Committed{Index: f.c.Store.Index()})
		},
		"S5": func(f *fixture) {
			o, h := oracle[*logOnlyGrows](f), f.w.Hosts[0]
			log := h.Log()
			log.Commit--
			o.judge(f.c, h, h.Life(), log)
		},
		"S6": func(f *fixture) {
			v := sim.Vote{Voter: f.w.Hosts[0], Candidate: f.w.Hosts[1], Term: 99}
			f.c.Voted(v)
			f.clean()
			v.Candidate = f.w.Hosts[0]
			f.c.Voted(v)
		},
		"S7": func(f *fixture) {
			o := oracle[*acknowledgedLast](f)
			o.Called(f.c, f.w.Hosts[0], engine.Called{Request: 7777, Call: control.ServiceRemove{Ref: "web"}})
			o.Replied(f.c, f.w.Hosts[0], engine.Verified{}, engine.Reply{Request: 7777, Answer: control.Done{}})
		},
		"S8": func(f *fixture) {
			e := state.Entry{Proposal: state.ProposalID{Term: f.term(), Seq: 7777}, Changes: []state.Change{{Key: state.Key{Kind: 99, ID: "x"}, Data: []byte{1}}}}
			f.append(e)
			f.clean()
			f.append(e)
		},
		"S9": func(f *fixture) { f.append(state.Entry{Proposal: state.ProposalID{Term: 99, Seq: 1}}) },
		"S10": func(f *fixture) {
			oracle[*snapshotReplay](f).judge(f.c, f.c.Store)
			f.clean()
			oracle[*snapshotReplay](f).compare(f.c, f.c.Store, state.NewStore())
		},
		"S11": func(f *fixture) {
			rest[*restoreIdentity](f)
			f.clean()
			oracle[*restoreIdentity](f).compare(f.c, "h2", f.c.Store, state.NewStore())
		},
		"S14": func(f *fixture) {
			f.addService("db", keep)
			oracle[*watch](f).judge(f.c, f.w.Hosts[0], f.w.Hosts[0].Life(), f.c.Store.Index(), nil)
		},
		"S15": func(f *fixture) {
			o, s := oracle[*versionsOnce](f), f.service("web")
			for id := engine.RequestID(8001); id < 8003; id++ {
				f.clean()
				o.Called(f.c, f.w.Hosts[0], engine.Called{Request: id, Call: control.ServiceUpdate{Ref: "web", Version: s.SpecVersion}})
				o.Replied(f.c, f.w.Hosts[0], engine.Committed{}, engine.Reply{Request: id, Answer: control.Done{}})
			}
		},
		"S16": func(f *fixture) {
			f.append(state.Entry{Changes: []state.Change{{Key: state.Key{Kind: state.KindTask, ID: "x"}, Data: []byte{255, 255}}}})
		},
		"S18": func(f *fixture) {
			gone := &state.Service{ID: "never", Template: 1}
			f.commit(func(d *state.Draft) {
				d.PutTemplate(templateOf(gone))
				f.draftTask(d, gone, "stray", "", nil)
			})
		},
		"S19": func(f *fixture) {
			f.raw(f.tasks("web")[0], func(t *state.Task) { t.Status.State = state.TaskStarting })
		},
		"S20": func(f *fixture) {
			f.raw(f.tasks("web")[0], func(t *state.Task) { t.Rollout = true })
		},
		"S21": func(f *fixture) {
			s := f.addService("db", keep)
			f.addTask(s, "t", "", func(t *state.Task) { t.Node = f.w.Hosts[2].ID })
		},
		"S22": func(f *fixture) {
			s := f.addService("db", keep)
			f.addTask(s, "t", "", nil)
			f.clean()
			f.addTask(s, "u", "", nil)
		},
		"S23": func(f *fixture) {
			t := f.tasks("web")[0]
			f.setTask(t, func(t *state.Task) { t.Desired, t.Status.State = state.TaskShutdown, state.TaskShutdown })
		},
		"S24": func(f *fixture) {
			s := f.addService("db", keep)
			f.addTask(s, "t", "h3", nil)
			f.ran("t", "h3", "172.31.9.1")
			f.setTask(f.c.View().Task("t"), func(t *state.Task) { t.Desired = state.TaskShutdown })
			f.addTask(s, "u", "h4", nil)
			f.clean()
			f.ran("u", "h4", "172.31.9.1")
		},
		"S25": func(f *fixture) {
			s := f.addService("db", func(s *state.Service) {
				s.Spec.TaskTemplate.Resources = &swarm.ResourceRequirements{Reservations: &swarm.Resources{NanoCPUs: 3e9}}
			})
			f.addTask(s, "t", "h3", nil)
			f.clean()
			f.addTask(s, "u", "h3", func(t *state.Task) { t.Slot = 2 })
		},
		"S26": func(f *fixture) {
			s := f.addService("db", func(s *state.Service) {
				s.Spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.labels.zone==b"}}
			})
			f.addTask(s, "t", "h3", nil)
		},
		"S27": func(f *fixture) {
			f.setNode("h3", func(n *state.Node) { n.Spec.Availability, n.SpecVersion = swarm.NodeAvailabilityPause, n.SpecVersion+1 })
			s := f.addService("db", keep)
			f.clean()
			f.addTask(s, "t", "h3", nil)
		},
		"S28": func(f *fixture) {
			s := f.addService("db", func(s *state.Service) {
				s.Ports = []swarm.PortConfig{{Protocol: "tcp", TargetPort: 1, PublishedPort: 9090, PublishMode: swarm.PortConfigPublishModeHost}}
			})
			f.addTask(s, "t", "h3", nil)
			f.clean()
			f.addTask(s, "u", "h3", func(t *state.Task) { t.Slot = 2 })
		},
	}
	maps.Copy(stories, plantedUpdates())
	maps.Copy(stories, plantedWorld())
	maps.Copy(stories, plantedNetworks())
	return stories
}

// term is one for which somebody was elected.
func (f *fixture) term() (term uint64) {
	for t := range f.c.leaders {
		term = max(term, t)
	}
	return term
}

// plantedWorld are stories of containers, networks and time.
func plantedWorld() map[string]func(*fixture) {
	return map[string]func(*fixture){
		"S36": func(f *fixture) {
			t := f.tasks("web")[0]
			f.commit(func(d *state.Draft) { d.DeleteTask(t.ID) })
		},
		"S37": func(f *fixture) {
			var host *sim.Host
			var first *sim.Container
			for _, h := range f.w.Hosts {
				for x := range h.Live() {
					host, first = h, x
				}
			}
			x := &sim.Container{Task: "other", Host: host, Running: true, Address: first.Address}
			oracle[*addressesUnique](f).Ran(f.c, x)
		},
		"S39": func(f *fixture) {
			for _, h := range f.w.Hosts {
				for x := range h.Live() {
					oracle[*addressesRest](f).judge(f.c, h, "other", x.Address)
					return
				}
			}
		},
		"S40": func(f *fixture) {
			for _, h := range f.w.Hosts {
				for x := range h.Live() {
					h.SetMishaps(func(m *sim.Mishaps) { m.ExitLost = 1 })
					h.EndContainer(x.Task, 1, false) // and nobody is told
					o := oracle[*portsLead](f)
					o.due[0].at = f.w.Now()
					o.due[0].at = max(o.due[0].at, h.UpSince()+staleBackendMost)
					o.Sampled(f.c)
					return
				}
			}
		},
		"L8": func(f *fixture) {
			n := *f.node("h3")
			n.State = state.NodeDown
			d := f.c.Store.Draft()
			d.PutNode(&n)
			f.append(state.Entry{Proposal: state.ProposalID{Term: f.term(), Seq: 9999}, Changes: d.Changes()})
		},
		"L14": func(f *fixture) {
			o := oracle[*callsReturn](f)
			o.Called(f.c, f.w.Hosts[0], engine.Called{Request: 9999, Call: control.NodeList{}})
			f.w.Run(f.w.Now() + callMost - time.Second)
			f.clean()
			f.w.Run(f.w.Now() + 5*time.Second)
		},
	}
}
