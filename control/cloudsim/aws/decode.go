package aws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// textForm is what the first description of the pattern acknowledges with, a
// space between id and result or not.
var textForm = regexp.MustCompile(`^\s*jobID:\s*(\S+?)\s*(SUCCESS|FAILURE)\s*$`)

// parseText reads the text form as the report that it stands for.
func parseText(payload []byte, now Shadow) (r request, ok bool) {
	m := textForm.FindSubmatch(payload)
	if m == nil {
		return r, false
	}
	reported := map[string]any{"jobID": string(m[1]), "result": string(m[2])}
	if url, ok := now.Desired["softwareURL"]; ok && string(m[2]) == "SUCCESS" && now.Desired["jobID"] == string(m[1]) {
		reported["softwareURL"] = url
	}
	data, err := json.Marshal(reported)
	r.reported = data
	return r, err == nil
}

// parseRequest reads a request to a shadow. An empty one is {}.
func parseRequest(payload []byte) (r request, refused *refusal) {
	if !utf8.Valid(payload) {
		return r, &refusal{415, "Unsupported documented encoding; supported encoding is UTF-8"}
	}
	doc, err := object(payload)
	if err != nil {
		return r, &refusal{400, "Payload contains invalid json"}
	}
	if raw, ok := doc["clientToken"]; ok {
		if json.Unmarshal(raw, &r.token) != nil || len(r.token) > maxToken {
			r.token = ""
			return r, &refusal{400, "Invalid clientToken"}
		}
	}
	if raw, ok := doc["version"]; ok && string(raw) != "null" {
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil || n < 0 {
			return r, &refusal{400, "Invalid version"}
		}
		r.version = &n
	}
	raw := doc["state"]
	if len(raw) == 0 || string(raw) == "null" {
		return r, nil
	}
	state, err := object(raw)
	if err != nil {
		return r, &refusal{400, "State node must be an object"}
	}
	for name := range state {
		if name != "desired" && name != "reported" {
			return r, &refusal{400, "State contains an invalid node: '" + clip(name, 64) + "'"}
		}
	}
	r.desired, r.reported = state["desired"], state["reported"]
	return r, nil
}

// object reads a JSON object and nothing behind it; nothing at all is {}.
func object(data []byte) (out map[string]json.RawMessage, err error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return map[string]json.RawMessage{}, nil
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, err
	}
	if out == nil {
		return nil, errors.New("null")
	}
	return out, nil
}

// decodeValue reads JSON with exact numbers and bounded depth.
func decodeValue(data []byte) (any, error) {
	if err := checkDepth(data); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

func checkDepth(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	for depth := 0; ; {
		t, err := d.Token()
		if err != nil {
			return nil // the decoder itself will say what is wrong, or it is the end
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth > maxDepth {
			return fmt.Errorf("JSON contains too many levels of nesting; maximum is %d", maxDepth)
		}
	}
}

// clip makes text of a device fit to be told.
func clip(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
