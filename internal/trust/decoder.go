package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// ManifestError is a mistake in a release manifest. It wraps [ErrManifest].
type ManifestError struct {
	Name    string // of the file, as given to [ParseRelease]
	Line    int    // from 1
	Column  int    // from 1, in characters
	Path    string // such as artifacts[0].size; empty for the whole manifest
	Problem string // what is wrong and what was expected
}

// Error is the position, the path and the problem.
func (e *ManifestError) Error() string {
	at := fmt.Sprintf("%s:%d:%d: ", e.Name, e.Line, e.Column)
	if e.Path != "" {
		at += e.Path + ": "
	}
	return at + e.Problem
}

// Unwrap gives [ErrManifest].
func (e *ManifestError) Unwrap() error { return ErrManifest }

// decoder reads JSON by its tokens. encoding/json alone would match keys
// without regard to case, take the last of two equal keys, and pass over
// unknown ones: a signed manifest must mean one thing to every reader.
type decoder struct {
	file string
	data []byte
	json *json.Decoder
	at   int // offset of the last token
}

// reader takes the value that begins with the token tok and ends where the
// decoder then stands.
type reader func(path string, tok any) error

type field struct {
	key      string
	required bool
	read     reader
}

func newDecoder(file string, data []byte) *decoder {
	d := &decoder{file: file, data: data, json: json.NewDecoder(bytes.NewReader(data))}
	d.json.UseNumber()
	return d
}

// errorf makes an error at the last token.
func (d *decoder) errorf(path, format string, args ...any) error {
	before := d.data[:d.at]
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return &ManifestError{
		Name:    d.file,
		Line:    1 + bytes.Count(before, []byte("\n")),
		Column:  1 + utf8.RuneCount(line),
		Path:    path,
		Problem: fmt.Sprintf(format, args...),
	}
}

func (d *decoder) checkUTF8() error {
	for rest := d.data; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if r == utf8.RuneError && n == 1 {
			d.at = len(d.data) - len(rest)
			return d.errorf("", "the byte %#02x is not UTF-8", rest[0])
		}
		rest = rest[n:]
	}
	return nil
}

// next gives a json.Delim, string, json.Number, bool or nil.
func (d *decoder) next(path string) (any, error) {
	d.at = int(d.json.InputOffset())
	for d.at < len(d.data) && strings.IndexByte(" \t\r\n,:", d.data[d.at]) >= 0 {
		d.at++
	}
	tok, err := d.json.Token()
	switch {
	case err == nil:
		return tok, nil
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, d.errorf(path, "the manifest ends too early")
	}
	return nil, d.errorf(path, "is not JSON: %v", err)
}

func (d *decoder) value(path string, read reader) error {
	tok, err := d.next(path)
	if err != nil {
		return err
	}
	return read(path, tok)
}

// end makes sure that only white space is left.
func (d *decoder) end() error {
	rest := d.data[d.json.InputOffset():]
	more := bytes.TrimLeft(rest, " \t\r\n")
	if len(more) == 0 {
		return nil
	}
	d.at = len(d.data) - len(more)
	return d.errorf("", "something follows the end of the manifest")
}

func (d *decoder) object(fields []field) reader {
	return func(path string, tok any) error {
		if tok != json.Delim('{') {
			return d.wrongType(path, "an object", tok)
		}
		start := d.at
		seen := map[string]bool{}
		for {
			tok, err := d.next(path)
			if err != nil {
				return err
			}
			key, ok := tok.(string)
			if !ok { // the JSON decoder lets only "}" stand here
				break
			}
			if err := d.member(path, key, fields, seen); err != nil {
				return err
			}
		}
		d.at = start
		for _, f := range fields {
			if f.required && !seen[f.key] {
				return d.errorf(join(path, f.key), "is missing")
			}
		}
		return nil
	}
}

func (d *decoder) member(path, key string, fields []field, seen map[string]bool) error {
	i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
	if i < 0 {
		var known []string
		for _, f := range fields {
			known = append(known, f.key)
		}
		return d.errorf(path, "unknown key %q (have %s)", clip(key), some(nearest(key, known)))
	}
	if seen[key] {
		return d.errorf(join(path, key), "the key is there twice")
	}
	seen[key] = true
	return d.value(join(path, key), fields[i].read)
}

func (d *decoder) array(least, most int, element reader) reader {
	return func(path string, tok any) error {
		if tok != json.Delim('[') {
			return d.wrongType(path, "a list", tok)
		}
		start := d.at
		for n := 0; ; n++ {
			at := fmt.Sprintf("%s[%d]", path, n)
			tok, err := d.next(at)
			switch {
			case err != nil:
				return err
			case tok == json.Delim(']') && n < least:
				d.at = start
				return d.errorf(path, "has %d elements, expected at least %d", n, least)
			case tok == json.Delim(']'):
				return nil
			case n == most:
				return d.errorf(path, "has more than %d elements", most)
			}
			if err := element(at, tok); err != nil {
				return err
			}
		}
	}
}

func (d *decoder) text(to *string, check func(string) error) reader {
	return func(path string, tok any) error {
		s, ok := tok.(string)
		if !ok {
			return d.wrongType(path, "a string", tok)
		}
		if err := check(s); err != nil {
			return d.errorf(path, "%v", err)
		}
		*to = s
		return nil
	}
}

func (d *decoder) integer(to *int64, most int64) reader {
	return func(path string, tok any) error {
		number, ok := tok.(json.Number)
		if !ok {
			return d.wrongType(path, "a number", tok)
		}
		n, err := checkInteger(number.String(), most)
		if err != nil {
			return d.errorf(path, "%v", err)
		}
		*to = n
		return nil
	}
}

func (d *decoder) wrongType(path, want string, tok any) error {
	got := "null"
	switch tok := tok.(type) {
	case json.Delim:
		got = "a list"
		if tok == '{' {
			got = "an object"
		}
	case string:
		got = "a string"
	case json.Number:
		got = "a number"
	case bool:
		got = "true or false"
	}
	return d.errorf(path, "is %s, expected %s", got, want)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
