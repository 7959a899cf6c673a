package tencent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

const (
	maxVersion = 32 // characters, the vendor's limit
	maxCode    = 16 // bytes of a result_code
)

// The types of messages.
const (
	typeUpdate        = "update_firmware"
	typeVersionAnswer = "report_version_rsp"
	typeVersion       = "report_version"
	typeProgress      = "report_progress"
)

// codeRefused stands in report_version_rsp for everything that is not well.
const codeRefused = -1

var (
	errMessage = errors.New("bad message")
	errTooMany = errors.New("too many requests")
)

// report is what a device says. Beyond Type and Version it is that of
// report_progress.
type report struct {
	Type    string
	Version string
	State   string
	Percent int    // of the download, -1 for not said
	Code    string // as it was written
	Message string
}

// readReport reads a message. The type and the version are there with an
// error too, as far as they could be read.
func readReport(payload []byte) (r report, err error) {
	doc, ok := object(payload)
	if !ok || !utf8.Valid(payload) {
		return r, fmt.Errorf("%w: no JSON object", errMessage)
	}
	if r.Type, ok = doc.text("type"); !ok || r.Type != typeVersion && r.Type != typeProgress {
		return r, fmt.Errorf("%w: type %.40q, expected %s or %s", errMessage, r.Type, typeVersion, typeProgress)
	}
	said, ok := object(doc["report"])
	if !ok {
		return r, fmt.Errorf("%w: %s without an object report", errMessage, r.Type)
	}
	version, ok := said.text("version")
	if !ok || !isVersion(version) {
		return r, fmt.Errorf("%w: %s without a version of 1 to %d characters", errMessage, r.Type, maxVersion)
	}
	r.Version = version
	if r.Type == typeVersion {
		return r, nil
	}
	progress, ok := object(said["progress"])
	if !ok {
		return r, fmt.Errorf("%w: %s without an object progress", errMessage, r.Type)
	}
	return r, r.progress(progress)
}

// progress reads what is of report_progress alone.
func (r *report) progress(m members) error {
	var ok bool
	if r.State, ok = m.text("state"); !ok || statesOf[r.State] == 0 {
		return fmt.Errorf("%w: state %.40q, expected downloading, burning, updating, done or fail", errMessage, r.State)
	}
	percent, ok := m.textOrNumber("percent")
	if r.Percent = -1; ok && percent != "" {
		n, err := strconv.Atoi(percent)
		r.Percent, ok = n, err == nil && n >= 0 && n <= 100
	}
	if !ok {
		return fmt.Errorf("%w: percent is no whole number of 0 to 100, as text or number", errMessage)
	}
	if r.Code, ok = m.textOrNumber("result_code"); !ok || len(r.Code) > maxCode {
		return fmt.Errorf("%w: result_code is no text or number of up to %d characters", errMessage, maxCode)
	}
	if r.Message, ok = m.text("result_msg"); !ok {
		return fmt.Errorf("%w: result_msg is not text", errMessage)
	}
	return nil
}

// members are those of a JSON object, by their exact names.
type members map[string]json.RawMessage

func object(raw []byte) (m members, ok bool) {
	err := json.Unmarshal(raw, &m)
	return m, err == nil && m != nil
}

// text reads a member that is text, or missing.
func (m members) text(name string) (s string, ok bool) {
	raw := m[name]
	ok = len(raw) == 0 || json.Unmarshal(raw, &s) == nil
	return s, ok
}

// textOrNumber gives a number as it was written.
func (m members) textOrNumber(name string) (string, bool) {
	if raw := m[name]; len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
		return string(raw), true
	}
	return m.text(name)
}

func isVersion(s string) bool {
	n := utf8.RuneCountInString(s)
	return n >= 1 && n <= maxVersion && utf8.ValidString(s)
}

func isMD5(s string) bool { return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == "" }

// answer is that to report_version.
func (c *Cloud) answer(name, version string, why error) cloudsim.Message {
	code, text := 0, "success"
	if why != nil {
		code, text = codeRefused, why.Error()
	}
	return c.message(name, struct {
		Code    int    `json:"result_code"`
		Text    string `json:"result_msg"`
		Type    string `json:"type"`
		Version string `json:"version"`
	}{code, text, typeVersionAnswer, version})
}

// offer pushes software.
func (c *Cloud) offer(name string, s cloudsim.Software, address string) cloudsim.Message {
	return c.message(name, struct {
		Size    int64  `json:"file_size"`
		MD5     string `json:"md5sum"`
		Type    string `json:"type"`
		URL     string `json:"url"`
		Version string `json:"version"`
	}{s.Size, s.MD5, typeUpdate, address, s.Version})
}

// message leaves & as it is: not every SDK knows other ways to write it.
func (c *Cloud) message(name string, v any) cloudsim.Message {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // text and numbers always have a JSON
	return cloudsim.Message{Device: name, Topic: c.down(name), Payload: bytes.TrimSpace(b.Bytes())}
}
