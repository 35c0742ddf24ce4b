package runtime

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// A failure is an error with a text of Docker's, and a class by which the API
// chooses its status. The class is known by the methods of its wrapped error, as
// github.com/containerd/errdefs has them; it is not part of the text.
type failure struct {
	text  string
	class error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.class }

func notFoundf(format string, args ...any) error {
	return &failure{fmt.Sprintf(format, args...), errdefs.ErrNotFound}
}

func invalidf(format string, args ...any) error {
	return &failure{fmt.Sprintf(format, args...), errdefs.ErrInvalidArgument}
}

func conflictf(format string, args ...any) error {
	return &failure{fmt.Sprintf(format, args...), errdefs.ErrConflict}
}

func unsupported(text string) error {
	return &failure{text, errdefs.ErrNotImplemented}
}

func unauthorizedf(format string, args ...any) error {
	return &failure{fmt.Sprintf(format, args...), errdefs.ErrUnauthenticated}
}

func unavailablef(format string, args ...any) error {
	return &failure{fmt.Sprintf(format, args...), errdefs.ErrUnavailable}
}
