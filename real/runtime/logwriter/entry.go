package logwriter

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

// A Line is one line that a container wrote, or a part of a very long one.
type Line struct {
	Stderr     bool
	At         time.Time
	Text       []byte // with its newline, if it had one
	Attributes map[string]string
}

// appendRecord appends a line as a record, with a newline.
func appendRecord(to []byte, l Line, attributes []byte) []byte {
	to = appendString(append(to, `{"log":`...), l.Text)
	if l.Stderr {
		to = append(to, `,"stream":"stderr"`...)
	} else {
		to = append(to, `,"stream":"stdout"`...)
	}
	to = append(to, attributes...)
	to = append(to, `,"time":"`...)
	to = l.At.UTC().AppendFormat(to, time.RFC3339Nano)
	return append(to, '"', '}', '\n')
}

// encodeAttributes is what a record has of attributes, "" for none.
func encodeAttributes(attributes map[string]string) []byte {
	if len(attributes) == 0 {
		return nil
	}
	to := []byte(`,"attrs":`)
	for i, key := range slices.Sorted(maps.Keys(attributes)) {
		separator := byte(',')
		if i == 0 {
			separator = '{'
		}
		to = appendString(append(to, separator), []byte(key))
		to = appendString(append(to, ':'), []byte(attributes[key]))
	}
	return append(to, '}')
}

// appendString appends text as JSON has it. Bytes that are not UTF-8 become
// U+FFFD, as in Docker's logs.
func appendString(to, text []byte) []byte {
	const hexadecimal = "0123456789abcdef"
	to = append(to, '"')
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			to = append(to, `\ufffd`...)
		case r == '"' || r == '\\':
			to = append(to, '\\', byte(r))
		case r == '\n':
			to = append(to, `\n`...)
		case r == '\r':
			to = append(to, `\r`...)
		case r == '\t':
			to = append(to, `\t`...)
		case r < 0x20:
			to = append(to, `\u00`...)
			to = append(to, hexadecimal[r>>4], hexadecimal[r&15])
		case r == '\u2028' || r == '\u2029':
			to = append(to, `\u202`...)
			to = append(to, hexadecimal[r&15])
		default:
			to = append(to, text[:size]...)
		}
		text = text[size:]
	}
	return append(to, '"')
}

// decodeRecord reads a record.
func decodeRecord(record []byte) (Line, error) {
	var r struct {
		Log    string            `json:"log"`
		Stream string            `json:"stream"`
		Attrs  map[string]string `json:"attrs"`
		Time   time.Time         `json:"time"`
	}
	if err := json.Unmarshal(record, &r); err != nil {
		return Line{}, fmt.Errorf("a record of the log cannot be read: %w", err)
	}
	if r.Time.IsZero() {
		return Line{}, errors.New("a record of the log has no time")
	}
	return Line{Stderr: r.Stream == "stderr", At: r.Time, Text: []byte(r.Log), Attributes: r.Attrs}, nil
}
