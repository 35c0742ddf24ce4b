package state

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// A Constraint is one expression over a node that a placement demands, such as
// `node.labels.disk == ssd`.
type Constraint struct {
	Key   string // as written; the part before a label's name is case-insensitive
	Not   bool   // the operator is != rather than ==
	Value string
}

// ParseConstraints parses the expressions of a placement, which are ANDed. Its
// errors have the texts of Docker, which refuses bad characters but takes any
// key: an unknown one matches no node.
func ParseConstraints(expressions []string) ([]Constraint, error) {
	if len(expressions) == 0 {
		return nil, nil
	}
	parsed := make([]Constraint, 0, len(expressions))
	for _, e := range expressions {
		c, err := parseConstraint(e)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, c)
	}
	return parsed, nil
}

func parseConstraint(expression string) (Constraint, error) {
	c := Constraint{}
	key, value, found := strings.Cut(expression, "==") // Docker looks for == first
	if !found {
		if key, value, found = strings.Cut(expression, "!="); !found {
			return c, errors.New("constraint expected one operator from ==, !=")
		}
		c.Not = true
	}
	c.Key, c.Value = strings.TrimSpace(key), strings.TrimSpace(value)
	switch {
	case !validConstraintKey(c.Key):
		return c, fmt.Errorf("key '%s' is invalid", c.Key)
	case !validConstraintValue(c.Value):
		return c, fmt.Errorf("value '%s' is invalid", c.Value)
	}
	return c, nil
}

// validConstraintKey matches Docker's (?i)^[a-z_][a-z0-9\-_.]+$.
func validConstraintKey(s string) bool {
	if len(s) < 2 || !isLetter(s[0]) && s[0] != '_' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !isLetter(s[i]) && !isDigit(s[i]) && !strings.ContainsRune("-_.", rune(s[i])) {
			return false
		}
	}
	return true
}

// validConstraintValue matches Docker's (?i)^[a-z0-9:\-_\s\.\*\(\)\?\+\[\]\\\^\$\|\/]+$.
func validConstraintValue(s string) bool {
	for i := range len(s) {
		if !isLetter(s[i]) && !isDigit(s[i]) && !strings.ContainsRune(":-_ \t\n\f\r.*()?+[]\\^$|/", rune(s[i])) {
			return false
		}
	}
	return s != ""
}

func isLetter(b byte) bool { return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' }
func isDigit(b byte) bool  { return b >= '0' && b <= '9' }

// Match reports whether the node satisfies the constraint. Values are compared
// literally and without regard to case; what a node lacks compares as "".
func (c Constraint) Match(n *Node) bool {
	key := strings.ToLower(c.Key)
	switch key {
	case "node.id":
		return c.equals(string(n.ID))
	case "node.hostname":
		return c.equals(n.Description.Hostname)
	case "node.role":
		return c.equals(n.role())
	case "node.ip":
		return c.matchIP(n.Addr)
	case "node.platform.os":
		return c.equals(n.Description.Platform.OS)
	case "node.platform.arch":
		return c.equals(n.Description.Platform.Architecture)
	}
	const nodeLabel, engineLabel = "node.labels.", "engine.labels."
	switch { // a label's name keeps its case
	case strings.HasPrefix(key, nodeLabel) && len(key) > len(nodeLabel):
		return c.equals(n.Spec.Labels[c.Key[len(nodeLabel):]])
	case strings.HasPrefix(key, engineLabel) && len(key) > len(engineLabel):
		return c.equals(n.Description.Engine.Labels[c.Key[len(engineLabel):]])
	default:
		return false // unknown keys never match, whatever the operator
	}
}

// role is the role that the node plays, which may differ for a moment from the
// one that is wished.
func (n *Node) role() string {
	if n.Manager {
		return "manager"
	}
	return "worker"
}

func (c Constraint) equals(have string) bool { return strings.EqualFold(have, c.Value) != c.Not }

// matchIP compares the node's address with an address or a CIDR. A value that
// is neither matches no node, whatever the operator.
func (c Constraint) matchIP(addr string) bool {
	have, err := netip.ParseAddr(addr)
	known := err == nil
	have = have.Unmap()
	if want, err := netip.ParseAddr(c.Value); err == nil {
		return (known && have == want.Unmap()) != c.Not
	}
	subnet, err := netip.ParsePrefix(c.Value)
	if err != nil {
		return false
	}
	return (known && subnet.Contains(have)) != c.Not
}

// Eligible reports whether the node satisfies all constraints.
func Eligible(n *Node, constraints []Constraint) bool {
	for _, c := range constraints {
		if !c.Match(n) {
			return false
		}
	}
	return true
}
