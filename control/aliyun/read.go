package aliyun

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

// Limits on what is believed.
const (
	MaxPayload = 256 << 10 // bytes of a message, the cloud's own limit
	MaxURL     = 4096      // bytes
	MaxVersion = 64        // bytes, of a module's name too
	maxID      = 64        // bytes of a message's id
)

// Object is a JSON object that is read a member at a time. The first member of
// a wrong type stays in Err, which wraps [ErrMessage].
type Object struct {
	members map[string]json.RawMessage
	Err     error
}

// Read reads an object; name says which in an error.
func Read(raw []byte, name string) (*Object, error) {
	if !utf8.Valid(raw) {
		return nil, fmt.Errorf("%w: %s is not UTF-8", ErrMessage, name)
	}
	o := new(Object)
	if err := json.Unmarshal(raw, &o.members); err != nil || o.members == nil {
		return nil, fmt.Errorf("%w: %s is %s, want an object", ErrMessage, name, kind(raw))
	}
	return o, nil
}

// Raw gives a member as it stands there, nil if it is missing or null.
func (o *Object) Raw(name string) []byte {
	raw := bytes.TrimSpace(o.members[name])
	if bytes.Equal(raw, []byte("null")) {
		return nil
	}
	return raw
}

// Len counts the members.
func (o *Object) Len() int { return len(o.members) }

// Text gives a text, or a number as it was written; "" if it is missing or null.
func (o *Object) Text(name string) string {
	raw := o.Raw(name)
	if len(raw) == 0 {
		return ""
	}
	if raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' {
		return string(raw)
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		o.fail("%s is %s, want text", name, kind(raw))
	}
	return s
}

// Number gives a whole number that is not negative, written as number or text;
// -1 if it is missing or null.
func (o *Object) Number(name string) int64 {
	text := o.Text(name)
	if text == "" {
		return -1
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		o.fail("%s is no whole number", name)
		return -1
	}
	return int64(n)
}

// Flag gives a 0 or 1, written as number, text, or true or false; false if it is missing.
func (o *Object) Flag(name string) bool {
	switch string(bytes.Trim(o.Raw(name), `"`)) {
	case "", "0", "false":
		return false
	case "1", "true":
		return true
	}
	o.fail("%s is neither 0 nor 1", name)
	return false
}

// Hex gives so many hexadecimal digits in lower case; "" if it is missing.
func (o *Object) Hex(name string, digits int) string {
	text := strings.ToLower(o.Text(name))
	if text != "" && !IsHex(text, digits) {
		o.fail("%s is not %d hexadecimal digits", name, digits)
	}
	return text
}

// IsHex says whether text is so many hexadecimal digits in lower case.
func IsHex(text string, digits int) bool {
	return len(text) == digits && strings.Trim(text, "0123456789abcdef") == ""
}

// ID gives a message's id; "" if it is missing.
func (o *Object) ID(name string) string {
	id := o.Text(name)
	if len(id) > maxID || strings.ContainsFunc(id, func(r rune) bool { return r < '!' || r > '~' }) {
		o.fail("%s is longer than %d bytes, or not only ASCII letters, digits and signs", name, maxID)
		return ""
	}
	return id
}

// Word gives a version or a name: short, and nothing that could not be printed.
func (o *Object) Word(name string) string {
	text := o.Text(name)
	if err := CheckWord(text); text != "" && err != nil {
		o.fail("%s %w", name, err)
	}
	return text
}

// CheckWord holds a version or the name of a module to 1 to 64 printable bytes
// without blanks.
func CheckWord(text string) error {
	if text == "" || len(text) > MaxVersion || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar }) {
		return fmt.Errorf("is not 1 to %d bytes of printable characters", MaxVersion)
	}
	return nil
}

// URL gives an absolute http or https URL without a password in it; "" if it
// is missing. Its query is a secret: an error does not hold it.
func (o *Object) URL(name string) string {
	text := o.Text(name)
	if text == "" {
		return ""
	}
	strange := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"\\<>^`{|}", r) }
	u, err := url.Parse(text)
	switch {
	case len(text) > MaxURL:
		o.fail("%s is %d bytes, the limit is %d", name, len(text), MaxURL)
	case err != nil || strings.ContainsFunc(text, strange):
		o.fail("%s is no URL", name)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		o.fail("%s is no absolute http or https URL", name)
	case u.User != nil:
		o.fail("%s holds a user name or password", name)
	}
	return text
}

func (o *Object) fail(format string, args ...any) {
	if o.Err == nil {
		o.Err = fmt.Errorf("%w: "+format, append([]any{ErrMessage}, args...)...)
	}
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

// Redact makes a foreign text fit to be shown: one line, at most so many bytes
// and a mark that it went on, no queries.
func Redact(text string, limit int) string {
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

// Marshal writes JSON with & in URLs as it is.
func Marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // a bug of ours: there is nothing in it that has no JSON
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}
