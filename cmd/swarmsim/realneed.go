//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/swarmd/swarmd/real/lab"
	"github.com/swarmd/swarmd/sim"
	"github.com/swarmd/swarmd/sim/script"
)

// realWaitMax is how long a scenario may let time pass at once where time is real.
const realWaitMax = 10 * time.Minute

// realCannot is why the real world cannot do what a scenario asks, "" if it can.
func realCannot(n script.Need) string {
	const (
		clock      = "the hosts of a lab have the clock of this machine"
		disk       = "the hosts of a lab have the disk of this machine"
		containerd = "containerd does what it does: nothing can be made to go wrong in it"
		message    = "messages can be cut off, and not delayed, doubled or lost one by one"
		inside     = "it cannot be seen from outside"
		machine    = "the hosts of a lab are of the kind and size of this machine"
		image      = "how long the container runtime takes, and whether it fails, is its own affair"
		suspend    = "the hosts of a lab have one clock: none can be left behind; pause is what there is"
		snapshots  = "swarmd takes snapshots when it sees fit"
		history    = "no history is kept of what clients are told"
	)
	why := map[string]string{
		"clock": clock, "storm --clock": clock, "storm --drift": clock,
		"install":  "one swarmd is run on all hosts: --swarmd says which",
		"transfer": "swarmd never hands its leadership over when asked", "swarm --trailing-entries": snapshots, "swarm --snapshot-interval": snapshots,
		"disk": disk, "storm --disk-slow": disk, "storm --disk-stuck": disk,
		"mishaps": containerd, "storm --mishaps": containerd, "lose-runtime": containerd, "storm --lose-runtime": containerd,
		"clog": message, "unclog": message, "storm --clog": message, "link": message, "storm --flaky": message,
		"suspend": suspend, "wakeup": suspend, "storm --suspend": suspend,
		"clients": history, "check linearizable": history,
		"quiet": inside, "probe": inside, "writes": inside, "reach": inside, "networked": inside, "network forgotten": inside,
		"host --cpus": machine, "host --memory": machine, "host --platform": machine,
		"image --pull": image, "image --create": image, "image --start": image, "image --create-fail": image, "image --start-fail": image,
		"image --flaps": "health checks are what --health-cmd says", "image --healthy": "health checks are what --health-cmd says",
		"image --oom": "memory cannot be made to run out", "end --oom": "memory cannot be made to run out",
		"swarm --snapshot-entries": snapshots,
	}[n.What]
	if why == "" && n.Time > realWaitMax {
		return fmt.Sprintf("it takes %v, and time is real: at most %v at once", n.Time, realWaitMax)
	}
	return why
}

// checkReal says what a scenario cannot have in the real world.
func checkReal(s *script.Script) error {
	err := s.Check(realCannot)
	if n := len(s.Config.Hosts); n > lab.HostsMax {
		return &script.Error{File: s.File, Found: fmt.Sprintf("%d hosts", n), Expected: fmt.Sprintf("at most %d in a lab", lab.HostsMax)}
	}
	return err
}

// realImages are small images that stand in for all that a scenario names, and
// behave as it says.
func realImages(s *script.Script) []lab.Image {
	plain := lab.Image{}
	var all []lab.Image
	for _, name := range s.Images {
		if _, special := s.Config.Images[name]; !special {
			plain.Names = append(plain.Names, name)
		}
	}
	if len(plain.Names) > 0 {
		all = append(all, plain)
	}
	for _, name := range sortedKeys(s.Config.Images) {
		if image := s.Config.Images[name]; !image.Missing {
			all = append(all, lab.Image{Names: []string{name}, Script: imageScript(image)})
		}
	}
	return all
}

// imageScript is what containers of an image do.
func imageScript(image sim.Image) string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\n")
	switch {
	case image.Stubborn:
		b.WriteString("trap '' TERM INT QUIT\n")
	case image.StopTime > 0:
		fmt.Fprintf(&b, "trap 'sleep %g; exit 0' TERM INT QUIT\n", image.StopTime.Seconds())
	default:
		b.WriteString("trap 'exit 0' TERM INT QUIT\n")
	}
	b.WriteString("trap 'exit $(cat /tmp/code)' USR1\n")
	if !image.Exits {
		// A signal that is trapped, or ignored, ends the wait and not the script.
		b.WriteString("while :; do sleep 100000 & wait $!; done\n")
		return b.String()
	}
	codes := image.Codes
	if len(codes) == 0 {
		codes = []int{0}
	}
	fmt.Fprintf(&b, "sleep %g & wait $!\n", image.RunTime.Seconds())
	fmt.Fprintf(&b, "set -- %s\n", strings.Trim(fmt.Sprint(slices.Clone(codes)), "[]"))
	b.WriteString("shift $(($(od -An -N2 -tu2 /dev/urandom) % $#))\nexit $1\n")
	return b.String()
}
