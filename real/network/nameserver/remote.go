package nameserver

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	remotePatience = 5 * time.Second // with a process that begins, or answers
	dialPeriod     = 5 * time.Millisecond
	pauseMin       = 50 * time.Millisecond // before a process that has not lasted is started again
	pauseMax       = time.Second           // after it has been so again and again, and for what counts as lasting
)

// RemoteConfig says how a [Remote] finds its process.
type RemoteConfig struct {
	// Command is the program that calls [Run], and the arguments before its own.
	Command []string
	// Socket is where the process is told what to answer. Its log is beside it.
	Socket string
	// Resolvers is as in [Config].
	Resolvers string
	// Start starts the process, in the host's network namespace.
	Start func(*exec.Cmd) error
	// Lost is called when the process has ended by itself, or was ended: it is to be
	// told everything anew. It must not block.
	Lost   func()
	Logger *slog.Logger
}

// ErrForgotten says that another process serves now than the one that was told before.
var ErrForgotten = errors.New("the name server has begun anew and must be told everything")

// A Remote has tasks served by a process of its own, which outlives it and is found
// again by the next Remote.
type Remote struct {
	config RemoteConfig

	mu      sync.Mutex
	link    *link // nil: none
	started time.Time
	pause   time.Duration // before the last start
	reading sync.WaitGroup
}

// A link is a connection to a process.
type link struct {
	conn      net.Conn
	responses chan response // closed with the connection
	wanted    bool          // its end would be a loss
}

// NewRemote starts nothing yet.
func NewRemote(c RemoteConfig) *Remote { return &Remote{config: c} }

// Update changes what the process knows: see [Server.Update]. A process is started
// when there is something to serve. [ErrForgotten] asks for an update that has All.
func (r *Remote) Update(u Update) (Answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link == nil {
		if err := r.connect(len(u.Tasks)+len(u.Zones) > 0); err != nil {
			return Answer{}, err
		}
		switch {
		case r.link == nil: // there is none, and it has nothing to do
			return Answer{}, nil
		case !u.All:
			return Answer{}, ErrForgotten
		}
	}
	reply, err := r.exchange(request{Update: &u})
	if err != nil {
		return Answer{}, err
	}
	if reply.Error != "" {
		return Answer{}, errors.New(reply.Error)
	}
	return reply.Answer, nil
}

// End ends the process, if there is one, and all service.
func (r *Remote) End() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link == nil {
		if err := r.connect(false); err != nil {
			return err
		}
	}
	if r.link != nil {
		if err := r.finish(); err != nil {
			return err
		}
	}
	for _, name := range []string{r.config.Socket, r.logFile()} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove what a name server has left: %w", err)
		}
	}
	return nil
}

// Close leaves the process as it is.
func (r *Remote) Close() error {
	r.mu.Lock()
	r.drop()
	r.mu.Unlock()
	r.reading.Wait()
	return nil
}

func (r *Remote) logFile() string { return r.config.Socket + ".log" }

// finish has the process end, and waits until it has gone.
func (r *Remote) finish() error {
	l := r.link
	l.wanted = false
	_, err := r.exchange(request{End: true})
	deadline := time.NewTimer(remotePatience)
	defer deadline.Stop()
	for err == nil {
		select {
		case _, open := <-l.responses:
			if !open {
				r.drop()
				return nil
			}
		case <-deadline.C:
			err = fmt.Errorf("the name server does not end")
		}
	}
	r.drop()
	return err
}

func (r *Remote) drop() {
	if r.link != nil {
		r.link.wanted = false
		_ = r.link.conn.Close()
		r.link = nil
	}
}

// exchange asks the process. One that does not answer is killed: another takes its
// place.
func (r *Remote) exchange(q request) (response, error) {
	l := r.link
	_ = l.conn.SetWriteDeadline(time.Now().Add(remotePatience))
	if err := send(l.conn, q); err != nil {
		r.drop()
		return response{}, fmt.Errorf("the name server cannot be told anything: %w", err)
	}
	timeout := time.NewTimer(remotePatience)
	defer timeout.Stop()
	select {
	case reply, open := <-l.responses:
		if open {
			return reply, nil
		}
		r.drop()
		return response{}, errors.New("the name server ended before it answered")
	case <-timeout.C:
		err := fmt.Errorf("the name server did not answer within %v, and is killed", remotePatience)
		return response{}, errors.Join(err, r.kill())
	}
}

func (r *Remote) kill() error {
	pid, err := peerOf(r.link.conn)
	r.drop()
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// connect finds the process, or starts one if it is to. A process of another file than
// would be started now, as before an upgrade, is ended.
func (r *Remote) connect(start bool) error {
	now, err := programOf(r.config.Command[0])
	if err != nil {
		return err
	}
	for range 2 {
		their, err := r.dial()
		if err != nil && !start {
			return nil //nolint:nilerr // there is none
		}
		if err != nil {
			their, err = r.begin()
		}
		if err != nil {
			return err
		}
		if their == now {
			return nil
		}
		r.config.Logger.Info("the name server of the tasks is of another version, and begins anew")
		if err := r.finish(); err != nil {
			return err
		}
	}
	return fmt.Errorf("the name server started is not %s", r.config.Command[0])
}

// begin starts a process, and another if it ends before it can be reached.
func (r *Remote) begin() (program, error) {
	for began := time.Now(); ; {
		their, ended, err := r.beginOnce()
		if err == nil || !ended || time.Since(began) > remotePatience {
			return their, err
		}
	}
}

// beginOnce reports, with an error, whether the process has ended.
func (r *Remote) beginOnce() (their program, ended bool, err error) {
	if r.pause *= 2; time.Since(r.started) > pauseMax+r.pause {
		r.pause = 0
	} else { // one that does not last is not started all the time
		r.pause = min(max(r.pause, pauseMin), pauseMax)
		time.Sleep(r.pause)
	}
	r.started = time.Now()
	log, err := os.OpenFile(r.logFile(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return program{}, false, fmt.Errorf("cannot make the log of the name server: %w", err)
	}
	defer log.Close() //nolint:errcheck // the process has it
	resolvers := r.config.Resolvers
	c := exec.Command(r.config.Command[0], append(r.config.Command[1:len(r.config.Command):len(r.config.Command)], r.config.Socket, resolvers)...)
	c.Dir, c.Stderr, c.SysProcAttr = "/", log, &syscall.SysProcAttr{Setsid: true}
	if err := r.config.Start(c); err != nil {
		return program{}, false, fmt.Errorf("cannot start the name server: %w", err)
	}
	end := make(chan struct{})
	go func() { _ = c.Wait(); close(end) }() // or it would stay as a zombie; it may well outlive this process
	look := time.NewTicker(dialPeriod)
	defer look.Stop()
	for began := time.Now(); ; {
		their, err := r.dial()
		if err == nil || time.Since(began) > remotePatience {
			return their, false, err
		}
		select {
		case <-end:
			return program{}, true, fmt.Errorf("the name server ended before it served (%v; its log is %s)", c.ProcessState, r.logFile())
		case <-look.C:
		}
	}
}

// dial connects to the process that there is.
func (r *Remote) dial() (program, error) {
	conn, err := net.DialTimeout("unix", r.config.Socket, remotePatience)
	if err != nil {
		return program{}, fmt.Errorf("cannot reach the name server: %w", err)
	}
	var first hello
	_ = conn.SetReadDeadline(time.Now().Add(remotePatience))
	if err := receive(conn, &first); err != nil {
		return program{}, errors.Join(fmt.Errorf("the name server does not say what it is: %w", err), conn.Close())
	}
	_ = conn.SetReadDeadline(time.Time{})
	l := &link{conn: conn, responses: make(chan response, 1), wanted: true}
	r.link = l
	r.reading.Go(func() { r.read(l) })
	return first.Program, nil
}

// read takes in what the process says until the connection ends.
func (r *Remote) read(l *link) {
	for {
		var reply response
		if err := receive(l.conn, &reply); err != nil {
			break
		}
		l.responses <- reply
	}
	close(l.responses)
	r.mu.Lock()
	lost := l.wanted
	if r.link == l {
		r.drop()
	}
	r.mu.Unlock()
	if lost {
		r.config.Lost()
	}
}

// peerOf is the process at the other end.
func peerOf(conn net.Conn) (int, error) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var their *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		their, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, err
	}
	return int(their.Pid), nil
}
