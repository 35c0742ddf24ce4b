package runtime

import (
	goruntime "runtime"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// seccompArch is this machine, for seccomp.
func seccompArch() specs.Arch {
	switch goruntime.GOARCH {
	case "amd64":
		return specs.ArchX86_64
	case "arm64":
		return specs.ArchAARCH64
	case "386":
		return specs.ArchX86
	case "arm":
		return specs.ArchARM
	case "ppc64le":
		return specs.ArchPPC64LE
	case "s390x":
		return specs.ArchS390X
	case "riscv64":
		return specs.ArchRISCV64
	default:
		return specs.Arch("SCMP_ARCH_" + strings.ToUpper(goruntime.GOARCH))
	}
}

// kernelAtLeast compares the kernel's version, as 5.10.0-x, with one such as 5.8.
func kernelAtLeast(wanted string) bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	have, want := versionOf(unix.ByteSliceToString(name.Release[:])), versionOf(wanted)
	return have[0] > want[0] || have[0] == want[0] && have[1] >= want[1]
}

// versionOf is the major and the minor number.
func versionOf(text string) (v [2]int) {
	for i, part := range strings.SplitN(text, ".", 3) {
		if i == len(v) {
			break
		}
		end := strings.IndexFunc(part, func(c rune) bool { return c < '0' || c > '9' })
		if end >= 0 {
			part = part[:end]
		}
		v[i], _ = strconv.Atoi(part)
	}
	return v
}
