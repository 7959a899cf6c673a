package aliyun

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	platform "github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

// errMessage is wrapped by every error of a message from a device.
var errMessage = errors.New("message refused")

// The codes of answers.
const (
	codeDone    = 200
	codeMany    = 429
	codeInvalid = 460
)

var codeTexts = map[int]string{codeDone: "success", codeMany: "too many requests", codeInvalid: "request parameter error"}

// maxRequestID bounds the id of a message, in bytes. It is more than a number:
// the vendor's SDK for JavaScript appends the topic on which it expects the answer.
const maxRequestID = 512

// request is what a device says, in the envelope of the platform.
type request struct {
	id     string // "" if it cannot be answered
	params *platform.Object
}

// readRequest reads an envelope. After an error, the id may be known still.
func readRequest(payload []byte) (r request, err error) {
	doc, err := platform.Read(payload, "message")
	if err != nil {
		return r, fmt.Errorf("%w: %w", errMessage, err)
	}
	r.id = doc.Text("id")
	if doc.Err != nil {
		return request{}, fmt.Errorf("%w: %w", errMessage, doc.Err)
	}
	if len(r.id) > maxRequestID || strings.ContainsFunc(r.id, func(c rune) bool { return c < '!' || c > '~' }) {
		return request{}, fmt.Errorf("%w: id is longer than %d bytes, or not only ASCII letters, digits and signs", errMessage, maxRequestID)
	}
	if r.params, err = platform.Read(doc.Raw("params"), "params"); err != nil {
		return r, fmt.Errorf("%w: %w", errMessage, err)
	}
	return r, nil
}

// answer is the envelope of an answer.
type answer struct {
	ID      string `json:"id"`
	Code    int    `json:"code"`
	Message string `json:"message"`
	Method  string `json:"method,omitempty"`
	Version string `json:"version,omitempty"`
	Data    any    `json:"data"`
}

// posted answers an event, on its topic with _reply.
func posted(id, path string, code int) answer {
	method := strings.ReplaceAll(strings.TrimPrefix(path, "/sys/"), "/", ".")
	return answer{ID: id, Code: code, Message: codeTexts[code], Method: method, Version: "1.0", Data: struct{}{}}
}

// nextID gives the id of a message of the cloud: a time in seconds by custom,
// and another one each time.
func nextID(last *int64, now time.Time) int64 {
	*last = max(*last+1, now.Unix())
	return *last
}

// settings reads Order.Set. Members that are not known are an error.
func settings(set map[string]any, known ...string) (*platform.Object, error) {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%w: unknown member %q of set (have %q)", cloudsim.ErrConfig, name, known)
		}
	}
	if set == nil {
		set = map[string]any{}
	}
	raw, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("%w: set has no JSON: %w", cloudsim.ErrConfig, err)
	}
	return platform.Read(raw, "set")
}

// checkSoftware refuses what the platform could not have of a package.
func checkSoftware(s cloudsim.Software, method string) error {
	switch {
	case s.File == "" && s.URL == "":
		return fmt.Errorf("%w: no file, expected one of the simulator's folder or a URL", cloudsim.ErrConfig)
	case s.Size <= 0 || s.MD5 == "" && method != "SHA256" || s.SHA256 == "" && method == "SHA256":
		return fmt.Errorf("%w: a package needs its size and its %s", cloudsim.ErrConfig, method)
	}
	return nil
}

// isEvent says whether a path is that of an event, which the platform answers.
func isEvent(path string) bool {
	return strings.HasPrefix(path, "/sys/thing/event/") && strings.HasSuffix(path, "/post")
}

// reply answers an event; without an id there is no answer.
func (d *door) reply(name, path, id string, code int) []cloudsim.Message {
	if id == "" {
		return nil
	}
	m := d.message(name, "/sys/", strings.TrimPrefix(path, "/sys")+"_reply", posted(id, path, code))
	m.QoS = 0
	return []cloudsim.Message{m}
}

// matches says whether a filter, of a device's own, is for a topic.
func matches(filter, topic string) bool {
	want, have := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range want {
		switch {
		case level == "#":
			return true
		case i >= len(have) || level != "+" && level != have[i]:
			return false
		}
	}
	return len(want) == len(have)
}
