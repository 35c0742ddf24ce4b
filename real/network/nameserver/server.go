// Package nameserver answers what containers ask 127.0.0.11.
//
// A [Server] has, for each task, sockets in the task's network namespace, on a port
// that the kernel chooses: a program of the container may want port 53 for itself.
// Whoever makes the task's network leads port 53 of 127.0.0.11 there. Names of the
// networks that the task is on are answered here, whatever the case of their
// letters; all others are passed on to the task's name servers, or else the
// node's, from the host's network.
//
// A [Remote] is a Server in a process of its own ([Run]), which goes on when the
// daemon has gone, and is found by the next.
//
// # Not guaranteed
//
//   - Answers are not signed, and those of others are passed on as they are.
//   - What is asked of others is not remembered.
//   - Sockets hold a network namespace: a task must be ended for its to go.
package nameserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"

	"github.com/miekg/dns"
	"github.com/vishvananda/netns"

	"github.com/swarmd/swarmd/engine/netplan"
)

// Address is where a task's name server is reached.
const Address = "127.0.0.11"

// Limits of a server.
const (
	forwardedMax = 1024 // questions that wait for others, of all tasks
	ofTaskMax    = 128  // and of one
	portTriesMax = 16   // for one that is free for UDP and TCP
)

// Config says how a [Server] reaches others.
type Config struct {
	// Resolvers is the file that names the node's own name servers; "" is
	// /etc/resolv.conf.
	Resolvers string
	// Port that name servers are asked on; 0 is 53.
	Port uint16
	// Dial connects from the host's network; nil is the process's own.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Logger *slog.Logger
}

// A Zone is what is known by name on a network.
type Zone struct {
	Network string // its ID
	Label   string // its name, which may follow a name and a dot
	Names   []netplan.Name
}

// A Task is somebody who asks.
type Task struct {
	ID       string
	Netns    string   // the path of its network namespace
	Networks []string // IDs, in the order in which they are asked
	Upstream []netip.Addr
	Alone    bool // nothing is passed on to others
	// Port is the one that the task's name server had before, to be had again if it
	// is free: whoever leads questions there need change nothing. 0 is none.
	Port uint16
}

// An Update changes what a server knows and whom it serves.
type Update struct {
	// All says that there is nothing but what the update has.
	All     bool
	Zones   []Zone   // new, or instead of what was known
	Dropped []string // networks
	Tasks   []Task   // new, or changed
	Ended   []string // tasks
}

// An Answer says on which port each task's name server is, and who has none.
type Answer struct {
	Ports  map[string]uint16
	Failed map[string]string
}

// A Server answers tasks.
type Server struct {
	config    Config
	resolvers *resolvers
	slots     chan struct{}
	work      sync.WaitGroup
	running   context.Context // ends with the server
	stop      context.CancelFunc

	mu    sync.RWMutex
	zones map[string]*zone
	tasks map[string]*listener
}

// New returns a server that serves nobody yet.
func New(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.Port == 0 {
		c.Port = 53
	}
	running, stop := context.WithCancel(context.Background())
	return &Server{
		running: running, stop: stop,
		config: c, resolvers: newResolvers(c.Resolvers), slots: make(chan struct{}, forwardedMax),
		zones: make(map[string]*zone), tasks: make(map[string]*listener),
	}
}

// Update changes what is known. Tasks that are served already go on being so, on
// the port that they have.
func (s *Server) Update(u Update) (Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.All {
		s.keep(u)
	}
	for _, id := range u.Dropped {
		delete(s.zones, id)
	}
	for _, id := range u.Ended {
		s.end(id)
	}
	for _, z := range u.Zones {
		s.zones[z.Network] = newZone(z)
	}
	answer := Answer{Ports: make(map[string]uint16), Failed: make(map[string]string)}
	for _, t := range u.Tasks {
		l, is := s.tasks[t.ID]
		if is && l.current(t.Netns) {
			l.set(t)
		} else {
			s.end(t.ID)
			var err error
			if l, err = s.listen(t); err != nil {
				answer.Failed[t.ID] = err.Error()
				continue
			}
			s.tasks[t.ID] = l
		}
		answer.Ports[t.ID] = l.port
	}
	return answer, nil
}

// keep ends all that an update does not have.
func (s *Server) keep(u Update) {
	for id := range s.tasks {
		if !slices.ContainsFunc(u.Tasks, func(t Task) bool { return t.ID == id }) {
			s.end(id)
		}
	}
	clear(s.zones)
}

func (s *Server) end(id string) {
	if l, is := s.tasks[id]; is {
		l.close()
		delete(s.tasks, id)
	}
}

// End ends all service; there may be another update.
func (s *Server) End() error {
	_, err := s.Update(Update{All: true})
	return err
}

// Close ends all service.
func (s *Server) Close() error {
	err := s.End()
	s.stop()
	s.work.Wait()
	return err
}

// A listener is one task's sockets.
type listener struct {
	server *Server
	port   uint16
	device uint64 // and inode: which namespace it is in
	inode  uint64
	udp    *dns.Server
	tcp    *dns.Server
	slots  chan struct{}

	mu   sync.RWMutex
	task Task
}

func (s *Server) listen(t Task) (*listener, error) {
	l := &listener{server: s, task: t, slots: make(chan struct{}, ofTaskMax)}
	packets, stream, err := l.open(t.Netns)
	if err != nil {
		return nil, fmt.Errorf("cannot open the task's name server: %w", err)
	}
	l.port = netip.MustParseAddrPort(packets.LocalAddr().String()).Port()
	l.udp = &dns.Server{PacketConn: packets, Handler: l}
	l.tcp = &dns.Server{Listener: stream, Handler: l}
	var ready sync.WaitGroup
	for _, server := range []*dns.Server{l.udp, l.tcp} {
		ready.Add(1)
		var once sync.Once
		server.NotifyStartedFunc = func() { once.Do(ready.Done) }
		s.work.Go(func() {
			defer once.Do(ready.Done)
			if err := server.ActivateAndServe(); err != nil {
				s.config.Logger.Error("a task's name server has ended", "task", t.ID, "err", err)
			}
		})
	}
	ready.Wait() // or it could not be shut down
	return l, nil
}

// open makes the sockets, on a thread that ends with it.
func (l *listener) open(path string) (packets net.PacketConn, stream net.Listener, err error) {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		ns, err := netns.GetFromPath(path)
		if err != nil {
			done <- fmt.Errorf("cannot open the network namespace %s: %w", path, err)
			return
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("cannot enter the network namespace %s: %w", path, err)
			return
		}
		l.device, l.inode, err = identity(path)
		for try := 1; err == nil; try++ {
			packets, stream, err = bind(l.task.Port)
			if err == nil || try == portTriesMax {
				break
			}
			err, l.task.Port = nil, 0
		}
		done <- err
	}()
	err = <-done
	return packets, stream, err
}

// bind takes a port that is free for both, if it is 0.
func bind(port uint16) (net.PacketConn, net.Listener, error) {
	packets, err := net.ListenPacket("udp4", fmt.Sprintf("%s:%d", Address, port))
	if err != nil {
		return nil, nil, err
	}
	stream, err := net.Listen("tcp4", packets.LocalAddr().String())
	if err != nil {
		return nil, nil, errors.Join(err, packets.Close())
	}
	return packets, stream, nil
}

// current says whether the sockets are in the namespace that is at the path.
func (l *listener) current(path string) bool {
	device, inode, err := identity(path)
	return err == nil && device == l.device && inode == l.inode
}

func (l *listener) set(t Task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.task = t
}

func (l *listener) get() Task {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.task
}

// close lets the namespace go, and does not wait for what is being answered; the
// error would be that it has not.
func (l *listener) close() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, s := range []*dns.Server{l.udp, l.tcp} {
		_ = s.ShutdownContext(ended)
	}
}
