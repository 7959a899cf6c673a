package aws

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
)

const (
	maxDocument = 8 << 10 // bytes of a shadow
	maxDepth    = 8       // levels of objects and arrays
	maxToken    = 64      // bytes of a clientToken
)

// Shadow is what a cloud keeps of a device: what is desired, and what the
// device reported. Members are as in JSON, numbers as json.Number.
type Shadow struct {
	Version  int64          `json:"version,omitzero"` // one more with each accepted update
	Desired  map[string]any `json:"desired"`
	Reported map[string]any `json:"reported"`
}

// shadow is one with what is kept besides.
type shadow struct {
	Shadow
	// Times are the metadata: for each member when it was set.
	Times struct {
		Desired  map[string]any `json:"desired,omitempty"`
		Reported map[string]any `json:"reported,omitempty"`
	} `json:"_times,omitzero"`
	Deleted bool `json:"deleted,omitempty"` // the version outlives it
}

func (s shadow) exists() bool { return s.Version > 0 && !s.Deleted }

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

// stamp is merge for the metadata of a document: each member that a patch sets
// gets the time.
func stamp(doc, times, patch map[string]any, at int64) map[string]any {
	out := maps.Clone(times)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(out, k)
		case map[string]any:
			old, isObject := doc[k].(map[string]any)
			oldTimes, _ := out[k].(map[string]any)
			if !isObject { // what is there is the time of a value
				oldTimes = nil
			}
			out[k] = stamp(old, oldTimes, v, at)
		default:
			out[k] = stampValue(v, at)
		}
	}
	return out
}

func stampValue(v any, at int64) any {
	list, ok := v.([]any)
	if object, isObject := v.(map[string]any); isObject {
		return stamp(nil, nil, object, at)
	}
	if !ok {
		return map[string]any{"timestamp": at}
	}
	out := make([]any, len(list))
	for i := range list {
		out[i] = stampValue(list[i], at)
	}
	return out
}

// times picks the metadata of those members that state has.
func timesOf(times, state map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range state {
		object, ok := v.(map[string]any)
		inner, okInner := times[k].(map[string]any)
		switch {
		case v == nil || times[k] == nil:
		case ok && okInner:
			out[k] = timesOf(inner, object)
		default:
			out[k] = times[k]
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

// request is what a device or an application asks of a shadow.
type request struct {
	token             string
	version           *int64
	desired, reported json.RawMessage // nil: not named
}

// refusal is an answer that says no.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.code, r.text) }

// update is what a request has made of a shadow.
type update struct {
	next  shadow
	state map[string]any // the sections that were sent, as they were sent
	times map[string]any // their metadata
}

// apply gives the shadow after a request.
func (s shadow) apply(r request, at int64) (u update, refused *refusal) {
	if r.version != nil && *r.version != s.Version {
		return u, &refusal{409, "Version conflict"}
	}
	if s.Deleted {
		s = shadow{Shadow: Shadow{Version: s.Version}}
	}
	u = update{s, map[string]any{}, map[string]any{}}
	for _, part := range []struct {
		name       string
		sent       json.RawMessage
		doc, times *map[string]any
	}{{"desired", r.desired, &u.next.Desired, &u.next.Times.Desired}, {"reported", r.reported, &u.next.Reported, &u.next.Times.Reported}} {
		if part.sent == nil {
			continue
		}
		v, err := decodeValue(part.sent)
		if err != nil {
			return u, &refusal{400, err.Error()}
		}
		u.state[part.name] = v
		if v == nil { // drops the section
			*part.doc, *part.times = map[string]any{}, nil
			continue
		}
		patch, ok := v.(map[string]any)
		if !ok {
			return u, &refusal{400, map[string]string{"desired": "Desired", "reported": "Reported"}[part.name] + " node must be an object"}
		}
		*part.times = stamp(*part.doc, *part.times, patch, at)
		*part.doc = merge(*part.doc, patch)
		u.times[part.name] = timesOf(*part.times, patch)
	}
	if len(u.state) == 0 {
		return u, &refusal{400, "Missing required node: state"}
	}
	if size, err := json.Marshal(u.next.Shadow); err != nil || len(size) > maxDocument {
		return u, &refusal{413, "The payload exceeds the maximum size allowed"}
	}
	u.next.Version++
	return u, nil
}
