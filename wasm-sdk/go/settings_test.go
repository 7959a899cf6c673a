package updraft

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

func TestTexts(t *testing.T) {
	for _, tt := range []struct {
		field string
		want  []string
		err   error
	}{
		{`[]`, nil, nil},
		{` [ "a" ,"" ] `, []string{"a", ""}, nil},
		{`["\"\\\/\b\f\n\r\t", "\u00fcber\ud83d\ude00", "\ud83d", "\ud83d\u0041", "a\u0000b"]`, []string{"\"\\/\b\f\n\r\t", "über😀", "\ufffd", "\ufffdA", "a\x00b"}, nil},
		{`[1]`, nil, abi.EINVAL},
		{`["a", null]`, nil, abi.EINVAL},
		{`[["a"]]`, nil, abi.EINVAL},
		{`"a"`, nil, abi.EINVAL},
	} {
		s := &Step{host: host{&Double{Settings: `{"list":` + tt.field + `}`}}}
		got, err := s.Texts("list")
		if !slices.Equal(got, tt.want) || !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
			t.Errorf("%s: %q, error %v; want %q, %v", tt.field, got, err, tt.want, tt.err)
		}
		var same []string
		if err == nil && (json.Unmarshal([]byte(tt.field), &same) != nil || !slices.Equal(got, same)) {
			t.Errorf("%s: %q, want %q as encoding/json has it", tt.field, got, same)
		}
		if _, err := s.Texts("none"); !errors.Is(err, abi.ENOENT) {
			t.Errorf("no such field: %v", err)
		}
	}
}

func TestText(t *testing.T) {
	s := &Step{host: host{&Double{Settings: `{"a": "\u0078y", "n": 1}`}}}
	if text, err := s.Text("a"); text != "xy" || err != nil {
		t.Errorf("text %q, error %v", text, err)
	}
	if _, err := s.Text("n"); !errors.Is(err, abi.EINVAL) {
		t.Errorf("a number: %v", err)
	}
}

// What the host writes is well-formed; nothing else makes it panic.
func FuzzTexts(f *testing.F) {
	for _, seed := range []string{`["a"]`, `["\ud83d\ude00"]`, `["\u12`, `["\`, `[,]`, `["a"`, `["\ud83d\`, `["a"]x`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := unquoteList(text)
		var want []string
		if ok && utf8.ValidString(text) && json.Unmarshal([]byte(text), &want) == nil && !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	})
}
