package runtime

import (
	"slices"
	"strings"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// mergeEnv is the environment of a container's process: Docker's own variables,
// then the image's, then the user's; a later one replaces an earlier one. A name
// without a value takes the variable away.
func mergeEnv(hostname string, tty bool, image, user []string) []string {
	env := []string{"PATH=" + defaultPath, "HOSTNAME=" + hostname}
	if tty {
		env = append(env, "TERM=xterm")
	}
	for _, entry := range slices.Concat(image, user) {
		name, _, hasValue := strings.Cut(entry, "=")
		at := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		switch {
		case name == "":
		case at >= 0 && hasValue:
			env[at] = entry
		case at >= 0:
			env = slices.Delete(env, at, at+1)
		case hasValue:
			env = append(env, entry)
		}
	}
	return env
}
