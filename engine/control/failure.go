package control

import "fmt"

// Docker's control plane speaks gRPC to its daemon, which passes the texts on
// with their prefix. Users search for what follows "desc = "; the prefix is kept
// so that the whole message is the same.

// plain is a failure whose text has no prefix: one of Docker's daemon, or ours.
func plain(kind Kind, format string, args ...any) *Failed {
	return &Failed{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *Failed {
	return remote(Invalid, "InvalidArgument", format, args...)
}

func unmet(format string, args ...any) *Failed {
	return remote(Invalid, "FailedPrecondition", format, args...)
}

func exists(format string, args ...any) *Failed {
	return remote(Conflict, "AlreadyExists", format, args...)
}

func unknown(format string, args ...any) *Failed {
	return remote(Internal, "Unknown", format, args...)
}

func unimplemented(format string, args ...any) *Failed {
	return remote(Unimplemented, "Unimplemented", format, args...)
}

// unserved refuses what Docker would do and this build cannot, rather than take
// it in and let it be without effect.
func unserved(what, instead string) *Failed {
	return plain(Unimplemented, "%s: not served yet; %s", what, instead)
}

func remote(kind Kind, code, format string, args ...any) *Failed {
	return &Failed{Kind: kind, Message: "rpc error: code = " + code + " desc = " + fmt.Sprintf(format, args...)}
}

// A check finds what is wrong, or nil.
type check func() *Failed

// first runs checks in order until one finds something: the order is Docker's,
// since of several faults the user is shown one.
func first(checks ...check) *Failed {
	for _, c := range checks {
		if failed := c(); failed != nil {
			return failed
		}
	}
	return nil
}
