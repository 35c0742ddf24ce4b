// Shuffle writes an overlay for go build with which the Go runtime of a guest draws
// which of the goroutines that are ready runs next. By itself it takes them in the
// order in which they came to be ready, whatever the seed, and so tries one schedule
// only.
//
//	go run ./sim/guest/shuffle DIR
//	GOOS=wasip1 GOARCH=wasm go build -overlay DIR/overlay.json -o guest-shuffled.wasm ./sim/guest
//
// It changes one function of the runtime. If that is not as it is known here, as
// after an upgrade of Go, it fails, and somebody must look.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What is changed of runtime.runqget: the next goroutine changes places with one
// that waits, before it is taken. There is one processor, so nobody else looks.
// cheaprandn is drawn from what the host gives the process.
const (
	taken = "\t\tif t == h {\n\t\t\treturn nil, false\n\t\t}\n\t\tgp := pp.runq[h%uint32(len(pp.runq))].ptr()\n" +
		"\t\tif atomic.CasRel(&pp.runqhead, h, h+1) { // cas-release, commits consume\n\t\t\treturn gp, false\n"
	drawn = "\t\tif n := t - h; n > 1 {\n\t\t\ti, k := h%uint32(len(pp.runq)), (h+cheaprandn(n))%uint32(len(pp.runq))\n" +
		"\t\t\tpp.runq[i], pp.runq[k] = pp.runq[k], pp.runq[i]\n\t\t}\n"
	before = "\t\tgp := pp.runq"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "shuffle:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("say in which folder the overlay is to be")
	}
	dir, err := filepath.Abs(os.Args[1])
	if err != nil {
		return err
	}
	root, err := exec.Command("go", "env", "GOROOT").Output() //nolint:noctx // it answers at once
	if err != nil {
		return fmt.Errorf("go cannot say where it is: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "runtime", "proc.go")
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	changed, err := shuffled(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	target := filepath.Join(dir, "proc.overlay") // no package: go build ./... passes it by
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {source: target}})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(target, []byte(changed), 0o644), os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644))
}

// shuffled is the text of the runtime's scheduler with the change.
func shuffled(text string) (string, error) {
	if strings.Count(text, taken) != 1 {
		return "", errors.New("this release of Go takes goroutines from its queue in another way than is known: look at runqget, and at what is changed of it")
	}
	return strings.Replace(text, taken, strings.Replace(taken, before, drawn+before, 1), 1), nil
}
