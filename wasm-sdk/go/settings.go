package updraft

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Settings reads the step's settings into v as JSON, as encoding/json does,
// which makes a module 1 MB larger: see Text and Texts. Capability: facts.
func (s *Step) Settings(v any) error { return s.Setting("", v) }

// Setting is Settings for one field. One that is not there is [abi.ENOENT].
func (s *Step) Setting(name string, v any) error {
	text, err := s.config(name)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// Text gives a field of the settings that is a text. One that is not there is
// [abi.ENOENT], one of another type [abi.EINVAL]. Capability: facts.
func (s *Step) Text(name string) (string, error) {
	field, err := s.config(name)
	if err != nil {
		return "", err
	}
	text, rest, ok := unquote(strings.TrimSpace(string(field)))
	if !ok || rest != "" {
		return "", fault("setting "+name+", which is no text", abi.EINVAL)
	}
	return text, nil
}

// Texts is Text for a list of texts.
func (s *Step) Texts(name string) ([]string, error) {
	field, err := s.config(name)
	if err != nil {
		return nil, err
	}
	list, ok := unquoteList(strings.TrimSpace(string(field)))
	if !ok {
		return nil, fault("setting "+name+", which is no list of texts", abi.EINVAL)
	}
	return list, nil
}

func (s *Step) config(name string) ([]byte, error) {
	text, err := grow(func(p []byte) int32 { return s.host.configGet(name, p) })
	if err != nil {
		return nil, fault(strings.TrimSpace("setting "+name), err)
	}
	return text, nil
}

// unquoteList reads a JSON list of texts.
func unquoteList(json string) (list []string, ok bool) {
	rest, ok := strings.CutPrefix(json, "[")
	if !ok {
		return nil, false
	}
	if rest = strings.TrimSpace(rest); rest == "]" {
		return nil, true
	}
	for {
		text, after, ok := unquote(strings.TrimSpace(rest))
		after = strings.TrimSpace(after)
		if !ok || after == "" {
			return nil, false
		}
		list = append(list, text)
		if rest = after[1:]; after[0] != ',' {
			return list, after == "]"
		}
	}
}

// unquote reads the JSON text that json begins with.
func unquote(json string) (text, rest string, ok bool) {
	if json == "" || json[0] != '"' {
		return "", "", false
	}
	var out []byte
	for i := 1; i < len(json); i++ {
		switch c := json[i]; c {
		case '"':
			return string(out), json[i+1:], true
		case '\\':
			r, size := unescape(json[i+1:])
			if size == 0 {
				return "", "", false
			}
			out = utf8.AppendRune(out, r)
			i += size
		default:
			out = append(out, c)
		}
	}
	return "", "", false
}

// unescape reads what follows a backslash and gives its size in bytes, 0 if
// it is no escape.
func unescape(s string) (r rune, size int) {
	if s == "" {
		return 0, 0
	}
	if i := strings.IndexByte(`"\/bfnrt`, s[0]); i >= 0 {
		return rune("\"\\/\b\f\n\r\t"[i]), 1
	}
	high, ok := hex4(s)
	if !ok {
		return 0, 0
	}
	if low, ok := hex4(strings.TrimPrefix(s[5:], `\`)); ok && len(s) > 5 && s[5] == '\\' {
		if r := utf16.DecodeRune(high, low); r != utf8.RuneError {
			return r, 11
		}
	}
	return high, 5
}

// hex4 reads u and four hexadecimal digits.
func hex4(s string) (rune, bool) {
	if len(s) < 5 || s[0] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(s[1:5], 16, 32)
	return rune(v), err == nil
}
