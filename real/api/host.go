package api

import (
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/system"
)

// A Host is what /version and /info say of the host and of the daemon.
type Host struct {
	ID        string // of the daemon on this host: any text that stays the same
	Name      string // host name
	Version   string // of swarmd
	GitCommit string
	BuildTime string
	// Components are what swarmd runs containers with, for /version.
	Components []system.ComponentVersion

	KernelVersion   string
	OperatingSystem string
	CPUs            int
	MemoryBytes     int64
	CgroupVersion   string // 1 or 2

	RootDir        string // where the daemon keeps its state
	Driver         string // containerd's snapshotter
	Runtime        string // such as runc
	Labels         []string
	LoggingDrivers []string

	// Bridge is the network that containers are on, for GET /networks.
	Bridge HostBridge
}

// A HostBridge is the bridge that this host's containers are on.
type HostBridge struct {
	Interface string
	Subnet    netip.Prefix
	Gateway   netip.Addr
}

// DescribeHost reads from the kernel what it knows about the host. What cannot
// be read stays empty.
func DescribeHost() Host {
	host := Host{CPUs: runtime.NumCPU(), CgroupVersion: "1"}
	host.Name, _ = os.Hostname()
	host.KernelVersion = strings.TrimSpace(fileText("/proc/sys/kernel/osrelease"))
	host.OperatingSystem = valueAfter(fileText("/etc/os-release"), "PRETTY_NAME=")
	host.MemoryBytes = kibibytes(valueAfter(fileText("/proc/meminfo"), "MemTotal:"))
	host.ID = strings.TrimSpace(fileText("/etc/machine-id"))
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		host.CgroupVersion = "2"
	}
	return host
}

func fileText(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}

// valueAfter returns the rest of the line that begins with a prefix.
func valueAfter(text, prefix string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, prefix); ok {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// kibibytes reads "123 kB" as the kernel means it.
func kibibytes(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}
