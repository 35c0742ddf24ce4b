package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// limitedText is a writer that refuses to grow beyond templateOutputsMax.
type limitedText struct{ text strings.Builder }

func (l *limitedText) Write(p []byte) (int, error) {
	if l.text.Len()+len(p) > templateOutputsMax {
		return 0, tooLong()
	}
	return l.text.Write(p)
}

func tooLong() error {
	return fmt.Errorf("a template may come to at most %d bytes", templateOutputsMax)
}

// boundedFuncs are the functions of Docker's templates: join, and of text/template's
// own those that make text, with a bound on how much.
func boundedFuncs() template.FuncMap {
	short := func(s string) (string, error) {
		if len(s) > templateOutputsMax {
			return "", tooLong()
		}
		return s, nil
	}
	return template.FuncMap{
		"join": func(s ...string) (string, error) {
			if len(s) == 0 {
				return "", errors.New("join wants a separator")
			}
			return short(strings.Join(s[1:], s[0]))
		},
		"print":   func(a ...any) (string, error) { return short(fmt.Sprint(a...)) },
		"println": func(a ...any) (string, error) { return short(fmt.Sprintln(a...)) },
		"printf": func(format string, a ...any) (string, error) {
			if wide(format) {
				return "", errors.New("printf: width or precision too large")
			}
			return short(fmt.Sprintf(format, a...))
		},
		"html":     func(a ...any) (string, error) { return short(template.HTMLEscaper(a...)) },
		"js":       func(a ...any) (string, error) { return short(template.JSEscaper(a...)) },
		"urlquery": func(a ...any) (string, error) { return short(template.URLQueryEscaper(a...)) },
	}
}

// wide reports whether a format has a width or precision of more than three
// digits, or one taken from an argument.
func wide(format string) bool {
	digits := 0
	for _, c := range format {
		switch {
		case c >= '0' && c <= '9':
			if digits++; digits > 3 {
				return true
			}
		case c == '*':
			return true
		default:
			digits = 0
		}
	}
	return false
}

// bounded refuses what could run for long: loops over anything but a field, loops
// in loops, and deep nesting.
func bounded(n parse.Node, depth int, looping bool) error {
	if depth == 0 {
		return errors.New("a template may not nest so deep")
	}
	branch := func(b *parse.BranchNode, looping bool) error {
		if err := bounded(b.List, depth-1, looping); err != nil || b.ElseList == nil {
			return err
		}
		return bounded(b.ElseList, depth-1, looping)
	}
	switch n := n.(type) {
	case *parse.ListNode:
		for _, child := range n.Nodes {
			if err := bounded(child, depth-1, looping); err != nil {
				return err
			}
		}
	case *parse.IfNode:
		return branch(&n.BranchNode, looping)
	case *parse.WithNode:
		return branch(&n.BranchNode, looping)
	case *parse.RangeNode:
		if looping || len(n.Pipe.Cmds) != 1 || len(n.Pipe.Cmds[0].Args) != 1 {
			return errors.New("a template may loop over .Service.Labels only")
		}
		if f, ok := n.Pipe.Cmds[0].Args[0].(*parse.FieldNode); !ok || !slices.Equal(f.Ident, []string{"Service", "Labels"}) {
			return errors.New("a template may loop over .Service.Labels only")
		}
		return branch(&n.BranchNode, true)
	case *parse.TemplateNode:
		return errors.New("a template may not call others")
	}
	return nil
}
