package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"

	"github.com/docker/cli/cli/command/formatter"
	"github.com/docker/cli/templates"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// How --format is explained: docker's words.
const (
	formatUsage = `Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates`
	inspectFormatUsage = `Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates`
)

// A getter asks for an object: as a value, and as the API sent it.
type getter = func(name string) (value any, raw []byte, err error)

// exitTemplate is the exit code of a template that inspect cannot read, as
// docker's.
const exitTemplate = 64

// A row is one object of a listing: its columns by their names in templates.
type row map[string]any

// FullHeader implements [formatter.SubContext]; listings carry their own.
func (r row) FullHeader() any { return r }

// MarshalJSON escapes as docker does, in "->" for example.
func (r row) MarshalJSON() ([]byte, error) { return json.Marshal(map[string]any(r)) }

// Label returns one label of the object, for templates: {{.Label "k"}}.
func (r row) Label(key string) string {
	labels, _ := r["Labels"].(string)
	for pair := range strings.SplitSeq(labels, ",") {
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
	filters filterFlag
}

// A column has a name in templates and a heading in tables.
type column struct{ name, heading string }

// flags gives a command the flags of a listing.
func (l *listing) flags(c *cobra.Command, quiet string) {
	f := c.Flags()
	f.StringVar(&l.format, "format", "", formatUsage)
	f.BoolVarP(&l.quiet, "quiet", "q", false, quiet)
	f.VarP(&l.filters, "filter", "f", "Filter output based on conditions provided")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"json", "table"}, cobra.ShellCompDirectiveNoFileComp))
}

// trunc gives a command --no-trunc.
func (l *listing) trunc(c *cobra.Command) {
	c.Flags().BoolVar(&l.noTrunc, "no-trunc", false, "Don't truncate output")
}

// query is what --filter said, as the API takes it.
func (l *listing) query() client.Filters {
	if l.filters.filters == nil {
		return client.Filters{}
	}
	return l.filters.filters
}

// A filterFlag collects key=value pairs.
type filterFlag struct{ filters client.Filters }

func (f *filterFlag) Set(pair string) error {
	key, value, ok := strings.Cut(pair, "=")
	if !ok {
		return errors.New("bad format of filter (expected name=value)")
	}
	if f.filters == nil {
		f.filters = client.Filters{}
	}
	f.filters.Add(strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value))
	return nil
}

func (f *filterFlag) Type() string   { return "filter" }
func (f *filterFlag) String() string { return "" }

// write prints the rows in the form that was asked for.
func (l *listing) write(s *session, rows []row) error {
	format := l.format
	switch {
	case l.quiet && (format == "" || format == "table"):
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
// a template. get returns an object as a value and as the API sent it: a template
// that the value cannot satisfy gets the other.
func inspect(s *session, names []string, format string, get getter) error {
	var tmpl *template.Template
	if format != "" && format != "json" {
		var err error
		if tmpl, err = templates.Parse(format); err != nil {
			return exitError{exitTemplate, "template parsing error: " + err.Error()}
		}
	}
	var (
		found []json.RawMessage
		text  bytes.Buffer
	)
	failed := each(names, func(name string) error {
		value, raw, err := get(name)
		if err != nil || tmpl == nil {
			if err == nil {
				found = append(found, raw)
			}
			return err
		}
		return execute(tmpl, &text, value, raw)
	})
	if tmpl == nil {
		return errors.Join(printJSON(s, found, format == "json"), failed)
	}
	if text.Len() == 0 {
		text.WriteByte('\n')
	}
	s.print("%s", text.String())
	return failed
}

// plainExit makes an error exit with 1, as docker does about services and nodes.
func plainExit(err error) error {
	if err == nil {
		return nil
	}
	return exitError{1, err.Error()}
}

func execute(tmpl *template.Template, text *bytes.Buffer, value any, raw []byte) error {
	var line bytes.Buffer
	if failed := tmpl.Execute(&line, value); failed != nil {
		line.Reset()
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			return fmt.Errorf("unable to read inspect data: %w", err)
		}
		if err := tmpl.Option("missingkey=error").Execute(&line, value); err != nil {
			return fmt.Errorf("template parsing error: %w", failed)
		}
	}
	text.Write(line.Bytes())
	text.WriteByte('\n')
	return nil
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
