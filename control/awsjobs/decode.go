package awsjobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrMessage is wrapped by every error of a message from the cloud.
var ErrMessage = errors.New("bad message")

// status is what the cloud counts an execution as.
type status string

const (
	queued     status = "QUEUED"
	inProgress status = "IN_PROGRESS"
	succeeded  status = "SUCCEEDED"
	failed     status = "FAILED"
	rejected   status = "REJECTED"
	timedOut   status = "TIMED_OUT"
	canceled   status = "CANCELED"
	removed    status = "REMOVED"
)

// final says that an execution stays as it is.
func (s status) final() bool {
	return slices.Contains([]status{succeeded, failed, rejected, timedOut, canceled, removed}, s)
}

// execution is one attempt of the cloud to have a job done.
type execution struct {
	id       string
	number   int64 // from 1, 0 if the cloud counts none
	version  int64 // grows with every change, 0 if not told
	status   status
	thing    string
	document json.RawMessage // nil: not told
}

// answer is what any message of the cloud may hold.
type answer struct {
	token, code, text string
	execution         *execution // nil: none
	state             *execution // of executionState: status and version alone
	listed            []string   // job ids of …/notify
}

// readAnswer reads a message. Unknown members are nobody's business.
func readAnswer(payload []byte) (answer, error) {
	doc, err := readObject(payload, "message")
	if err != nil {
		return answer{}, err
	}
	r := reader{doc, nil}
	a := answer{token: r.text("clientToken"), code: r.textOrNumber("code"), text: r.text("message")}
	if r.err != nil {
		return a, r.err
	}
	if a.execution, err = readExecution(doc["execution"], "execution"); err != nil {
		return a, err
	}
	if a.state, err = readExecution(doc["executionState"], "executionState"); err != nil {
		return a, err
	}
	a.listed, err = readList(doc["jobs"])
	return a, err
}

// readExecution gives nil for what is missing, null or empty.
func readExecution(raw json.RawMessage, name string) (*execution, error) {
	if absent(raw) {
		return nil, nil
	}
	doc, err := readObject(raw, name)
	if err != nil || len(doc) == 0 {
		return nil, err
	}
	r := reader{doc, nil}
	e := &execution{id: r.text("jobId"), status: status(r.text("status")), thing: r.text("thingName"),
		number: r.count("executionNumber"), version: r.count("versionNumber")}
	if r.err != nil {
		return nil, r.err
	}
	if name == "execution" || e.id != "" {
		if err := checkName(e.id, 64, "_-"); err != nil {
			return nil, fmt.Errorf("%w: jobId %w", ErrMessage, err)
		}
	}
	if document := doc["jobDocument"]; !absent(document) {
		e.document = document
	}
	return e, nil
}

// readList gives the ids of all jobs on the lists of …/notify.
func readList(raw json.RawMessage) ([]string, error) {
	if absent(raw) {
		return nil, nil
	}
	lists, err := readObject(raw, "jobs")
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, list := range lists {
		var jobs []json.RawMessage
		if err := json.Unmarshal(list, &jobs); err != nil {
			return nil, fmt.Errorf("%w: a list of jobs is %s", ErrMessage, kind(list))
		}
		for _, job := range jobs[:min(len(jobs), 64)] {
			doc, err := readObject(job, "job")
			if err != nil {
				return nil, err
			}
			r := reader{doc, nil}
			if ids = append(ids, r.text("jobId")); r.err != nil {
				return nil, r.err
			}
		}
	}
	return ids, nil
}

// reader takes members out of an object, and remembers the first wrong type.
type reader struct {
	object map[string]json.RawMessage
	err    error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrMessage}, args...)...)
	}
}

// text gives "" for a member that is missing or null.
func (r *reader) text(name string) string {
	raw := r.object[name]
	if absent(raw) {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		r.fail("%s is %s, want text", name, kind(raw))
	}
	return s
}

// textOrNumber gives a number as it was written.
func (r *reader) textOrNumber(name string) string {
	raw := r.object[name]
	if len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
		return string(raw)
	}
	return r.text(name)
}

// count gives 0 for a member that is missing or null.
func (r *reader) count(name string) int64 {
	text := r.textOrNumber(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		r.fail("%s is no whole number", name)
		return 0
	}
	return n
}

func absent(raw []byte) bool { return len(raw) == 0 || bytes.Equal(raw, []byte("null")) }

func readObject(raw []byte, name string) (map[string]json.RawMessage, error) {
	if !utf8.Valid(raw) {
		return nil, fmt.Errorf("%w: %s is not UTF-8", ErrMessage, name)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil || object == nil {
		return nil, fmt.Errorf("%w: %s is %s, want an object", ErrMessage, name, kind(raw))
	}
	return object, nil
}

// kind names what stands in the place of something else.
func kind(raw []byte) string {
	switch raw = bytes.TrimSpace(raw); {
	case len(raw) == 0:
		return "missing"
	case !json.Valid(raw):
		return "no JSON"
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "text"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}

// query is what follows a question mark in a text for people: it may be a secret.
var query = regexp.MustCompile(`\?\S*`)

// clean makes a foreign text fit to be shown: one line, bounded, no queries.
func clean(text string, limit int) string {
	text = query.ReplaceAllString(text[:min(len(text), 4*maxURL)], "")
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		} else if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + " …"
	}
	return text
}
