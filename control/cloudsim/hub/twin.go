package hub

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// Limits of a twin. Sizes are those of names and values, as the hub counts them.
const (
	maxSide  = 32 << 10 // bytes, of desired and of reported
	maxTags  = 8 << 10  // bytes
	maxDepth = 10
	maxName  = 1 << 10 // bytes
)

// twin is the state of one device.
type twin struct {
	Model    string         `json:"model,omitempty"`
	Version  int64          `json:"version"` // counts all changes
	Etag     int64          `json:"_etag"`   // counts those of the service side
	Tags     map[string]any `json:"tags"`
	Desired  side           `json:"desired"`
	Reported side           `json:"reported"`

	Jobs       []job       `json:"jobs,omitempty"`       // without an end, in the order of pushes
	Last       *last       `json:"_last,omitempty"`      // the newest end
	Deployment *deployment `json:"deployment,omitempty"` // of device update
}

// side is one side of a twin.
type side struct {
	Version int64          `json:"version"`
	Values  map[string]any `json:"values"`
	Meta    map[string]any `json:"_meta"` // $lastUpdated of each member
}

func newTwin() twin {
	empty := func() side { return side{Version: 1, Values: map[string]any{}, Meta: map[string]any{}} }
	return twin{Version: 2, Etag: 1, Tags: map[string]any{}, Desired: empty(), Reported: empty()}
}

// look gives the twin of a device.
func (h *Cloud) look(device string) (twin, error) {
	t := newTwin()
	record, _ := h.sim.Book().Look(device)
	return t, record.Read(&t)
}

// change changes a twin, which is durable when it returns.
func (h *Cloud) change(device string, f func(*cloudsim.Record, *twin) error) error {
	return h.sim.Book().Change(device, func(r *cloudsim.Record) error {
		t := newTwin()
		if err := r.Read(&t); err != nil {
			return err
		}
		if err := f(r, &t); err != nil {
			return err
		}
		return r.Write(t)
	})
}

// errTwin is what is wrong with a patch.
var errTwin = errors.New("bad twin patch")

// readPatch reads the one JSON object that a patch is, with exact numbers.
func readPatch(payload []byte) (map[string]any, error) {
	if !utf8.Valid(payload) {
		return nil, fmt.Errorf("%w: not UTF-8", errTwin)
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var patch map[string]any
	if err := d.Decode(&patch); err != nil || patch == nil {
		return nil, fmt.Errorf("%w: no JSON object", errTwin)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the JSON object", errTwin)
	}
	return patch, checkNames(patch, 1)
}

// checkNames holds the members of a patch to the hub's rules.
func checkNames(v any, depth int) error {
	if depth > maxDepth+1 {
		return fmt.Errorf("%w: nested more than %d deep", errTwin, maxDepth)
	}
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if name == "" || len(name) > maxName || strings.ContainsAny(name, ".$ ") || strings.ContainsFunc(name, unicode.IsControl) {
				return fmt.Errorf("%w: the name %.40q: 1 to %d bytes without . $ blank and control characters", errTwin, name, maxName)
			}
			if err := checkNames(inner, depth+1); err != nil {
				return err
			}
		}
	case []any:
		for _, inner := range v {
			if err := checkNames(inner, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// size is what the hub counts: the lengths of names and texts, 8 for a number, 4 for true and false.
func size(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			n += len(name) + size(inner)
		}
	case []any:
		for _, inner := range v {
			n += size(inner)
		}
	case string:
		n = len(v)
	case json.Number, float64, int, int64:
		n = 8
	case bool:
		n = 4
	}
	return n
}

// apply merges a patch, and gives an error if it gets too large.
func (s *side) apply(patch map[string]any, now time.Time, name string) error {
	s.Version++
	merge(s.Values, s.Meta, patch, now.UTC().Format(time.RFC3339Nano))
	if n := size(s.Values); n > maxSide {
		return fmt.Errorf("%w: %s would have %d bytes, the limit is %d", errTwin, name, n, maxSide)
	}
	return nil
}

// merge applies a merge patch: objects merge, null deletes, all else replaces.
func merge(to, meta, patch map[string]any, at string) {
	meta["$lastUpdated"] = at
	for name, value := range patch {
		object, isObject := value.(map[string]any)
		switch {
		case value == nil:
			delete(to, name)
			delete(meta, name)
		case isObject:
			inner, ok := to[name].(map[string]any)
			innerMeta, _ := meta[name].(map[string]any)
			if !ok {
				inner = map[string]any{}
			}
			if !ok || innerMeta == nil {
				innerMeta = map[string]any{}
			}
			merge(inner, innerMeta, object, at)
			to[name], meta[name] = inner, innerMeta
		default:
			to[name], meta[name] = value, map[string]any{"$lastUpdated": at}
		}
	}
}

// differ gives the patch that makes an object out of another one.
func differ(from, to map[string]any) map[string]any {
	patch := map[string]any{}
	for name := range from {
		if _, stays := to[name]; !stays {
			patch[name] = nil
		}
	}
	for name, value := range to {
		object, isObject := value.(map[string]any)
		old, wasObject := from[name].(map[string]any)
		if isObject && wasObject {
			value = differ(old, object)
		}
		patch[name] = value
	}
	return patch
}

// desired gives values of that side with their version, and URLs as they are told now.
func (h *Cloud) desired(values map[string]any, version int64) map[string]any {
	all, _ := h.resolve(values).(map[string]any) // an object stays one
	all["$version"] = version
	return all
}

// withVersion gives the values of a side with its version.
func (s *side) withVersion() map[string]any {
	all := maps.Clone(s.Values)
	all["$version"] = s.Version
	return all
}

// tell gives the notification of a patch of the desired side, if anybody hears it.
func (h *Cloud) tell(device string, patch map[string]any, version int64) []cloudsim.Message {
	if !h.sim.Connected(device) {
		return nil
	}
	return []cloudsim.Message{{Device: device, QoS: 1, Payload: marshal(h.desired(patch, version)),
		Topic: fmt.Sprintf("$iothub/twin/PATCH/properties/desired/?$version=%d", version)}}
}

// answer is that to a request about a twin.
func answer(device, request string, status int, properties string, payload []byte) []cloudsim.Message {
	return []cloudsim.Message{{Device: device, Topic: fmt.Sprintf("$iothub/twin/res/%d/?$rid=%s%s", status, request, properties), Payload: payload}}
}

// get answers the request for a twin.
func (h *Cloud) get(device, request string) ([]cloudsim.Message, error) {
	if h.sim.Throttled(device) {
		return answer(device, request, 429, "", nil), nil
	}
	t, err := h.look(device)
	if err != nil {
		return nil, err
	}
	whole := map[string]any{"desired": h.desired(t.Desired.Values, t.Desired.Version), "reported": t.Reported.withVersion()}
	return answer(device, request, 200, "", marshal(whole)), nil
}

// reported takes a patch of the reported side.
func (h *Cloud) reported(device, request string, payload []byte) ([]cloudsim.Message, error) {
	if h.sim.Throttled(device) {
		return answer(device, request, 429, "", nil), nil
	}
	h.mu.Lock()
	fresh := h.fresh[device]
	delete(h.fresh, device)
	h.mu.Unlock()
	var version int64
	var events []cloudsim.Event
	patch, err := readPatch(payload)
	if err == nil {
		err = h.change(device, func(r *cloudsim.Record, t *twin) error {
			firmware, _ := t.Reported.Values["firmware"].(map[string]any)
			a := arrival{patch: patch, payload: payload, fresh: fresh, pending: text(firmware["pendingFwVersion"])}
			if err := t.Reported.apply(patch, h.sim.Now(), "reported"); err != nil {
				return err
			}
			t.Version++
			version = t.Reported.Version
			events = h.read(r, t, a)
			return nil
		})
	}
	if errors.Is(err, errTwin) {
		h.refuse(device, "a report: "+shown(err.Error()))
		return answer(device, request, 400, "", nil), nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		e.Client = device
		h.sim.Tell(e)
	}
	return answer(device, request, 204, fmt.Sprintf("&$version=%d", version), nil), nil
}

// arrival is a patch of the reported side.
type arrival struct {
	patch   map[string]any
	payload []byte
	fresh   bool   // it is the first of its connection
	pending string // firmware.pendingFwVersion before it
}

// read finds ends in what was reported.
func (h *Cloud) read(r *cloudsim.Record, t *twin, a arrival) []cloudsim.Event {
	if h.c.Update {
		return t.readAgent(r, a, h.sim.Now())
	}
	return t.readSamples(r, a, h.sim.Now())
}

// etag is the text that the service side compares.
func (t *twin) etag() string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(t.Etag)))
}

// marshal writes JSON that leaves & in URLs as it is.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // a bug of ours: there is nothing in it that has no JSON
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}
