package runtime

import (
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/cap"
)

// defaultCapabilities are Docker's.
func defaultCapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
		"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}

const allCapabilities = "ALL"

// capabilities are those of a container, given what is added and dropped, and
// what the host has to give.
func capabilities(add, drop, host []string) ([]string, error) {
	added, err := normalizeCapabilities(add, host)
	if err != nil {
		return nil, err
	}
	dropped, err := normalizeCapabilities(drop, cap.Known())
	if err != nil {
		return nil, err
	}
	var set []string
	switch {
	case slices.Contains(added, allCapabilities):
		set = host
	case slices.Contains(dropped, allCapabilities):
		return added, nil
	default:
		set = slices.DeleteFunc(defaultCapabilities(), func(c string) bool { return !slices.Contains(host, c) })
	}
	set = slices.DeleteFunc(slices.Clone(set), func(c string) bool { return slices.Contains(dropped, c) })
	for _, c := range added {
		if c != allCapabilities && !slices.Contains(set, c) {
			set = append(set, c)
		}
	}
	slices.Sort(set)
	return set, nil
}

// normalizeCapabilities gives names the form CAP_NAME and refuses those that are
// not among the known.
func normalizeCapabilities(names, known []string) ([]string, error) {
	var normal []string
	for _, name := range names {
		full := strings.ToUpper(name)
		if full == allCapabilities || full == "CAP_"+allCapabilities {
			normal = append(normal, allCapabilities)
			continue
		}
		if !strings.HasPrefix(full, "CAP_") {
			full = "CAP_" + full
		}
		switch {
		case !slices.Contains(cap.Known(), full):
			return nil, invalidf("unknown capability: %q", name)
		case !slices.Contains(known, full):
			return nil, invalidf("capability not supported by your kernel or not available in the current environment: %q", name)
		}
		normal = append(normal, full)
	}
	return normal, nil
}
