package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/swarmd/swarmd/engine/control"
)

// A failure is an error with the status that Docker gives it.
type failure struct {
	status  int
	message string
}

func (f *failure) Error() string { return f.message }

func fail(status int, format string, args ...any) error {
	return &failure{status: status, message: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return fail(http.StatusBadRequest, format, args...)
}

// statusOfKind is the status of each kind of failure of the engine's.
func statusOfKind(kind control.Kind) int {
	switch kind {
	case control.Invalid:
		return http.StatusBadRequest
	case control.Unauthorized:
		return http.StatusUnauthorized
	case control.Forbidden:
		return http.StatusForbidden
	case control.NotFound:
		return http.StatusNotFound
	case control.Conflict:
		return http.StatusConflict
	case control.Unimplemented:
		return http.StatusNotImplemented
	case control.Unavailable:
		return http.StatusServiceUnavailable
	case control.Internal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// statusOf reads the status from an error. Rules in order, the first that
// matches wins; the methods are those of github.com/containerd/errdefs.
func statusOf(err error) int {
	if known, ok := errors.AsType[*failure](err); ok {
		return known.status
	}
	rules := []struct {
		is     func(error) bool
		status int
	}{
		{is[interface{ NotFound() }], http.StatusNotFound},
		{is[interface{ InvalidParameter() }], http.StatusBadRequest},
		{is[interface{ OutOfRange() }], http.StatusBadRequest},
		{is[interface{ Conflict() }], http.StatusConflict},
		{is[interface{ AlreadyExists() }], http.StatusConflict},
		{is[interface{ FailedPrecondition() }], http.StatusConflict},
		{is[interface{ Unauthorized() }], http.StatusUnauthorized},
		{is[interface{ Forbidden() }], http.StatusForbidden},
		{is[interface{ NotImplemented() }], http.StatusNotImplemented},
		{is[interface{ NotModified() }], http.StatusNotModified},
		{is[interface{ Unavailable() }], http.StatusServiceUnavailable},
	}
	for _, rule := range rules {
		if rule.is(err) {
			return rule.status
		}
	}
	return http.StatusInternalServerError
}

func is[T any](err error) bool {
	var target T
	return errors.As(err, &target)
}

// messageOf is what the user is told. A deadline has Docker's text.
func messageOf(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
	}
	return err.Error()
}
