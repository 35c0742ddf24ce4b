//go:build wasip1

// Guest is a manager of a simulated swarm, as a program for a sandbox: the driver
// that production has (package real), its consensus with hashicorp/raft and all
// guards (real/consensus), and its log on disk (real/disk). What surrounds them
// is the host's: clocks and randomness are the system's, which the host is; the
// network is file 3; disks and all that the guest tells are calls of the host's.
//
// It is built with GOOS=wasip1 GOARCH=wasm, and runs with its Boot, in JSON, for
// an argument.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/swarmd/swarmd/engine"
	"github.com/swarmd/swarmd/real"
	"github.com/swarmd/swarmd/sim/gate"
)

// exitFailed is how the process ends when its log cannot go on.
const exitFailed = 1

func main() {
	if err := run(); err != nil {
		tell(gate.FromFailed, []byte(err.Error()))
		os.Exit(exitFailed)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("guest takes one argument, its boot, and has %d", len(os.Args)-1)
	}
	var boot gate.Boot
	if err := json.Unmarshal([]byte(os.Args[1]), &boot); err != nil {
		return fmt.Errorf("the boot cannot be read: %w", err)
	}
	g := newGuest(boot)
	g.driver.Connect(real.Ports{
		Log: g, Runtime: g, Network: g, Authority: g, Peers: g, Publish: g.publish, Observe: g.observe, Logger: g.logger,
	})
	failed := make(chan error, 1)
	g.membership.fatal = func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	go func() { g.membership.fatal(g.inbox.serve()) }()
	if err := g.membership.begin(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		g.driver.Run(context.Background(), engine.Started{
			Identity: boot.Identity, Locked: boot.Locked, Managers: boot.Managers, Seed: boot.Seed, Description: boot.Description,
			Mesh: true,
		})
		close(ended)
	}()
	go g.membership.serve()
	if boot.Identity.Manager && !boot.Locked {
		if err := g.membership.open(boot.Identity); err != nil {
			return err
		}
	}
	select {
	case err := <-failed:
		return err
	case <-ended:
		return nil
	}
}
