package azurehub

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrMessage is wrapped by every error of a message from the cloud.
var ErrMessage = errors.New("bad message")

// order is what a method call or desired firmware asks for.
type order struct {
	url, version string
	sha256, md5  string
	check        string // a check value that is neither
}

// readCall reads the payload of the method firmwareUpdate: an object, or a
// text that holds one, as a caller sends that has serialised it twice.
func readCall(payload []byte, scheme string) (order, error) {
	if len(payload) > maxCall {
		return order{}, fmt.Errorf("%w: payload of %d bytes, the limit is %d", ErrMessage, len(payload), maxCall)
	}
	var text string
	if kind(payload) == "text" && json.Unmarshal(payload, &text) == nil {
		payload = []byte(text)
	}
	doc, err := readObject(payload, "payload")
	if err != nil {
		return order{}, err
	}
	return readOrder(doc, "fwPackageUri", scheme)
}

// readOrder takes an order out of an object. Unknown members are nobody's business.
func readOrder(doc map[string]json.RawMessage, uri, scheme string) (order, error) {
	r := reader{object: doc}
	o := order{url: r.text(uri), version: r.textOrNumber("fwVersion")}
	value := r.textOrNumber("fwPackageCheckValue")
	switch {
	case r.err != nil:
		return order{}, r.err
	case o.url == "":
		return order{}, fmt.Errorf("%w: %s is missing", ErrMessage, uri)
	case !isLine(o.version, maxVersion):
		return order{}, fmt.Errorf("%w: fwVersion is longer than %d bytes or holds control characters", ErrMessage, maxVersion)
	case !isLine(value, maxCheck):
		return order{}, fmt.Errorf("%w: fwPackageCheckValue is longer than %d bytes or holds control characters", ErrMessage, maxCheck)
	}
	if scheme != "" && !strings.Contains(o.url, "://") {
		o.url = scheme + "://" + o.url
	}
	if _, err := identity(o.url); err != nil {
		return order{}, fmt.Errorf("%w: %s %w", ErrMessage, uri, err)
	}
	switch lower := strings.ToLower(value); {
	case hexDigits.MatchString(lower) && len(lower) == 64:
		o.sha256 = lower
	case hexDigits.MatchString(lower) && len(lower) == 32:
		o.md5 = lower
	default:
		o.check = value
	}
	return o, nil
}

var hexDigits = regexp.MustCompile(`^[0-9a-f]+$`)

// key is the same for orders of the same thing.
func (o order) key() string {
	id, _ := identity(o.url) // was checked
	sum := sha256.Sum256([]byte(strings.Join([]string{o.version, id, o.sha256, o.md5, o.check}, "\x00")))
	return hex.EncodeToString(sum[:8])
}

func (o order) inputs() map[string]string {
	in := map[string]string{"url": o.url}
	for name, value := range map[string]string{"version": o.version, "sha256": o.sha256, "md5": o.md5, "check": o.check} {
		if value != "" {
			in[name] = value
		}
	}
	return in
}

// identity gives a URL without what is secret or changes between deliveries.
func identity(text string) (string, error) {
	if len(text) > maxURL {
		return "", fmt.Errorf("is %d bytes, the limit is %d", len(text), maxURL)
	}
	strange := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"\\<>^`{|}", r) }
	u, err := url.Parse(text)
	switch {
	case err != nil || strings.ContainsFunc(text, strange): // the text of err holds the URL
		return "", errors.New("is no URL")
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return "", errors.New("is no absolute http or https URL")
	case u.User != nil:
		return "", errors.New("holds a user name or password")
	}
	bare := url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host), Path: u.Path, RawPath: u.RawPath}
	return bare.String(), nil
}

// readTwin reads the answer to a GET.
func readTwin(payload []byte) (desired, reported map[string]json.RawMessage, version int64, err error) {
	doc, err := readObject(payload, "twin")
	if err != nil {
		return nil, nil, 0, err
	}
	if desired, err = readObject(doc["desired"], "desired"); err != nil {
		return nil, nil, 0, err
	}
	if reported, err = readObject(doc["reported"], "reported"); err != nil {
		return nil, nil, 0, err
	}
	version, err = readVersion(desired)
	if err == nil && version == 0 {
		err = fmt.Errorf("%w: desired has no $version", ErrMessage)
	}
	return desired, reported, version, err
}

// readVersion gives 0 for an object without $version.
func readVersion(doc map[string]json.RawMessage) (int64, error) {
	raw := doc["$version"]
	if len(raw) == 0 {
		return 0, nil
	}
	var n int64
	if err := json.Unmarshal(raw, &n); err != nil || n < 1 {
		return 0, fmt.Errorf("%w: $version is no whole number above 0", ErrMessage)
	}
	return n, nil
}

// reader takes members out of an object, and remembers the first wrong type.
type reader struct {
	object map[string]json.RawMessage
	err    error
}

// text gives "" for a member that is missing or null.
func (r *reader) text(name string) string {
	raw := r.object[name]
	if isNull(raw) {
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
	if raw := r.object[name]; kind(raw) == "a number" {
		return string(raw)
	}
	return r.text(name)
}

// isNull says whether a member is missing or null.
func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

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
	return "a number"
}

// isLine says whether text has no more than limit bytes and no control characters.
func isLine(text string, limit int) bool {
	return len(text) <= limit && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// query is what follows a question mark in a text for people: it may be a secret.
var query = regexp.MustCompile(`\?\S*`)

// redact makes a foreign text fit to be shown: one line, bounded, no queries.
func redact(text string, limit int) string {
	text = query.ReplaceAllString(text, "")
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r), r == unicode.ReplacementChar:
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
