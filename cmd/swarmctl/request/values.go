package request

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/cli/opts"
	"github.com/moby/moby/api/types/swarm"
	"github.com/spf13/pflag"
)

// This file has the kinds of flag values that neither pflag nor docker's opts
// have.

// A count is a number that may be absent.
type count struct{ value *uint64 }

func (c *count) Set(s string) error {
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		return err
	}
	c.value = &n
	return nil
}

func (c *count) Type() string { return "uint" }

func (c *count) String() string {
	if c.value == nil {
		return ""
	}
	return strconv.FormatUint(*c.value, 10)
}

// A ratio is a fraction, as the API has it.
type ratio float32

func (r *ratio) Set(s string) error {
	f, err := strconv.ParseFloat(s, 32)
	*r = ratio(f)
	return err
}

func (r *ratio) Type() string   { return "float" }
func (r *ratio) String() string { return strconv.FormatFloat(float64(*r), 'g', -1, 32) }

// words is a command, written as one would in a shell.
type words []string

func (w *words) Set(s string) error {
	split, err := SplitWords(s)
	*w = split
	return err
}

func (w *words) Type() string { return "command" }

func (w *words) String() string {
	if len(*w) == 0 {
		return ""
	}
	return fmt.Sprint([]string(*w))
}

// SplitWords splits a command as a POSIX shell does, without expanding anything:
// blanks separate, quotes and backslashes keep together, # begins a comment.
func SplitWords(s string) ([]string, error) {
	var (
		found   = []string{}
		word    strings.Builder
		inside  bool // a word has begun
		quote   rune // the quote that is open, or 0
		escaped bool
	)
	for i, r := range s {
		switch {
		case escaped:
			if quote == '"' && r != '"' && r != '\\' {
				word.WriteRune('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inside = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '"' || r == '\'':
			quote, inside = r, true
		case r == '#' && !inside:
			if end := strings.IndexByte(s[i:], '\n'); end >= 0 {
				rest, err := SplitWords(s[i+end:])
				return append(found, rest...), err
			}
			return found, nil
		case strings.ContainsRune(" \t\r\n", r):
			if inside {
				found = append(found, word.String())
				word.Reset()
				inside = false
			}
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	switch {
	case escaped:
		return nil, errors.New("EOF found after escape character")
	case quote != 0:
		return nil, errors.New("EOF found when expecting closing quote")
	case inside:
		found = append(found, word.String())
	}
	return found, nil
}

// preferences are placement preferences.
type preferences []swarm.PlacementPreference

func (p *preferences) Set(s string) error {
	strategy, descriptor, ok := strings.Cut(s, "=")
	if !ok || strategy == "" {
		return errors.New(`placement preference must be of the format "<strategy>=<arg>"`)
	}
	if strategy != "spread" {
		return fmt.Errorf("unsupported placement preference %s (only spread is supported)", strategy)
	}
	*p = append(*p, swarm.PlacementPreference{Spread: &swarm.SpreadOver{SpreadDescriptor: descriptor}})
	return nil
}

func (p *preferences) Type() string { return "pref" }

func (p *preferences) String() string {
	shown := make([]string, 0, len(*p))
	for _, preference := range *p {
		shown = append(shown, "spread="+preference.Spread.SpreadDescriptor)
	}
	if len(shown) == 0 {
		return ""
	}
	return fmt.Sprint(shown)
}

// A credentialSpec says where a Windows service account's specification is.
type credentialSpec struct {
	value  *swarm.CredentialSpec
	source string
}

func (c *credentialSpec) Set(s string) error {
	c.source, c.value = s, &swarm.CredentialSpec{}
	if s == "" {
		return nil // update removes it
	}
	scheme, rest, _ := strings.Cut(s, "://")
	switch scheme {
	case "config":
		c.value.Config = rest
	case "file":
		c.value.File = rest
	case "registry":
		c.value.Registry = rest
	default:
		return errors.New(`invalid credential spec: value must be prefixed with "config://", "file://", or "registry://"`)
	}
	return nil
}

func (c *credentialSpec) Type() string   { return "credential-spec" }
func (c *credentialSpec) String() string { return c.source }

// List adds a flag that can be given several times.
func List(flags *pflag.FlagSet, values *[]string, name, shorthand, usage string, check opts.ValidatorFctType) {
	flags.VarP(opts.NewListOptsRef(values, check), name, shorthand, usage)
}

// genericResource checks the form of one --generic-resource.
func genericResource(s string) (string, error) {
	if !strings.Contains(s, "=") {
		return "", fmt.Errorf("invalid generic-resource format `%s` expected `name=value`", s)
	}
	return s, nil
}

// genericResources turns --generic-resource flags into what the API takes: only
// amounts can be asked for, not names.
func genericResources(pairs []string) ([]swarm.GenericResource, error) {
	var resources []swarm.GenericResource
	for _, pair := range pairs {
		kind, value, _ := strings.Cut(pair, "=")
		kind, value = strings.TrimSpace(kind), strings.TrimSpace(value)
		amount, err := strconv.ParseInt(value, 10, 64)
		switch {
		case strings.Contains(value, "="):
			return nil, fmt.Errorf("invalid generic resource specification: could not parse GenericResource: incorrect term %s, missing '=' or malformed expression", pair)
		case err != nil:
			return nil, fmt.Errorf("invalid generic-resource request `%s=%s`, Named Generic Resources is not supported for service create or update", kind, value)
		case amount < 0:
			return nil, fmt.Errorf("invalid generic resource specification: could not parse GenericResource: cannot ask for negative resource %s", kind)
		}
		resources = append(resources, swarm.GenericResource{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: kind, Value: amount}})
	}
	return resources, nil
}
