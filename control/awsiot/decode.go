package awsiot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrMessage is wrapped by every error of a message from the cloud.
var ErrMessage = errors.New("bad message")

// delta is what a message on …/update/delta asks for. Members that it does not
// hold are "".
type delta struct {
	url, jobID            string
	version, sha256, size string
	shadow                int64 // version of the shadow, 0 if the cloud counts none
}

// readDelta reads a delta. Unknown members are nobody's business.
func readDelta(payload []byte) (delta, error) {
	doc, err := readObject(payload, "message")
	if err != nil {
		return delta{}, err
	}
	state, err := readObject(doc["state"], "state")
	if err != nil {
		return delta{}, err
	}
	var d delta
	r := reader{state, nil}
	d.url, d.jobID = r.text("softwareURL"), r.text("jobID")
	d.version, d.sha256, d.size = r.textOrNumber("version"), strings.ToLower(r.text("sha256")), r.textOrNumber("size")
	shadow := reader{doc, nil}
	counted := shadow.textOrNumber("version")
	if err := errors.Join(r.err, shadow.err); err != nil {
		return delta{}, err
	}
	if counted != "" {
		if d.shadow, err = strconv.ParseInt(counted, 10, 64); err != nil || d.shadow < 0 {
			return delta{}, fmt.Errorf("%w: version of the shadow is no whole number", ErrMessage)
		}
	}
	return d, d.check()
}

var hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (d delta) check() error {
	if d.jobID != "" {
		if err := checkID(d.jobID); err != nil {
			return fmt.Errorf("%w: jobID %w", ErrMessage, err)
		}
	}
	if d.url != "" {
		if _, err := identity(d.url); err != nil {
			return err
		}
	}
	if len(d.version) > 128 || strings.ContainsFunc(d.version, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%w: version is longer than 128 bytes or holds control characters", ErrMessage)
	}
	if d.sha256 != "" && !hexSHA256.MatchString(d.sha256) {
		return fmt.Errorf("%w: sha256 is not 64 hexadecimal digits", ErrMessage)
	}
	if n, err := strconv.ParseInt(d.size, 10, 64); d.size != "" && (err != nil || n < 0) {
		return fmt.Errorf("%w: size is no whole number of bytes", ErrMessage)
	}
	return nil
}

// identity gives a URL without what is secret or changes between deliveries.
func identity(text string) (string, error) {
	if len(text) > maxURL {
		return "", fmt.Errorf("%w: softwareURL is %d bytes, the limit is %d", ErrMessage, len(text), maxURL)
	}
	strange := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"\\<>^`{|}", r) }
	u, err := url.Parse(text)
	switch {
	case err != nil || strings.ContainsFunc(text, strange): // the text of err holds the URL
		return "", fmt.Errorf("%w: softwareURL is no URL", ErrMessage)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return "", fmt.Errorf("%w: softwareURL is no absolute http or https URL", ErrMessage)
	case u.User != nil:
		return "", fmt.Errorf("%w: softwareURL holds a user name or password", ErrMessage)
	}
	id := (&url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host), Path: u.Path, RawPath: u.RawPath}).String()
	if len(id) > maxIdentity {
		return "", fmt.Errorf("%w: softwareURL is %d bytes without its query, the limit is %d", ErrMessage, len(id), maxIdentity)
	}
	return id, nil
}

// answer is a message on …/update/accepted or …/update/rejected.
type answer struct {
	token, code, text string
	shadow            int64  // version of the shadow, 0 if the cloud counts none
	result            Result // if it names one
}

func readAnswer(payload []byte) (answer, error) {
	if result, err := readText(payload); err == nil {
		return answer{result: result}, nil
	}
	doc, err := readObject(payload, "message")
	if err != nil {
		return answer{}, err
	}
	r := reader{doc, nil}
	a := answer{token: r.text("clientToken"), code: r.textOrNumber("code"), text: r.text("message")}
	a.shadow, _ = strconv.ParseInt(r.textOrNumber("version"), 10, 64)
	if r.err == nil && len(doc["state"]) > 0 {
		a.result, _ = readReported(doc) // a cloud may repeat anything here, or nothing
	}
	return a, r.err
}

// reader takes members out of an object, and remembers the first wrong type.
type reader struct {
	object map[string]json.RawMessage
	err    error
}

// text gives "" for a member that is missing or null.
func (r *reader) text(name string) string {
	raw := r.object[name]
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return ""
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil && r.err == nil {
		r.err = fmt.Errorf("%w: %s is %s, want text", ErrMessage, name, kind(raw))
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
