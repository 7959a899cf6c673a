package cloudsim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
)

const (
	maxDocument = 8 << 10 // bytes of a shadow
	maxDepth    = 8       // levels of objects and arrays
)

// Shadow is what a cloud keeps of a device: what is desired, and what the
// device reported. Members are as in JSON, numbers as json.Number.
type Shadow struct {
	Version  int64          `json:"version"` // one more with each accepted update
	Desired  map[string]any `json:"desired"`
	Reported map[string]any `json:"reported"`
}

// merge puts a patch into a document: null deletes, objects merge, everything
// else replaces. The document is not changed, the result may share with both.
func merge(doc, patch map[string]any) map[string]any {
	out := maps.Clone(doc)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(out, k)
		case map[string]any:
			old, _ := out[k].(map[string]any)
			out[k] = merge(old, v)
		default:
			out[k] = v
		}
	}
	return out
}

// difference is what is desired and not so reported, at the deepest level
// that differs. nil means none.
func difference(desired, reported map[string]any) map[string]any {
	var out map[string]any
	put := func(k string, v any) {
		if out == nil {
			out = map[string]any{}
		}
		out[k] = v
	}
	for k, want := range desired {
		have, ok := reported[k]
		if !ok {
			put(k, want)
			continue
		}
		wantObject, ok1 := want.(map[string]any)
		haveObject, ok2 := have.(map[string]any)
		if ok1 && ok2 {
			if d := difference(wantObject, haveObject); d != nil {
				put(k, d)
			}
		} else if !reflect.DeepEqual(want, have) {
			put(k, want)
		}
	}
	return out
}

// request is what a device or an application publishes to update.
type request struct {
	State struct {
		Desired  json.RawMessage `json:"desired"`
		Reported json.RawMessage `json:"reported"`
	} `json:"state"`
	ClientToken string `json:"clientToken"`
	Version     *int64 `json:"version"`
}

// refusal is an answer that says no.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.code, r.text) }

// apply gives the shadow after a request. The sections that it changed are in
// state, as they were sent.
func (s Shadow) apply(r request) (next Shadow, state map[string]any, refused *refusal) {
	if r.Version != nil && *r.Version != s.Version {
		return s, nil, &refusal{409, "Version conflict"}
	}
	next, state = s, map[string]any{}
	for _, part := range []struct {
		name string
		sent json.RawMessage
		doc  *map[string]any
	}{{"desired", r.State.Desired, &next.Desired}, {"reported", r.State.Reported, &next.Reported}} {
		if part.sent == nil {
			continue
		}
		v, err := decodeValue(part.sent)
		if err != nil {
			return s, nil, &refusal{400, err.Error()}
		}
		switch v := v.(type) {
		case nil: // drops the section
			*part.doc = map[string]any{}
		case map[string]any:
			*part.doc = merge(*part.doc, v)
		default:
			return s, nil, &refusal{400, "State contains an invalid node: '" + part.name + "'"}
		}
		state[part.name] = v
	}
	if len(state) == 0 {
		return s, nil, &refusal{400, "Missing required node: state"}
	}
	if size, err := json.Marshal(next); err != nil || len(size) > maxDocument {
		return s, nil, &refusal{413, "The payload exceeds the maximum size allowed"}
	}
	next.Version++
	return next, state, nil
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

// decodeStrict refuses members that v does not have.
func decodeStrict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if d.More() {
		return fmt.Errorf("%w: something follows the JSON", ErrConfig)
	}
	return nil
}
