package adu

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The actions of a workflow.
const (
	actionDeploy = 3
	actionCancel = 255
)

// wish is what the desired side asks for.
type wish struct {
	Action int
	identity
	rootKeys  string // URL of the root key package, "" for none
	manifest  string // text, "" for none
	signature string
	urls      map[string]string // by file id
}

// identity names a deployment.
type identity struct {
	ID    string `json:"id"`
	Retry string `json:"retry,omitempty"` // retryTimestamp
}

// command is the id of the deployment's command.
func (i identity) command() string {
	switch {
	case i.Retry == "":
		return i.ID
	case retryShape.MatchString(i.Retry):
		return i.ID + "@" + i.Retry
	}
	return i.ID + "@" + digest(i.Retry)
}

// again says whether a wish with the same id is to be done again: the retry
// timestamp must be new, and is compared as text.
func (i identity) again(w *wish) bool { return w.Retry != "" && w.Retry != i.Retry }

var (
	idShape    = regexp.MustCompile(`^[A-Za-z0-9._:~=-]{1,128}$`)
	retryShape = regexp.MustCompile(`^[A-Za-z0-9._:+-]{1,64}$`)
)

// readTwin gives the component of the desired side, nil if there is none, and the version.
func readTwin(payload []byte) (json.RawMessage, int64, error) {
	doc, err := readObject(payload, "twin")
	if err != nil {
		return nil, 0, err
	}
	desired, err := readObject(doc["desired"], "desired")
	if err != nil {
		return nil, 0, err
	}
	version, ok := number(desired["$version"])
	if !ok {
		return nil, 0, fmt.Errorf("%w: desired has no $version", ErrMessage)
	}
	if isNull(desired[component]) {
		return nil, version, nil
	}
	return desired[component], version, nil
}

// readWish reads what is not signed. What of the rest cannot be read is missing
// there: who verifies it says so.
func readWish(service map[string]json.RawMessage) (wish, error) {
	var w wish
	workflow, err := readObject(service["workflow"], "workflow")
	if err != nil {
		return w, err
	}
	action, ok := number(workflow["action"])
	if !ok || action < 0 || action > actionCancel {
		return w, fmt.Errorf("%w: workflow.action is %s, want 3 or 255", ErrMessage, kind(workflow["action"]))
	}
	w.Action = int(action)
	w.ID, w.Retry, w.rootKeys = text(workflow["id"]), text(workflow["retryTimestamp"]), text(service["rootKeyPackageUrl"])
	switch {
	case action == 0:
		return w, fmt.Errorf("%w: workflow.action 0 belongs to an older protocol", ErrMessage)
	case !idShape.MatchString(w.ID):
		return w, fmt.Errorf("%w: workflow.id is missing or unusable: want 1 to %d letters, digits and ._:~=-", ErrMessage, maxID)
	case len(w.Retry) > maxID:
		return w, fmt.Errorf("%w: workflow.retryTimestamp has %d bytes, the limit is %d", ErrMessage, len(w.Retry), maxID)
	case len(w.rootKeys) > maxURL:
		return w, fmt.Errorf("%w: rootKeyPackageUrl has %d bytes, the limit is %d", ErrMessage, len(w.rootKeys), maxURL)
	}
	w.manifest, w.signature = text(service["updateManifest"]), text(service["updateManifestSignature"])
	var urls map[string]json.RawMessage
	if json.Unmarshal(service["fileUrls"], &urls) == nil {
		w.urls = map[string]string{}
		for id, raw := range urls {
			if address := text(raw); address != "" && len(address) <= maxURL {
				w.urls[id] = address
			}
		}
	}
	return w, nil
}

// text gives "" for what is no text.
func text(raw json.RawMessage) string {
	var s string
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// number takes a whole number, also as text.
func number(raw json.RawMessage) (int64, bool) {
	word := strings.Trim(string(bytes.TrimSpace(raw)), `"`)
	n, err := strconv.ParseInt(word, 10, 64)
	return n, err == nil && n >= 0
}

func isNull(raw []byte) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) == 0 || bytes.Equal(raw, []byte("null"))
}

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
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return "missing"
	}
	if !json.Valid(raw) {
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
	return "a number that does not fit"
}

// marshal leaves & in URLs as it is: readable, and no longer than it was.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // a bug of ours: there is nothing in it that has no JSON
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}

// query is what follows a question mark in a text for people: it may be a secret.
var query = regexp.MustCompile(`\?\S*`)

// redact makes a foreign text fit to be shown: one line, bounded, no queries.
func redact(text string, limit int) string {
	text = query.ReplaceAllString(text, "")
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
