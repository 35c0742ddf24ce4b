package network

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/real/network/nameserver"
)

// namesArgument has this test be the name server's process.
const namesArgument = "names"

// failsOnce ends the name of a file that has the next process fail, beside its socket.
const failsOnce = ".fails"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == namesArgument {
		if os.Remove(os.Args[2]+failsOnce) == nil {
			os.Exit(1) // before it can be reached
		}
		os.Exit(nameserver.Run(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// remote has tasks served by a process of its own, of a file that is copied from this
// test's.
func (l *lab) remote() {
	l.t.Helper()
	dir := l.t.TempDir()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	program := filepath.Join(dir, "names")
	if err := os.Symlink(self, program); err != nil {
		l.t.Fatal(err)
	}
	l.config.NameServer, l.config.NameSocket = []string{program, namesArgument}, filepath.Join(dir, "s")
	l.restart()
}

// namers are the processes that answer on the host's behalf.
func (l *lab) namers() (pids []int) {
	l.t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if strings.Contains(string(text), namesArgument+"\x00"+l.config.NameSocket+"\x00") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// await waits until something is so.
func (l *lab) await(what string, is func() bool) time.Duration {
	l.t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) { // a look at what others do
		if is() {
			return time.Since(began)
		}
		if time.Since(began) > patience {
			l.t.Fatalf("gave up waiting until %s", what)
		}
	}
}

// Names are answered while no daemon runs, by the process and on the port that they
// were before, and by another when it is killed or there is a newer program.
func TestNamesOutliveTheDaemon(t *testing.T) {
	l := newLab(t)
	l.remote()
	const plan = "gateway 172.20.0.1/16\nmesh " + hostAddress + "\nnetwork red 4097 10.0.1.1/24\nname red web 10.0.1.50\nendpoint one 172.20.0.2 red=10.0.1.2"
	l.must("gateway 172.20.0.1/16")
	if got := l.namers(); len(got) != 0 {
		t.Errorf("nobody is on a network, and there are the name servers %v", got)
	}
	l.must(plan)
	one := l.task("one")
	answers := func() bool {
		return l.lookUp(one, "udp", "web", "A") == "NOERROR 10.0.1.50" && l.lookUp(one, "tcp", "web", "A") == "NOERROR 10.0.1.50"
	}
	again := func() bool { // a question that came in as the name server ended is not answered
		return l.lookUpFor(silence, one, "udp", "web", "A") == "NOERROR 10.0.1.50" && l.lookUpFor(silence, one, "tcp", "web", "A") == "NOERROR 10.0.1.50"
	}
	if !answers() {
		t.Fatal("the name is not answered")
	}
	before, port := l.namers(), l.net.kernel.names.ports["one"]
	if len(before) != 1 {
		t.Fatalf("the name servers are %v", before)
	}
	l.net.write() // what is done once the plan has been answered

	if err := l.net.Close(); err != nil {
		t.Fatal(err)
	}
	if !answers() {
		t.Error("the daemon does not run, and the name is not answered")
	}
	l.start()
	if !answers() {
		t.Error("the daemon has begun anew, and the name is not answered")
	}
	l.must(plan + "\nname red new 10.0.1.77")
	if after := l.namers(); len(after) != 1 || after[0] != before[0] || l.net.kernel.names.ports["one"] != port {
		t.Errorf("the name server was %v on port %d, and is %v on %d", before, port, after, l.net.kernel.names.ports["one"])
	}
	if got := l.lookUp(one, "udp", "new", "A"); got != "NOERROR 10.0.1.77" {
		t.Errorf("a new name: got %q", got)
	}

	t.Log("the name server is killed, and so is the next before it serves")
	if err := errors.Join(os.WriteFile(l.config.NameSocket+failsOnce, nil, 0o600), unix.Kill(before[0], unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	t.Logf("it is answered again after %v", l.await("the name is answered again", again))
	if got := l.net.kernel.names.ports["one"]; got != port {
		t.Errorf("it is answered on port %d, and was on %d", got, port)
	}
	if lines, err := l.net.Difference(l.plan(plan + "\nname red new 10.0.1.77")); err != nil || len(lines) > 0 {
		t.Errorf("the difference is %v, %v", lines, err)
	}

	t.Log("the daemon is of a newer version")
	killed := l.namers()
	newer := l.config.NameServer[0] + "-newer"
	if out, err := exec.Command("cp", "-L", l.config.NameServer[0], newer).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.config.NameServer = []string{newer, namesArgument}
	l.restart()
	if !answers() {
		t.Error("after an upgrade the name is not answered")
	}
	if after := l.namers(); len(after) != 1 || after[0] == killed[0] {
		t.Errorf("after an upgrade the name servers are %v, before they were %v", after, killed)
	}
	l.must("gateway 172.20.0.1/16")
	if err := l.net.Remove(); err != nil {
		t.Error(err)
	}
	l.await("the name server has ended", func() bool { return len(l.namers()) == 0 })
	if left, err := os.ReadDir(filepath.Dir(l.config.NameSocket)); err != nil || len(left) != 2 { // the programs
		t.Errorf("there are left %v, %v", left, err)
	}
}
