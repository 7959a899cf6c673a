package controltest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/updraft-ota/updraft/control"
)

// show writes an output in the notation of the files: its line, and its
// payload. token gives the word of a number.
func show(o control.Out, token func(uint64) string) (head string, payload []byte) {
	words := []string{string(o.Kind)}
	add := func(w string) { words = append(words, quote(w)) }
	field := func(key, value string) { words = append(words, key+"="+quote(value)) }
	tokenField := func() {
		if o.Token != 0 {
			field("token", token(o.Token))
		}
	}
	switch o.Kind {
	case control.OutSubscribe:
		add(o.Topic)
		field("qos", strconv.Itoa(int(o.QoS)))
	case control.OutPublish:
		add(o.Topic)
		field("qos", strconv.Itoa(int(o.QoS)))
		tokenField()
		payload = o.Payload
	case control.OutRequest:
		add(o.Method)
		add(o.URL)
		tokenField()
		if o.Max != 0 {
			field("max", strconv.FormatInt(o.Max, 10))
		}
		for _, k := range slices.Sorted(maps.Keys(o.Header)) {
			field("header."+k, o.Header[k])
		}
		payload = o.Payload
	case control.OutCommand:
		add(o.Command.Name)
		add(o.Command.ID)
		tokenField()
		payload = encode(o.Command.Inputs)
	case control.OutCancel:
		add(o.Command.ID)
	case control.OutTimer:
		add(token(o.Token))
		field("after", o.After.String())
	case control.OutHandled:
		add("#" + strconv.FormatUint(o.Message, 10))
	case control.OutDelivered:
		add(o.Report)
	case control.OutLog:
		words = append(words, strings.Trim(strconv.Quote(o.Text), `"`))
		if plain(o.Text) {
			words[1] = o.Text
		}
	default:
		words = append(words, fmt.Sprintf("(an output of an unknown kind: %+v)", o))
	}
	return strings.Join(words, " "), payload
}

func quote(w string) string {
	if w == "" || !plain(w) || strings.ContainsAny(w, " \"") {
		return strconv.Quote(w)
	}
	return w
}

func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar })
}

// normal gives the one spelling of a head as written in a file.
func normal(l line) string {
	if l.words == nil {
		return l.text
	}
	parts := make([]string, len(l.words))
	for i, w := range l.words {
		if parts[i] = quote(w.key); w.value != "" || strings.Contains(l.text, w.key+`=""`) {
			parts[i] = w.key + "=" + quote(w.value)
		}
	}
	return strings.Join(parts, " ")
}

// canonical gives the one spelling of a JSON document, and anything else unchanged.
func canonical(payload []byte) string {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return string(payload)
	}
	if _, err := d.Token(); err != io.EOF {
		return string(payload)
	}
	return string(encode(numbers(v)))
}

// numbers gives every number its one spelling: 1, 1.0 and 1e0 are the same.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case json.Number:
		f, err := v.Float64()
		if _, intErr := v.Int64(); intErr == nil || err != nil {
			return v
		}
		if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return json.Number(strconv.FormatInt(int64(f), 10))
		}
		return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
	}
	return v
}

func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(b.Bytes())
}
