package nameserver

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	messageBytesMax = 64 << 20
	orphanPatience  = 10 * time.Second // how long a process that nobody uses and that serves nobody lives
)

// A hello is what a process says first.
type hello struct{ Program program }

// A program is which file a process is of, so that a newer one takes over from it.
type program struct {
	Device, Inode uint64
	Changed       int64
}

func programOf(path string) (program, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return program{}, fmt.Errorf("cannot look at %s: %w", path, err)
	}
	return program{s.Dev, s.Ino, s.Mtim.Nano()}, nil
}

// A request is answered by one response.
type request struct {
	Update *Update
	End    bool // for good; once it is answered the sockets are closed
}

type response struct {
	Answer Answer
	Error  string
}

// A process is a server that others tell what to answer.
type process struct {
	server *Server
	self   program
	socket string
	log    *slog.Logger
	ended  chan struct{}
	end    func()

	mu    sync.Mutex
	users int
	timer *time.Timer // ends it when there are neither users nor tasks
}

// Run is the program of a process that serves tasks on behalf of a [Remote], and goes
// on when that has gone. Its arguments are the path of the socket on which it is told
// what to answer, and that of the file with the host's own name servers. It returns
// the code to exit with.
func Run(arguments []string) int {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if len(arguments) != 2 {
		log.Error("the name server is started by the daemon, with a socket and a file")
		return 2
	}
	if err := run(arguments[0], arguments[1], log); err != nil {
		log.Error("the name server has ended", "err", err)
		return 1
	}
	return 0
}

func run(socket, resolvers string, log *slog.Logger) error {
	self, err := programOf("/proc/self/exe")
	if err != nil {
		return err
	}
	listener, err := listenOn(socket)
	if err != nil {
		return err
	}
	p := &process{server: New(Config{Resolvers: resolvers, Logger: log}), self: self, socket: socket, log: log, ended: make(chan struct{})}
	p.end = sync.OnceFunc(func() { close(p.ended) })
	p.timer = time.AfterFunc(orphanPatience, p.end)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	var work sync.WaitGroup
	work.Go(func() { p.accept(listener, &work) })
	select {
	case <-stop:
	case <-p.ended:
	}
	err = errors.Join(listener.Close(), p.server.Close())
	p.end()
	work.Wait()
	return err
}

// listenOn makes the socket, which is for root alone, in place of one whose process
// has died.
func listenOn(socket string) (net.Listener, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot remove the socket of a name server before: %w", err)
	}
	before := unix.Umask(0o177)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	unix.Umask(before)
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false) // it may be another's by then
	return listener, nil
}

func (p *process) accept(listener net.Listener, work *sync.WaitGroup) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.log.Error("the name server cannot be told anything any more", "err", err)
			p.end()
			return
		}
		p.used(1)
		work.Go(func() {
			defer p.used(-1)
			p.serve(conn)
		})
	}
}

// used counts users. Without any, and without tasks, there is no use for the process.
func (p *process) used(by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users += by
	p.timer.Stop()
	if p.users == 0 && p.server.idle() {
		p.timer = time.AfterFunc(orphanPatience, p.end)
	}
}

// serve does what one user asks, until it goes or the process ends.
func (p *process) serve(conn net.Conn) {
	gone := make(chan struct{})
	var closing sync.WaitGroup
	closing.Go(func() {
		select {
		case <-p.ended:
		case <-gone:
		}
		_ = conn.Close()
	})
	defer closing.Wait()
	defer close(gone)
	if err := send(conn, hello{p.self}); err != nil {
		return
	}
	for {
		var q request
		if err := receive(conn, &q); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				p.log.Warn("the name server was told what it cannot read", "err", err)
			}
			return
		}
		if err := send(conn, p.do(q)); err != nil {
			return
		}
		if q.End {
			p.end()
			return
		}
	}
}

func (p *process) do(q request) response {
	u := Update{All: true}
	switch {
	case q.End: // closes all sockets, so that nothing is held when that is answered
		_ = os.Remove(p.socket)
	case q.Update != nil:
		u = *q.Update
	default:
		return response{Error: "the name server was asked for nothing"}
	}
	answer, err := p.server.Update(u)
	if err != nil {
		return response{Error: err.Error()}
	}
	return response{Answer: answer}
}

// idle reports whether nobody is served.
func (s *Server) idle() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.tasks) == 0
}

// send writes a message: its length, and then JSON.
func send(w io.Writer, message any) error {
	text, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("cannot encode a message: %w", err)
	}
	if len(text) > messageBytesMax {
		return fmt.Errorf("a message of %d bytes is longer than %d", len(text), messageBytesMax)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
	return err
}

func receive(r io.Reader, message any) error {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > messageBytesMax {
		return fmt.Errorf("a message of %d bytes is longer than %d", n, messageBytesMax)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return err
	}
	return json.Unmarshal(text, message)
}
