package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// object is a JSON object whose members are found without regard to case,
// because really signed manifests vary in it. The exact spelling wins.
type object map[string]json.RawMessage

func readObject(raw []byte) (object, error) {
	var o object
	if !utf8.Valid(raw) || json.Unmarshal(raw, &o) != nil || o == nil {
		return nil, fmt.Errorf("want a JSON object")
	}
	return o, nil
}

// get gives nil for what is missing or null.
func (o object) get(name string) json.RawMessage {
	raw, ok := o[name]
	if !ok {
		found := ""
		for key := range o { // the first in order, so that the answer is always the same
			if strings.EqualFold(key, name) && (found == "" || key < found) {
				found = key
			}
		}
		raw = o[found]
	}
	if bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return nil
	}
	return raw
}

// text gives "" for what is missing. A number is taken as it is written.
func (o object) text(name string) (string, error) {
	raw := o.get(name)
	if len(raw) == 0 {
		return "", nil
	}
	if c := raw[0]; c == '-' || c >= '0' && c <= '9' {
		return string(raw), nil
	}
	s, ok := text(raw)
	if !ok {
		return "", fmt.Errorf("%s: want text", name)
	}
	return s, nil
}

func (o object) size(name string) (int64, error) {
	s, err := o.text(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s: want a whole number of bytes", name)
	}
	return n, nil
}

// object gives nil for what is missing.
func (o object) object(name string) (object, error) {
	raw := o.get(name)
	if len(raw) == 0 {
		return nil, nil
	}
	inner, err := readObject(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return inner, nil
}

func (o object) list(name string, most int) ([]json.RawMessage, error) {
	raw := o.get(name)
	if len(raw) == 0 {
		return nil, nil
	}
	var all []json.RawMessage
	if json.Unmarshal(raw, &all) != nil || len(all) > most {
		return nil, fmt.Errorf("%s: want a list of at most %d", name, most)
	}
	return all, nil
}

// texts gives the members as text; what is no text as it is written.
func (o object) texts() map[string]string {
	if len(o) == 0 {
		return nil
	}
	all := make(map[string]string, len(o))
	for key, raw := range o {
		s, ok := text(raw)
		if !ok {
			s = string(raw)
		}
		all[key] = s
	}
	return all
}

func (o object) keys() []string {
	keys := make([]string, 0, len(o))
	for key := range o {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
