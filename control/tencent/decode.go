package tencent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrMessage is wrapped by every error of a message from the cloud.
var ErrMessage = errors.New("bad message")

// The types of messages.
const (
	typeUpdate        = "update_firmware"
	typeVersionAnswer = "report_version_rsp"
	typeVersion       = "report_version"
	typeProgress      = "report_progress"
)

// push is an update_firmware. What it does not hold is "".
type push struct {
	version, url, md5, size string
}

// answer is a report_version_rsp.
type answer struct {
	code int64
	text string
}

// readType reads a message as far as its type. Unknown members are nobody's business.
func readType(payload []byte) (kind string, doc members, err error) {
	if !utf8.Valid(payload) {
		return "", nil, fmt.Errorf("%w: message is not UTF-8", ErrMessage)
	}
	if err := json.Unmarshal(payload, &doc); err != nil || doc == nil {
		return "", nil, fmt.Errorf("%w: message is %s, want an object", ErrMessage, form(payload))
	}
	kind, err = doc.text("type")
	if err == nil && kind == "" {
		err = fmt.Errorf("type is missing, want %s or %s", typeUpdate, typeVersionAnswer)
	}
	return kind, doc, bad(err)
}

// readPush reads an update_firmware. The version is there even with an error,
// unless it is the version that is wrong.
func readPush(doc members) (p push, err error) {
	if p.version, err = doc.textOrNumber("version"); err != nil {
		return push{}, bad(err)
	}
	if err := checkVersion(p.version); err != nil {
		return push{}, fmt.Errorf("%w: version %w", ErrMessage, err)
	}
	var errs [3]error
	p.url, errs[0] = doc.text("url")
	p.md5, errs[1] = doc.text("md5sum")
	p.size, errs[2] = doc.textOrNumber("file_size")
	for _, err := range errs {
		if err != nil {
			return p, bad(err)
		}
	}
	p.md5 = strings.ToLower(p.md5)
	return p, p.check()
}

func (p push) check() error {
	if err := checkURL(p.url); err != nil {
		return fmt.Errorf("%w: url %w", ErrMessage, err)
	}
	if p.md5 != "" && (len(p.md5) != 32 || strings.Trim(p.md5, "0123456789abcdef") != "") {
		return fmt.Errorf("%w: md5sum is not 32 hexadecimal digits", ErrMessage)
	}
	if n, err := strconv.ParseInt(p.size, 10, 64); p.size != "" && (err != nil || n <= 0) {
		return fmt.Errorf("%w: file_size is no number of bytes above 0", ErrMessage)
	}
	return nil
}

// checkURL says what is wrong with a URL, without a word of it.
func checkURL(text string) error {
	if len(text) > maxURL {
		return fmt.Errorf("has %d bytes, the limit is %d", len(text), maxURL)
	}
	strange := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"\\<>^`{|}", r) }
	u, err := url.Parse(text)
	switch {
	case text == "":
		return errors.New("is missing")
	case err != nil || strings.ContainsFunc(text, strange): // the text of err holds the URL
		return errors.New("is no URL")
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return errors.New("is no absolute http or https URL")
	case u.User != nil:
		return errors.New("holds a user name or password")
	}
	return nil
}

// readAnswer reads a report_version_rsp.
func readAnswer(doc members) (a answer, err error) {
	code, err := doc.textOrNumber("result_code")
	if err != nil {
		return a, bad(err)
	}
	if a.code, err = strconv.ParseInt(code, 10, 32); err != nil {
		return a, fmt.Errorf("%w: result_code is no whole number", ErrMessage)
	}
	a.text, _ = doc.text("result_msg")
	return a, nil
}

// bad makes an error one of a message.
func bad(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrMessage, err)
}

// members are those of a JSON object.
type members map[string]json.RawMessage

// text gives "" for a member that is missing or null.
func (m members) text(name string) (s string, err error) {
	raw := m[name]
	if len(raw) == 0 {
		return "", nil
	}
	if json.Unmarshal(raw, &s) != nil {
		return "", fmt.Errorf("%s is %s, want text", name, form(raw))
	}
	return s, nil
}

// textOrNumber gives a number as it was written.
func (m members) textOrNumber(name string) (string, error) {
	if raw := m[name]; len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
		return string(raw), nil
	}
	return m.text(name)
}

// form names what stands in the place of something else.
func form(raw []byte) string {
	raw = bytes.TrimSpace(raw)
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

// redact makes a foreign text fit to be shown: one line, bounded, no queries of URLs.
func redact(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		} else if !unicode.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, text)
	words := strings.Fields(text)
	for i, w := range words {
		words[i], _, _ = strings.Cut(w, "?")
	}
	text = strings.Join(words, " ")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit-len(" …")], "") + " …"
	}
	return text
}
