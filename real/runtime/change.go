package runtime

import (
	"encoding/json"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// applyChange carries out one of a Dockerfile's instructions about what an image
// runs.
func applyChange(c *dockerspec.DockerOCIImageConfig, change string) error {
	instruction, rest, _ := strings.Cut(strings.TrimSpace(change), " ")
	rest = strings.TrimSpace(rest)
	if rest == "" {
		return invalidf("invalid change %q: an instruction and its arguments are expected", change)
	}
	switch strings.ToUpper(instruction) {
	case "CMD":
		c.Cmd = commandOf(rest)
	case "ENTRYPOINT":
		c.Entrypoint = commandOf(rest)
	case "ENV":
		pairs, err := pairsOf(rest)
		if err != nil {
			return invalidf("invalid change %q: %s", change, err)
		}
		for _, p := range pairs {
			c.Env = append(c.Env, p[0]+"="+p[1])
		}
	case "LABEL":
		pairs, err := pairsOf(rest)
		if err != nil {
			return invalidf("invalid change %q: %s", change, err)
		}
		if c.Labels == nil {
			c.Labels = make(map[string]string)
		}
		for _, p := range pairs {
			c.Labels[p[0]] = p[1]
		}
	case "EXPOSE":
		c.ExposedPorts = withKeys(c.ExposedPorts, portsOf(rest))
	case "VOLUME":
		c.Volumes = withKeys(c.Volumes, listOf(rest))
	case "USER":
		c.User = rest
	case "WORKDIR":
		c.WorkingDir = rest
	case "STOPSIGNAL":
		if _, err := stopSignal(rest); err != nil {
			return err
		}
		c.StopSignal = rest
	default:
		return invalidf("%s is not a valid change command", instruction)
	}
	return nil
}

// commandOf is a command in JSON, or else one for the shell.
func commandOf(text string) []string {
	var words []string
	if json.Unmarshal([]byte(text), &words) == nil {
		return words
	}
	return []string{"/bin/sh", "-c", text}
}

// listOf is a list in JSON, or else words.
func listOf(text string) []string {
	var words []string
	if json.Unmarshal([]byte(text), &words) == nil {
		return words
	}
	return strings.Fields(text)
}

func portsOf(text string) []string {
	ports := strings.Fields(text)
	for i, p := range ports {
		if !strings.Contains(p, "/") {
			ports[i] = p + "/tcp"
		}
	}
	return ports
}

func withKeys(set map[string]struct{}, keys []string) map[string]struct{} {
	if set == nil {
		set = make(map[string]struct{})
	}
	for _, k := range keys {
		set[k] = struct{}{}
	}
	return set
}

// pairsOf reads key=value …, with quotes where a value has blanks, or key value.
func pairsOf(text string) ([][2]string, error) {
	words, err := wordsOf(text)
	if err != nil {
		return nil, err
	}
	if key, value, _ := strings.Cut(text, " "); !strings.Contains(words[0], "=") {
		return [][2]string{{key, strings.TrimSpace(value)}}, nil
	}
	var pairs [][2]string
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok || key == "" {
			return nil, invalidf("%q is not of the form name=value", w)
		}
		pairs = append(pairs, [2]string{key, value})
	}
	return pairs, nil
}

// wordsOf splits at blanks that are not quoted.
func wordsOf(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, escaped := false, false
	var quote rune
	for _, c := range text {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inWord = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, invalidf("a quote is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	if len(words) == 0 {
		return nil, invalidf("there is nothing in it")
	}
	return words, nil
}
