package main

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"strings"
	"time"
)

// pageBytesMax is how long a trace may be that a page shows: browsers keep no
// longer texts.
const pageBytesMax = 256 << 20

// The parts of a page; a page holds them all, and needs nothing else.
var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

// A pageView is what of a trace a page shows first.
type pageView struct {
	hosts    []string // none: all
	from, to time.Duration
}

// writePage writes a page that shows a trace.
func writePage(out io.Writer, file string, lines []string, naming *naming, view pageView) error {
	size := 0
	for _, line := range lines {
		size += len(line) + 1
	}
	if size > pageBytesMax {
		return fmt.Errorf("%s is longer than the %d MiB that a page can show: make a shorter run, or read it with swarmsim show --from --to", file, pageBytesMax>>20)
	}
	d := draw(lines, naming)
	shape, err := json.Marshal(map[string]any{
		"drawing": d, "hosts": view.hosts, "from": int64(view.from), "to": int64(view.to), "states": taskStates(),
	})
	if err != nil {
		return fmt.Errorf("the page cannot be written: %w", err)
	}
	var b bytes.Buffer
	err = template.Must(template.New("page").Parse(pageHTML)).Execute(&b, map[string]any{
		"Title":      strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)),
		"Style":      template.CSS(pageCSS), //nolint:gosec // our own
		"Script":     template.JS(pageJS),   //nolint:gosec // our own
		"Hosts":      d.Hosts,
		"Violations": violationsOf(lines, d, naming),
		"Drawing":    pack(shape),
		"Trace":      pack([]byte(strings.Join(lines, "\n"))),
	})
	if err != nil {
		return fmt.Errorf("the page cannot be written: %w", err)
	}
	if _, err = out.Write(b.Bytes()); err != nil {
		return fmt.Errorf("the page cannot be written: %w", err)
	}
	return nil
}

// A pageViolation is a sentence that was broken.
type pageViolation struct {
	Line     int
	At       string
	Sentence string
}

func violationsOf(lines []string, d *drawing, naming *naming) []pageViolation {
	var list []pageViolation
	for _, line := range d.Violations {
		e, _ := parseEntry(lines[line])
		list = append(list, pageViolation{line, strings.TrimSpace(clock(e.at)), naming.words(strings.TrimPrefix(e.what, "violated: "))})
	}
	return list
}

// pack makes text small, and harmless in a page.
func pack(text []byte) template.HTML {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(text) // a buffer takes everything
	_ = z.Close()
	return template.HTML(base64.StdEncoding.EncodeToString(b.Bytes())) //nolint:gosec // letters, digits, + / and = only
}
