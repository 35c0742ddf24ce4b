package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/swarmd/swarmd/engine/control"
)

// loose reads a query value as Docker reads most of its switches: anything but
// a few words is true.
func loose(query url.Values, key string) bool {
	value := strings.ToLower(strings.TrimSpace(query.Get(key)))
	return !slices.Contains([]string{"", "0", "no", "false", "none"}, value)
}

// looseOr is loose with a default for a value that is not given.
func looseOr(query url.Values, key string, otherwise bool) bool {
	if !query.Has(key) {
		return otherwise
	}
	return loose(query, key)
}

// strict reads a query value that Docker refuses unless it is a boolean.
func strict(query url.Values, key string) (bool, error) {
	value := query.Get(key)
	if value == "" {
		return false, nil
	}
	parsed, err := strconv.ParseBool(value)
	if err != nil {
		return false, badRequest("invalid value for %s: %s: %v", key, value, err)
	}
	return parsed, nil
}

// indexOf reads the version that an update of the named kind must present.
func indexOf(query url.Values, kind string) (uint64, error) {
	value := query.Get("version")
	index, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0, badRequest("invalid %s version '%s': %v", kind, value, err)
	}
	return index, nil
}

// filtersOf reads the filters of a listing, see decodeFilters.
func filtersOf(query url.Values) (control.Filters, error) {
	return decodeFilters(query.Get("filters"))
}

// decodeFilters accepts both encodings, {"key":{"value":true}} and the older
// {"key":["value"]}. Values are in order, each once; a value that is mapped to
// false counts, as it does in Docker.
func decodeFilters(encoded string) (control.Filters, error) {
	if encoded == "" {
		return nil, nil
	}
	var current map[string]map[string]bool
	if json.Unmarshal([]byte(encoded), &current) == nil {
		filters := make(control.Filters, len(current))
		for key, values := range current {
			filters[key] = []string{}
			for value := range values {
				filters[key] = append(filters[key], value)
			}
			slices.Sort(filters[key])
		}
		return filters, nil
	}
	var older map[string][]string
	if json.Unmarshal([]byte(encoded), &older) != nil {
		return nil, badRequest("invalid filter")
	}
	filters := make(control.Filters, len(older))
	for key, values := range older {
		sorted := slices.Clone(values)
		slices.Sort(sorted)
		filters[key] = append([]string{}, slices.Compact(sorted)...)
	}
	return filters, nil
}

// knownFilters refuses a filter that a listing does not have.
func knownFilters(filters control.Filters, known ...string) error {
	unknown := []string{}
	for key := range filters {
		if !slices.Contains(known, key) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return badRequest("invalid filter '%s'", slices.Min(unknown))
}

// labelled reports whether labels have every key, or key=value, of wanted.
func labelled(labels map[string]string, wanted []string) bool {
	for _, want := range wanted {
		key, value, exact := strings.Cut(want, "=")
		have, ok := labels[key]
		if !ok || exact && have != value {
			return false
		}
	}
	return true
}

// anyOf reports whether nothing is wanted, or one of wanted matches.
func anyOf(wanted []string, matches func(string) bool) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, matches)
}

// parseTimestamp reads seconds since 1970, with up to nine decimals; "" and "0"
// are the zero time. Clients convert other forms themselves.
func parseTimestamp(value string) (time.Time, error) {
	if value == "" || value == "0" {
		return time.Time{}, nil
	}
	whole, fraction, hasFraction := strings.Cut(value, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	if !hasFraction {
		return time.Unix(seconds, 0).UTC(), nil
	}
	const decimals = 9
	if len(fraction) > decimals {
		fraction = fraction[:decimals]
	}
	nanos, err := strconv.ParseUint(fraction, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	for range decimals - len(fraction) {
		nanos *= 10
	}
	return time.Unix(seconds, int64(nanos)).UTC(), nil
}

// number reads a query value that is a count, 0 when it is not given.
func number(query url.Values, key string) (int, error) {
	value := query.Get(key)
	if value == "" {
		return 0, nil
	}
	parsed, err := strconv.Atoi(value)
	if err != nil || parsed < 0 {
		return 0, badRequest("invalid value for %s: %q is not a positive number", key, value)
	}
	return parsed, nil
}

// logOptionsOf reads how much of a log is wanted. Its errors have no status of
// their own: Docker's differs between services and containers.
func logOptionsOf(query url.Values) (LogOptions, error) {
	options := LogOptions{
		Stdout: loose(query, "stdout"),
		Stderr: loose(query, "stderr"),
		Follow: loose(query, "follow"),
		Tail:   -1,
	}
	if !options.Stdout && !options.Stderr {
		return LogOptions{}, fmt.Errorf("Bad parameters: you must choose at least one stream") //nolint:staticcheck // Docker's text.
	}
	var err error
	if options.Since, err = parseTimestamp(query.Get("since")); err != nil {
		return LogOptions{}, fmt.Errorf("could not parse since timestamp: %w", err)
	}
	if options.Until, err = parseTimestamp(query.Get("until")); err != nil {
		return LogOptions{}, fmt.Errorf("could not parse until timestamp: %w", err)
	}
	if tail := query.Get("tail"); tail != "" && tail != "all" {
		if options.Tail, err = strconv.Atoi(tail); err != nil || options.Tail < 0 {
			return LogOptions{}, fmt.Errorf("tail value must be a positive integer or \"all\"")
		}
	}
	return options, nil
}

// queryOf is the request's query. What cannot be read in it is not there, as in
// Docker.
func queryOf(r *http.Request) url.Values { return r.URL.Query() }
