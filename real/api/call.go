package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/swarmd/swarmd/engine/control"
)

// call posts a call and returns its answer as an A, or the engine's refusal.
func call[A control.Answer](ctx context.Context, engine Engine, request control.Call) (A, error) {
	var none A
	ctx, cancel := context.WithTimeout(ctx, callWait)
	defer cancel()
	answer, err := engine.Call(ctx, request)
	if err != nil {
		return none, err
	}
	switch answer := answer.(type) {
	case A:
		return answer, nil
	case control.Failed:
		return none, fail(statusOfKind(answer.Kind), "%s", answer.Message)
	default:
		return none, fmt.Errorf("the engine answered %T with %T", request, answer)
	}
}

// one returns the only element of an answer about a single object.
func one[T any](kind, ref string, elements []T) (T, error) {
	if len(elements) != 1 {
		var none T
		return none, fail(http.StatusNotFound, "%s %s not found", kind, ref)
	}
	return elements[0], nil
}
