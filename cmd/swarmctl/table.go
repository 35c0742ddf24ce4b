package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/docker/cli/cli/command/formatter"
	"github.com/docker/cli/templates"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// A row is one object of a listing: its columns by their names in templates.
type row map[string]string

// FullHeader implements [formatter.SubContext]; listings carry their own.
func (r row) FullHeader() any { return r }

// Label returns one label of the object, for templates: {{.Label "k"}}.
func (r row) Label(key string) string {
	for _, pair := range strings.Split(r["Labels"], ",") {
		if k, v, ok := strings.Cut(pair, "="); ok && k == key {
			return v
		}
	}
	return ""
}

// A listing is the flags and the form of a command that lists objects.
type listing struct {
	columns []column // in the order of the default table
	shown   string   // the default format, as docker's

	format  string
	quiet   bool
	noTrunc bool
	filters []string
}

// A column has a name in templates and a heading in tables.
type column struct{ name, heading string }

// flags gives a command the flags of a listing.
func (l *listing) flags(c *cobra.Command, quiet string) {
	f := c.Flags()
	f.StringVar(&l.format, "format", "", `Format output: "table", "table TEMPLATE", "json" or a Go template`)
	f.BoolVarP(&l.quiet, "quiet", "q", false, quiet)
	f.StringArrayVarP(&l.filters, "filter", "f", nil, `Filter output based on conditions provided: key=value`)
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"json", "table"}, cobra.ShellCompDirectiveNoFileComp))
}

// trunc gives a command --no-trunc.
func (l *listing) trunc(c *cobra.Command) {
	c.Flags().BoolVar(&l.noTrunc, "no-trunc", false, "Don't truncate output")
}

// query turns --filter into what the API takes.
func (l *listing) query() (client.Filters, error) { return parseFilters(l.filters) }

func parseFilters(pairs []string) (client.Filters, error) {
	filters := make(client.Filters)
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("invalid filter %q: write it as key=value", pair)
		}
		filters.Add(strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value))
	}
	return filters, nil
}

// write prints the rows in the form that was asked for.
func (l *listing) write(s *session, rows []row) error {
	format := l.format
	switch {
	case l.quiet && format == "":
		format = "{{.ID}}"
	case format == "" || format == "table":
		format = l.shown
	}
	header := make(row, len(l.columns))
	for _, c := range l.columns {
		header[c.name] = c.heading
	}
	ctx := formatter.Context{Output: s.out, Format: formatter.Format(format), Trunc: !l.noTrunc}
	return ctx.Write(header, func(print func(formatter.SubContext) error) error {
		for _, r := range rows {
			if err := print(r); err != nil {
				return err
			}
		}
		return nil
	})
}

// short cuts an identifier to the length that tables show.
func (l *listing) short(id string) string {
	if l.noTrunc {
		return id
	}
	return short(id)
}

func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

// inspect prints objects as docker's inspect does: a JSON array, or each through
// a template. get returns an object as the API sent it, and as a value.
func inspect(s *session, names []string, format string, get func(name string) (raw []byte, err error)) error {
	var found []json.RawMessage
	failed := each(names, func(name string) error {
		raw, err := get(name)
		if err == nil {
			found = append(found, raw)
		}
		return err
	})
	if format == "" || format == "json" {
		if err := printJSON(s, found, format == "json"); err != nil {
			return err
		}
		return failed
	}
	tmpl, err := templates.Parse(format)
	if err != nil {
		return fmt.Errorf("template parsing error: %w", err)
	}
	for _, raw := range found {
		var value any
		if err := json.Unmarshal(raw, &value); err != nil {
			return err
		}
		if err := tmpl.Execute(s.out, value); err != nil {
			return fmt.Errorf("template parsing error: %w", err)
		}
		s.print("\n")
	}
	return failed
}

func printJSON(s *session, found []json.RawMessage, compact bool) error {
	if found == nil {
		found = []json.RawMessage{}
	}
	data, err := json.Marshal(found)
	if !compact && err == nil {
		data, err = json.MarshalIndent(found, "", "    ")
	}
	if err != nil {
		return err
	}
	s.print("%s\n", data)
	return nil
}
