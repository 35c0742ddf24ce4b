package sim

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/engine/agent"
	"github.com/swarmd/swarmd/engine/state"
)

// An Image says how containers of an image behave. The zero value is an image
// whose containers run until they are stopped, and stop when asked to.
type Image struct {
	Missing    bool          // there is no such image
	PullTime   time.Duration // mean; 0 is 100 ms
	CreateTime time.Duration // mean; 0 is 30 ms
	StartTime  time.Duration // mean; 0 is 20 ms
	CreateFail float64       // probability that creation fails
	StartFail  float64       // probability that the start fails
	Exits      bool          // containers end by themselves
	RunTime    time.Duration // mean time until they do
	Codes      []int         // exit codes, drawn from; none is 0
	OOM        bool          // they end because memory ran out
	StopTime   time.Duration // mean time from the stop signal to the end
	Stubborn   bool          // the stop signal is ignored: only a kill ends them
	Healthy    time.Duration // time after which health checks pass
	Flaps      float64       // probability that a health check fails
}

// Mishaps are what may go wrong in a host's container runtime, each with a
// probability.
type Mishaps struct {
	PullFail   float64 // a pull fails
	TimedOut   float64 // an order is carried out, and answered as if it had not been
	ExitLost   float64 // nobody is told that a container has ended, until the next survey
	ExitTwice  float64
	Slow       float64 // an order takes a hundred times as long
	CreateFail float64
	Crash      float64 // a container ends by itself, within a minute of its start

	NetworkFail  float64 // the network is made in part, as planned; the rest fails
	NetworkSlow  float64 // it takes up to seconds
	EndpointFail float64 // an endpoint cannot be made
}

// A Container is what a host really has, whatever the store says.
type Container struct {
	Task    state.TaskID
	Service state.ServiceID
	Host    *Host
	Running bool
	Started time.Duration // virtual time of the start, 0 if it has not been started
	Ended   time.Duration
	Code    int
	OOM     bool
	PID     int
	Image   string
	Address netip.Addr // on its host's bridge
	created agent.Container
	starts  uint64
	slots   []func()
}

// surveyPeriod is how long after an exit was lost the runtime lists its
// containers again, as it does when its connection to containerd was lost.
const surveyPeriod = 15 * time.Second

// A machine is a host's container runtime.
type machine struct {
	h          *Host
	draws      *Stream
	mishaps    Mishaps
	containers map[state.TaskID]*Container
	order      []*Container // by task
	pids       int
	orders     int
	power      uint64 // how often it was cut; orders do not outlive it
	surveying  uint64 // the daemon's life to which a survey is to be told, 0 for none
}

func newMachine(h *Host) *machine {
	return &machine{h: h, draws: newStream(h.w.seed, "runtime/"+h.Name), containers: map[state.TaskID]*Container{}, pids: 1000}
}

// Containers yields what the host really has, by task.
func (h *Host) Containers() []*Container {
	return slices.Clone(h.machine.order)
}

// put and drop change which containers there are.
func (m *machine) put(c *Container) {
	m.containers[c.Task] = c
	i, _ := m.find(c.Task)
	m.order = slices.Insert(m.order, i, c)
}

func (m *machine) drop(task state.TaskID) {
	delete(m.containers, task)
	if i, found := m.find(task); found {
		m.order = slices.Delete(m.order, i, i+1)
	}
}

func (m *machine) find(task state.TaskID) (int, bool) {
	return slices.BinarySearchFunc(m.order, task, func(c *Container, task state.TaskID) int { return cmp.Compare(c.Task, task) })
}

// Container returns the host's container of a task, nil if there is none.
func (h *Host) Container(task state.TaskID) *Container { return h.machine.containers[task] }

// SetMishaps changes what may go wrong in the host's container runtime.
func (h *Host) SetMishaps(change func(*Mishaps)) { change(&h.machine.mishaps) }

// EndContainer ends a container as if its process had ended by itself.
func (h *Host) EndContainer(task state.TaskID, code int, oom bool) {
	if c := h.machine.containers[task]; c != nil {
		h.machine.end(c, code, oom)
	}
}

// LoseRuntime has the runtime lose containerd, and survey it when it is back.
func (h *Host) LoseRuntime(away time.Duration) { h.machine.survey(away) }

// survey lists the containers to the daemon after a while.
func (m *machine) survey(in time.Duration) {
	life := m.h.life
	if m.surveying == life {
		return
	}
	m.surveying = life
	m.h.w.after(in, func() {
		if m.h.life != life {
			return
		}
		m.surveying = 0
		var found engine.ContainersFound
		for _, c := range m.h.Containers() {
			found.Containers = append(found.Containers, agent.Found{
				Task: c.Task, ID: c.created.ID, Labels: c.created.Labels, Address: c.created.Address,
				Created: 0, Running: c.Running, Started: c.Started != 0, PID: c.PID,
				ExitCode: c.Code, OOM: c.OOM, Finished: state.Wall(epoch().Add(c.Ended + m.h.clock.offset).UnixNano()),
			})
		}
		m.h.take(found)
	})
}

func (m *machine) image(name string) Image { return m.h.w.images[name] }

// perform carries out what the engine orders of its runtime.
func (m *machine) perform(effect engine.Effect) {
	switch f := effect.(type) {
	case engine.PullImage:
		m.pull(f)
	case engine.CreateContainer:
		m.create(f)
	case engine.StartContainer:
		m.start(f)
	case engine.ProbeContainer:
		m.probe(f)
	case engine.StopContainer:
		m.stop(f)
	case engine.RemoveContainer:
		m.remove(f)
	default:
		m.h.w.Violate("every effect is carried out", "%s does not know how to carry out %T", m.h.Name, effect)
	}
}

// work does something after a time of a mean, and answers. What was begun before
// the daemon died is done all the same, and nobody is told.
func (m *machine) work(mean, otherwise time.Duration, do func() engine.Event) {
	if mean == 0 {
		mean = otherwise
	}
	d := mean/2 + m.draws.Exponential(mean/2)
	if m.draws.Chance(m.mishaps.Slow) {
		m.h.w.Probe("container runtime was slow")
		d *= 100
	}
	life, power := m.h.life, m.power
	m.orders++
	m.h.w.after(d, func() {
		if m.power != power {
			return
		}
		m.orders--
		if e := do(); e != nil && m.h.life == life {
			m.h.take(e)
		}
	})
}

func (m *machine) pull(f engine.PullImage) {
	image := m.image(f.Image)
	m.work(image.PullTime, 100*time.Millisecond, func() engine.Event {
		switch {
		case image.Missing:
			return engine.ImagePulled{Task: f.Task, Err: fmt.Errorf("No such image: %s", f.Image)} //nolint:staticcheck // Docker's text
		case m.draws.Chance(m.mishaps.PullFail):
			m.h.w.Probe("pull failed")
			return engine.ImagePulled{Task: f.Task, Err: errors.New("the registry cannot be reached")}
		}
		return engine.ImagePulled{Task: f.Task}
	})
}

func (m *machine) create(f engine.CreateContainer) {
	image := m.image(f.Container.Spec.Image)
	m.work(image.CreateTime, 30*time.Millisecond, func() engine.Event {
		task := f.Container.Task
		if m.draws.Chance(image.CreateFail) || m.draws.Chance(m.mishaps.CreateFail) {
			m.h.w.Probe("creation failed")
			return engine.ContainerCreated{Task: task, Err: errors.New("the container cannot be created")}
		}
		if m.containers[task] == nil {
			m.put(&Container{
				Task: task, Service: state.ServiceID(f.Container.Labels["com.docker.swarm.service.id"]),
				Host: m.h, Image: f.Container.Spec.Image, Address: f.Container.Address, created: f.Container,
			})
		}
		if m.draws.Chance(m.mishaps.TimedOut) {
			m.h.w.Probe("creation timed out, but was done")
			return engine.ContainerCreated{Task: task, Err: errors.New("context deadline exceeded")}
		}
		return engine.ContainerCreated{Task: task}
	})
}

func (m *machine) start(f engine.StartContainer) {
	c := m.containers[f.Task]
	var image Image
	if c != nil {
		image = m.image(c.Image)
	}
	m.work(image.StartTime, 20*time.Millisecond, func() engine.Event {
		c := m.containers[f.Task]
		switch {
		case c == nil:
			return engine.ContainerStarted{Task: f.Task, Err: errors.New("the container is not on this node")}
		case c.starts > 0: // what has started is not started again
			return engine.ContainerStarted{Task: f.Task, PID: c.PID}
		case m.draws.Chance(image.StartFail):
			return engine.ContainerStarted{Task: f.Task, Err: errors.New("the container cannot be started")}
		}
		m.run(c, image)
		if m.draws.Chance(m.mishaps.TimedOut) {
			m.h.w.Probe("start timed out, but was done")
			return engine.ContainerStarted{Task: f.Task, Err: errors.New("context deadline exceeded")}
		}
		return engine.ContainerStarted{Task: f.Task, PID: c.PID}
	})
}

func (m *machine) run(c *Container, image Image) {
	m.pids++
	c.starts++
	c.Running, c.Started, c.PID = true, max(1, m.h.w.Now()), m.pids
	m.h.note("runs", string(c.Task))
	m.h.w.ran(c)
	switch {
	case image.Exits:
		code := 0
		if len(image.Codes) > 0 {
			code = Pick(m.draws, image.Codes)
		}
		m.h.w.after(image.RunTime/2+m.draws.Exponential(image.RunTime/2), func() { m.end(c, code, image.OOM) })
	case m.draws.Chance(m.mishaps.Crash):
		m.h.w.after(m.draws.Between(0, time.Minute), func() {
			if c.Running {
				m.h.w.Probe("container crashed")
			}
			m.end(c, 1, false)
		})
	}
}

// end is the end of a container's process.
func (m *machine) end(c *Container, code int, oom bool) {
	if !c.Running {
		return
	}
	c.Running, c.Ended, c.Code, c.OOM = false, m.h.w.Now(), code, oom
	m.h.note("ended", string(c.Task), strconv.Itoa(code))
	m.h.w.ended(c)
	answered := len(c.slots) > 0
	for _, answer := range c.slots {
		answer()
	}
	c.slots = nil
	if answered {
		return
	}
	if m.draws.Chance(m.mishaps.ExitLost) {
		m.h.w.Probe("exit event lost")
		m.survey(surveyPeriod)
		return
	}
	e := engine.ContainerExited{Task: c.Task, Code: code, OOM: oom}
	m.h.later(m.draws.Between(time.Millisecond, 10*time.Millisecond), e)
	if m.draws.Chance(m.mishaps.ExitTwice) {
		m.h.w.Probe("exit event told twice")
		m.h.later(m.draws.Between(time.Millisecond, time.Second), e)
	}
}

func (m *machine) probe(f engine.ProbeContainer) {
	m.work(0, 50*time.Millisecond, func() engine.Event {
		c := m.containers[f.Task]
		if c == nil || !c.Running {
			return engine.ContainerProbed{Task: f.Task, Output: "the container does not run"}
		}
		image := m.image(c.Image)
		healthy := m.h.w.Now()-c.Started >= image.Healthy && !m.draws.Chance(image.Flaps)
		return engine.ContainerProbed{Task: f.Task, Healthy: healthy}
	})
}

// stop ends a container: its signal, after the grace a kill.
func (m *machine) stop(f engine.StopContainer) {
	c := m.containers[f.Task]
	if c == nil || !c.Running {
		code, oom := 0, false
		if c != nil {
			code, oom = c.Code, c.OOM
		}
		m.work(0, 2*time.Millisecond, func() engine.Event { return engine.ContainerExited{Task: f.Task, Code: code, OOM: oom} })
		return
	}
	life := m.h.life
	m.orders++
	c.slots = append(c.slots, func() {
		m.orders--
		if m.h.life == life {
			m.h.take(engine.ContainerExited{Task: c.Task, Code: c.Code, OOM: c.OOM})
		}
	})
	image := m.image(c.Image)
	mean := image.StopTime
	if mean == 0 {
		mean = 50 * time.Millisecond
	}
	if !image.Stubborn {
		m.h.w.after(mean/2+m.draws.Exponential(mean/2), func() { m.end(c, 143, false) })
	}
	m.h.w.after(f.Grace, func() {
		if c.Running {
			m.h.w.Probe("container killed after its grace")
		}
		m.end(c, 137, false)
	})
}

func (m *machine) remove(f engine.RemoveContainer) {
	m.work(0, 10*time.Millisecond, func() engine.Event {
		if c := m.containers[f.Task]; c != nil && c.Running {
			return engine.ContainerRemoved{Task: f.Task, Err: errors.New("the container runs")}
		}
		m.drop(f.Task)
		return engine.ContainerRemoved{Task: f.Task}
	})
}

// powerOff ends everything at once.
func (m *machine) powerOff() {
	m.power++
	m.orders = 0
	for _, c := range m.h.Containers() {
		if c.Running {
			c.Running, c.Ended, c.Code = false, m.h.w.Now(), 255
			m.h.note("ended", string(c.Task), "255")
			m.h.w.ended(c)
		}
		c.slots = nil
	}
}
