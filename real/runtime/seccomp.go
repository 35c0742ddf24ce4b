package runtime

import (
	"encoding/json"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// seccompBytesMax is how large a profile may be.
const seccompBytesMax = 1 << 20

// A seccompProfile is a profile in Docker's form, or in that of the OCI, which
// is a part of it.
type seccompProfile struct {
	DefaultAction   specs.LinuxSeccompAction `json:"defaultAction"`
	DefaultErrnoRet *uint                    `json:"defaultErrnoRet"`
	Architectures   []specs.Arch             `json:"architectures"`
	ArchMap         []struct {
		Architecture     specs.Arch   `json:"architecture"`
		SubArchitectures []specs.Arch `json:"subArchitectures"`
	} `json:"archMap"`
	Syscalls []struct {
		specs.LinuxSyscall
		Name     string          `json:"name"`
		Includes seccompSelector `json:"includes"`
		Excludes seccompSelector `json:"excludes"`
	} `json:"syscalls"`
}

// A seccompSelector says where a rule is used, or is not.
type seccompSelector struct {
	Caps      []string `json:"caps"`
	Arches    []string `json:"arches"`
	MinKernel string   `json:"minKernel"`
}

// customSeccomp reads a user's profile for a container with capabilities caps.
func customSeccomp(profile []byte, caps []string) (*specs.LinuxSeccomp, error) {
	if len(profile) > seccompBytesMax {
		return nil, invalidf("the seccomp profile has %d bytes, at most %d are possible", len(profile), seccompBytesMax)
	}
	var p seccompProfile
	if err := json.Unmarshal(profile, &p); err != nil {
		return nil, invalidf("Decoding seccomp profile failed: %s", err)
	}
	if p.DefaultAction == "" {
		return nil, invalidf("the seccomp profile has no defaultAction")
	}
	s := &specs.LinuxSeccomp{DefaultAction: p.DefaultAction, DefaultErrnoRet: p.DefaultErrnoRet, Architectures: p.Architectures}
	for _, m := range p.ArchMap {
		if m.Architecture == seccompArch() {
			s.Architectures = append(append(s.Architectures, m.Architecture), m.SubArchitectures...)
		}
	}
	for _, rule := range p.Syscalls {
		if rule.Includes.MinKernel != "" && !kernelAtLeast(rule.Includes.MinKernel) {
			continue
		}
		if !rule.Includes.holds(caps) || rule.Excludes.touches(caps) {
			continue
		}
		call := rule.LinuxSyscall
		if rule.Name != "" {
			call.Names = append(call.Names, rule.Name)
		}
		if len(call.Names) == 0 {
			return nil, invalidf("a rule of the seccomp profile names no system call")
		}
		s.Syscalls = append(s.Syscalls, call)
	}
	return s, nil
}

// holds reports whether all that the selector asks for is so.
func (s seccompSelector) holds(caps []string) bool {
	for _, c := range s.Caps {
		if !slices.Contains(caps, c) {
			return false
		}
	}
	return len(s.Arches) == 0 || slices.Contains(s.Arches, dockerArch())
}

// touches reports whether anything that the selector names is so.
func (s seccompSelector) touches(caps []string) bool {
	for _, c := range s.Caps {
		if slices.Contains(caps, c) {
			return true
		}
	}
	return slices.Contains(s.Arches, dockerArch()) || s.MinKernel != "" && kernelAtLeast(s.MinKernel)
}

// dockerArch is the machine as Docker's profiles name it.
func dockerArch() string {
	return strings.ToLower(strings.TrimPrefix(string(seccompArch()), "SCMP_ARCH_"))
}
