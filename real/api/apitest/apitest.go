// Package apitest runs files of API requests and expected refusals against any
// server of the API: one in process with a scripted engine, or a real daemon.
//
// The files are in the form of cockroachdb/datadriven. A case is a request, as
// it would be written by hand, and the status and sentence it is answered with:
//
//	# A name is taken whatever its case.
//	request engine=conflict
//	POST /services/create
//	{"Name": "WEB", …}
//	----
//	409 rpc error: code = AlreadyExists desc = name conflicts with …
//
// Lines after the first that look like headers are headers; the rest is the
// body. Without a Content-Type header a body is application/json; "Content-Type:"
// alone sends none. Query values need not be escaped. <version:KIND/REF> and
// <id:KIND/REF>, such as <version:services/web>, stand for what the server says
// of that object. In answers, IDs are written <id>. An answer that is not an
// error is its status alone.
//
// The argument engine= says what is asked of the engine: nothing when absent;
// "ok" when it must agree; else the kind of its refusal, whose sentence is the
// expected one. A scripted engine obeys it; a real one makes it true. Cases run
// in order against one server, so earlier ones set the stage: "setup" cases are
// for real servers and not for scripted ones.
package apitest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// A Target is a server of the API.
type Target struct {
	// Client sends requests; the host in their URLs is "swarmd".
	Client *http.Client
	// Script, if the engine is scripted, is told before each case how the engine
	// answers: with a kind of refusal and its sentence, or kind "ok".
	Script func(kind, sentence string)
}

// Run runs a file of cases. With datadriven's -rewrite it writes what is
// answered into the file.
func Run(t *testing.T, target Target, file string) {
	datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
		if d.Cmd != "request" && d.Cmd != "setup" {
			t.Fatalf("%s: unknown command %q: request or setup expected", d.Pos, d.Cmd)
		}
		if d.Cmd == "setup" && target.Script != nil {
			return d.Expected
		}
		if target.Script != nil {
			kind := ""
			d.MaybeScanArgs(t, "engine", &kind)
			_, sentence, _ := strings.Cut(strings.TrimSuffix(d.Expected, "\n"), " ")
			target.Script(kind, sentence)
		}
		answer, err := target.do(d.Input)
		if err != nil {
			t.Fatalf("%s: %v", d.Pos, err)
		}
		return answer
	})
}

// do sends the request that text describes.
func (target Target) do(text string) (string, error) {
	request, err := target.parse(text)
	if err != nil {
		return "", err
	}
	response, err := target.Client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	return render(response, body), nil
}

func render(response *http.Response, body []byte) string {
	if response.StatusCode < http.StatusBadRequest {
		return fmt.Sprintf("%d\n", response.StatusCode)
	}
	var refusal struct{ Message *string }
	sentence := strings.TrimSpace(string(body))
	if json.Unmarshal(body, &refusal) == nil && refusal.Message != nil {
		sentence = *refusal.Message
	} else {
		sentence = "(not JSON) " + sentence
	}
	ids := regexp.MustCompile(`\b[0-9a-z]{25}\b`)
	return fmt.Sprintf("%d %s\n", response.StatusCode, ids.ReplaceAllString(sentence, "<id>"))
}

// parse reads a request in the form of the package's comment.
func (target Target) parse(text string) (*http.Request, error) {
	first, rest, _ := strings.Cut(text, "\n")
	method, address, ok := strings.Cut(strings.TrimSpace(first), " ")
	if !ok {
		return nil, fmt.Errorf("%q: a method and a path expected", first)
	}
	header := http.Header{}
	for {
		line, after, _ := strings.Cut(rest, "\n")
		match := regexp.MustCompile(`^([A-Z][A-Za-z-]*):(.*)$`).FindStringSubmatch(line)
		if match == nil {
			break
		}
		header.Set(match[1], strings.TrimSpace(match[2]))
		rest = after
	}
	address, err := target.fill(address)
	if err != nil {
		return nil, err
	}
	if rest, err = target.fill(rest); err != nil {
		return nil, err
	}
	var body io.Reader
	if rest != "" {
		body = strings.NewReader(rest)
	}
	request, err := http.NewRequest(method, "http://swarmd"+escapeQuery(address), body)
	if err != nil {
		return nil, err
	}
	request.Header = header
	switch {
	case header.Get("Content-Type") == "" && header.Values("Content-Type") != nil:
		header["Content-Type"] = nil
	case header.Get("Content-Type") == "" && rest != "":
		header.Set("Content-Type", "application/json")
	}
	return request, nil
}

// escapeQuery escapes the values of a query that is written plainly.
func escapeQuery(address string) string {
	path, query, ok := strings.Cut(address, "?")
	if !ok {
		return address
	}
	escaped := []string{}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		escaped = append(escaped, url.QueryEscape(key)+"="+url.QueryEscape(value))
	}
	return path + "?" + strings.Join(escaped, "&")
}

// fill replaces <version:…> and <id:…>. A scripted engine has no objects: there
// they are a constant.
func (target Target) fill(text string) (string, error) {
	var failed error
	filled := regexp.MustCompile(`<(version|id):([^>]+)>`).ReplaceAllStringFunc(text, func(found string) string {
		what, ref, _ := strings.Cut(strings.Trim(found, "<>"), ":")
		if target.Script != nil {
			return "1"
		}
		response, err := target.Client.Get("http://swarmd/" + ref)
		if err != nil {
			failed = err
			return ""
		}
		defer response.Body.Close()
		var object struct {
			ID      string
			Version struct{ Index uint64 }
		}
		if err := json.NewDecoder(response.Body).Decode(&object); err != nil || object.ID == "" {
			failed = fmt.Errorf("%s: the server has no such object (%s)", found, response.Status)
			return ""
		}
		if what == "id" {
			return object.ID
		}
		return fmt.Sprint(object.Version.Index)
	})
	return filled, failed
}
