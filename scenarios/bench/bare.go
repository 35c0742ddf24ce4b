package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
)

// containerd is the side that is nothing but containerd.
const containerd = "containerd"

// launchBare launches as many containers with bare containerd as the largest of
// our own launches does, as many at a time as the daemon does, and returns the
// seconds that it took. tests are those of real/runtime, compiled.
func launchBare(ctx context.Context, tests string) (float64, error) {
	cmd := exec.CommandContext(ctx, tests, "-test.run", "^$", "-test.bench", "^BenchmarkContainerd$", "-test.benchtime", fmt.Sprintf("%dx", launchMax))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("bare containerd cannot be measured: %w\n%s", err, out)
	}
	found := regexp.MustCompile(`(?m)^BenchmarkContainerd\S*\s+` + strconv.Itoa(launchMax) + `\s+(\d+) ns/op`).FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("bare containerd was not measured:\n%s", out)
	}
	each, err := strconv.ParseFloat(string(found[1]), 64)
	return each * launchMax / 1e9, err
}
