package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
)

// bodyBytesMax bounds a JSON body. The largest that Docker itself admits is a
// config of 1,024,000 bytes in base 64.
const bodyBytesMax = 4 << 20

// checkJSON refuses a body that does not say that it is JSON. A request
// without a body need not say so.
func checkJSON(r *http.Request) error {
	contentType := r.Header.Get("Content-Type")
	if contentType == "" && (r.Body == nil || r.ContentLength == 0) {
		return nil
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return badRequest("malformed Content-Type header (%s): %v", contentType, err)
	}
	if media != "application/json" {
		return badRequest("unsupported Content-Type header (%s): must be 'application/json'", contentType)
	}
	return nil
}

// readJSON decodes the body into out, which stays as it is when there is none.
// The texts are Docker's, but for the limit, which Docker does not have.
func readJSON(w http.ResponseWriter, r *http.Request, out any) error {
	if err := checkJSON(r); err != nil {
		return err
	}
	if r.Body == nil || r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength > bodyBytesMax {
		return badRequest("request body of %d bytes is too large: at most %d are read", r.ContentLength, bodyBytesMax)
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	if err := decoder.Decode(out); err != nil {
		return bodyFailure(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		if tooLarge(err) {
			return bodyFailure(err)
		}
		return badRequest("unexpected content after JSON")
	}
	return nil
}

func tooLarge(err error) bool {
	var limit *http.MaxBytesError
	return errors.As(err, &limit)
}

func bodyFailure(err error) error {
	switch {
	case tooLarge(err):
		return badRequest("request body is too large: at most %d bytes are read", bodyBytesMax)
	case errors.Is(err, io.EOF):
		return badRequest("invalid JSON: got EOF while reading request body")
	default:
		return badRequest("invalid JSON: %v", err)
	}
}
