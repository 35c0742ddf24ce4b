package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// exec -it on a terminal: the command learns its size, gets every key as it is
// typed, even an interrupt, and the terminal is afterwards as it was.
func TestExecOnTerminal(t *testing.T) {
	const interrupt = 3
	keyboard, terminal := openTerminal(t)
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: 90}); err != nil {
		t.Fatal(err)
	}
	before, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	server := newWorld(t)
	typed := make(chan error, 1)
	go func() {
		<-server.resized // the terminal is raw by now
		_, err := keyboard.Write([]byte{interrupt})
		typed <- err
	}()
	var errs bytes.Buffer
	code := run(t.Context(), []string{"exec", "-it", "term", "sh"}, session{in: terminal, out: terminal, errs: &errs, env: server.env})
	if code != 0 || errs.Len() > 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	if err := <-typed; err != nil {
		t.Fatal(err)
	}
	shown := make([]byte, 64)
	n, err := keyboard.Read(shown)
	if err != nil || string(shown[:n]) != "key '\\x03'" {
		t.Errorf("the terminal shows %q, %v", shown[:n], err)
	}
	server.lock.Lock()
	defer server.lock.Unlock()
	if !slices.Contains(server.asked, "POST /v1.50/exec/exec2/resize?h=25&w=90") {
		t.Errorf("the command did not learn the size of its terminal:\n%s", strings.Join(server.asked, "\n"))
	}
	after, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal was %+v and is %+v, %v", before, after, err)
	}
}

// openTerminal makes a pseudo-terminal: its user's end and its program's end.
func openTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo-terminals: ", err)
	}
	t.Cleanup(func() { _ = user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return user, program
}
