package script

import (
	"errors"
	"strings"
)

// split cuts a line into words as a shell does, without expanding anything: blanks
// separate, quotes and backslashes keep together, # begins a comment.
func split(line string) ([]string, error) {
	var (
		words   []string
		word    strings.Builder
		inside  bool // a word has begun
		quote   rune // the quote that is open, or 0
		escaped bool
	)
	for _, r := range line {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inside = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, inside = r, true
		case r == ' ' || r == '\t':
			if inside {
				words = append(words, word.String())
				word.Reset()
				inside = false
			}
		case r == '#' && !inside:
			return words, nil
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	switch {
	case quote != 0:
		return nil, errors.New("found the end of the line, expected a closing " + string(quote))
	case escaped:
		return nil, errors.New(`found \ at the end of the last line, expected a line that goes on`)
	case inside:
		words = append(words, word.String())
	}
	return words, nil
}

// A line is one command of a scenario: lines that end with a backslash go on.
type line struct {
	number int // of the first, from 1
	text   string
}

// lines cuts a scenario into commands, and takes the comment that it begins with
// for its sentence.
func lines(text string) (sentence string, list []line) {
	var (
		about   []string
		heading = true
		carried string
		began   int
	)
	for i, raw := range strings.Split(text, "\n") {
		raw = strings.TrimRight(raw, " \t\r")
		trimmed := strings.TrimSpace(raw)
		if heading && strings.HasPrefix(trimmed, "#") {
			about = append(about, strings.TrimSpace(strings.TrimLeft(trimmed, "#")))
			continue
		}
		heading = heading && trimmed == "" && len(about) == 0
		if carried == "" {
			began = i + 1
		}
		if before, ok := strings.CutSuffix(raw, `\`); ok {
			carried += before + " "
			continue
		}
		whole := strings.TrimSpace(carried + raw)
		carried = ""
		if whole != "" && !strings.HasPrefix(whole, "#") {
			list = append(list, line{began, whole})
		}
	}
	if strings.TrimSpace(carried) != "" {
		list = append(list, line{began, strings.TrimSpace(carried) + `\`})
	}
	return strings.TrimSpace(strings.Join(about, " ")), list
}
