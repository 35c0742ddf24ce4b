package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// A version is one of the API, such as 1.50.
type version struct{ major, minor int }

// The newest and oldest versions served. The newest is the default of requests
// that name none; the range is that of dockerd 28.
func newest() version { return version{1, 50} }
func oldest() version { return version{1, 24} }

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

func (v version) less(w version) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

// atLeast reports whether v is 1.minor or newer.
func (v version) atLeast(minor int) bool { return !v.less(version{1, minor}) }

type versionKey struct{}

// versionOf is the version that the request's path named.
func versionOf(ctx context.Context) version {
	if v, ok := ctx.Value(versionKey{}).(version); ok {
		return v
	}
	return newest()
}

// splitVersion cuts a version off the front of a path. A path that begins with
// something else, such as /v9/ or /volumes, is left whole.
func splitVersion(path string) (v version, rest string, found bool) {
	after, ok := strings.CutPrefix(path, "/v")
	if !ok {
		return version{}, path, false
	}
	number, rest, ok := strings.Cut(after, "/")
	if !ok {
		return version{}, path, false
	}
	major, minor, ok := strings.Cut(number, ".")
	if !ok || !digits(major) || !digits(minor) {
		return version{}, path, false
	}
	// At most four digits each: neither can fail.
	v.major, _ = strconv.Atoi(major)
	v.minor, _ = strconv.Atoi(minor)
	return v, "/" + rest, true
}

func digits(s string) bool {
	const digitsMax = 4
	if s == "" || len(s) > digitsMax {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}

// withVersion returns r as the routes know it: without a version in its path,
// and with it in its context.
func withVersion(r *http.Request) (*http.Request, error) {
	v, rest, found := splitVersion(r.URL.Path)
	if !found {
		return r, nil
	}
	switch {
	case v.less(oldest()):
		return nil, fail(http.StatusBadRequest, "client version %s is too old. Minimum supported API version is %s, "+
			"please upgrade your client to a newer version", v, oldest())
	case newest().less(v):
		return nil, badRequest("client version %s is too new. Maximum supported API version is %s", v, newest())
	}
	stripped := r.WithContext(context.WithValue(r.Context(), versionKey{}, v))
	stripped.URL = new(url.URL)
	*stripped.URL = *r.URL
	stripped.URL.Path = rest
	if r.URL.RawPath != "" {
		stripped.URL.RawPath = strings.TrimPrefix(r.URL.RawPath, strings.TrimSuffix(r.URL.Path, rest))
	}
	return stripped, nil
}
