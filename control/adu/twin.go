package adu

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/updraft-ota/updraft/control"
)

// ErrMessage is wrapped by every error of a message from the hub.
var ErrMessage = errors.New("bad message")

// The topics of a twin. They carry no device: the hub knows who is connected.
const (
	twinAnswers = "$iothub/twin/res/#"
	twinPatches = "$iothub/twin/PATCH/properties/desired/#"
	twinGet     = "$iothub/twin/GET/?$rid="
	twinReport  = "$iothub/twin/PATCH/properties/reported/?$rid="
)

const component = "deviceUpdate"

// maxDepth bounds the nesting of a twin.
const maxDepth = 12

// twin is what is known of it in one connection.
type twin struct {
	connected bool
	rid       uint64 // number of the newest request; goes on over connections
	get       uint64 // rid of the request for the whole twin, 0 for none
	gets      int    // requests without an answer
	known     bool
	version   int64           // of the desired side
	ahead     int64           // newest version that a patch had before the twin was known
	update    json.RawMessage // desired component, nil for none
	acked     int64           // version whose wish the hub knows to be taken in
}

// nextRid gives the number of a request.
func (t *twin) nextRid() uint64 {
	t.rid++
	return t.rid
}

// read asks for the twin.
func (d *Dialect) read(emit func(control.Out)) {
	t := &d.twin
	t.known, t.get = false, t.nextRid()
	emit(control.Out{Kind: control.OutPublish, Topic: twinGet + strconv.FormatUint(t.get, 10)})
	emit(control.Out{Kind: control.OutTimer, Token: timerTwin, After: d.pause("twin", t.gets)})
	t.gets++
}

// message takes what the hub sends.
func (d *Dialect) message(in control.In, emit func(control.Out)) {
	if err := d.take(in, emit); err != nil {
		logf(emit, "%q: %v: ignored", redact(in.Topic, 120), err)
	}
}

func (d *Dialect) take(in control.In, emit func(control.Out)) error {
	switch {
	case in.Retained:
		return fmt.Errorf("%w: retained, so it may be old", ErrMessage)
	case len(in.Payload) > maxPayload:
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrMessage, len(in.Payload), maxPayload)
	case !d.twin.connected:
		return fmt.Errorf("%w: of a connection that is gone", ErrMessage)
	}
	if rest, ok := strings.CutPrefix(in.Topic, strings.TrimSuffix(twinPatches, "#")); ok {
		return d.patch(rest, in.Payload, emit)
	}
	if rest, ok := strings.CutPrefix(in.Topic, strings.TrimSuffix(twinAnswers, "#")); ok {
		return d.answer(rest, in.Payload, emit)
	}
	return fmt.Errorf("%w: not a topic of a twin", ErrMessage)
}

// answer takes the hub's answer to a request: STATUS/?$rid=….
func (d *Dialect) answer(rest string, payload []byte, emit func(control.Out)) error {
	word, tail, _ := strings.Cut(rest, "/")
	status, err := strconv.Atoi(word)
	rid, err2 := strconv.ParseUint(topicProperty(tail, "$rid"), 10, 64)
	if err != nil || err2 != nil || rid == 0 {
		return fmt.Errorf("%w: want a status and $rid in the topic", ErrMessage)
	}
	if rid != d.twin.get {
		d.answered(rid, status, emit)
		return nil
	}
	if status/100 != 2 {
		return fmt.Errorf("the hub does not give the twin: status %d", status) // the timer asks again
	}
	desired, version, err := readTwin(payload)
	if err != nil {
		return err
	}
	t := &d.twin
	t.get, t.gets = 0, 0
	if version < t.ahead { // a patch has overtaken it
		t.ahead = 0
		d.read(emit)
		return nil
	}
	t.known, t.version, t.update = true, version, bytes.Clone(desired)
	return d.changed(t.update, emit)
}

// patch takes a change of the desired side. What it changes is known only if no
// version is missed.
func (d *Dialect) patch(rest string, payload []byte, emit func(control.Out)) error {
	doc, err := readObject(payload, "patch")
	if err != nil {
		return err
	}
	version, ok := number(doc["$version"])
	if !ok {
		if version, err = strconv.ParseInt(topicProperty(rest, "$version"), 10, 64); err != nil {
			return fmt.Errorf("%w: want $version in the patch or its topic", ErrMessage)
		}
	}
	t := &d.twin
	switch {
	case !t.known:
		t.ahead = max(t.ahead, version)
		return nil
	case version <= t.version:
		return fmt.Errorf("version %d of the twin is older than %d, which was seen", version, t.version+1)
	case version > t.version+1:
		d.read(emit)
		return nil
	}
	t.version = version
	change, ours := doc[component]
	if !ours {
		return nil
	}
	if t.update, err = mergePatch(t.update, change, maxDepth); err != nil {
		return err
	}
	return d.changed(change, emit)
}

// mergePatch applies a JSON merge patch: objects merge, null deletes, all else replaces.
func mergePatch(target, change json.RawMessage, depth int) (json.RawMessage, error) {
	if depth == 0 {
		return nil, fmt.Errorf("%w: nested more than %d deep", ErrMessage, maxDepth)
	}
	if isNull(change) {
		return nil, nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(change, &members) != nil {
		return bytes.Clone(change), nil
	}
	var merged map[string]json.RawMessage
	if json.Unmarshal(target, &merged) != nil || merged == nil {
		merged = map[string]json.RawMessage{}
	}
	for name, value := range members {
		inner, err := mergePatch(merged[name], value, depth-1)
		if err != nil {
			return nil, err
		}
		if merged[name] = inner; inner == nil {
			delete(merged, name)
		}
	}
	return marshal(merged), nil
}

// changed looks at the wish, and acknowledges what was received of it if it
// can be read.
func (d *Dialect) changed(received json.RawMessage, emit func(control.Out)) error {
	defer d.settleEarly(emit)
	service, err := serviceOf(d.twin.update)
	if err != nil {
		return err
	}
	if service == nil { // nothing is deployed, or not any more
		d.wish = nil
		return nil
	}
	w, err := readWish(service)
	if err != nil {
		return err
	}
	d.wish = &w
	d.consider(emit)
	if part, err := serviceOf(received); err == nil && part != nil && d.twin.acked != d.twin.version {
		d.acknowledge(part, emit)
	}
	return nil
}

// serviceOf gives the member service of the component, nil if there is none.
func serviceOf(update json.RawMessage) (map[string]json.RawMessage, error) {
	if isNull(update) {
		return nil, nil
	}
	members, err := readObject(update, component)
	if err != nil || isNull(members["service"]) {
		return nil, err
	}
	return readObject(members["service"], "service")
}

// acknowledge says that the wish was taken in, whatever becomes of it. What is
// long and of no more use is left out.
func (d *Dialect) acknowledge(service map[string]json.RawMessage, emit func(control.Out)) {
	service["updateManifestSignature"], service["fileUrls"] = json.RawMessage("null"), json.RawMessage("null")
	d.drop(func(n *note) bool { return n.Kind == kindAck })
	d.put(&note{Kind: kindAck, version: d.twin.version, payload: marshal(map[string]any{component: map[string]any{
		"__t": "c", "service": map[string]any{"ac": 200, "av": d.twin.version, "ad": "", "value": service},
	}})}, emit)
}

// topicProperty gives a property of a topic, ?a=b&c=d in any order.
func topicProperty(tail, name string) string {
	_, query, _ := strings.Cut(tail, "?")
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if text, err := url.PathUnescape(key); err == nil && text == name {
			value, _ = url.PathUnescape(value)
			return value
		}
	}
	return ""
}
