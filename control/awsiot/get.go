package awsiot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// getTopic is where a shadow of the service is asked for.
func (d *Dialect) getTopic() string { return strings.TrimSuffix(d.topic, "/update") + "/get" }

// get asks for the whole document, and again later if there is no answer.
func (d *Dialect) get(emit func(control.Out)) {
	emit(control.Out{Kind: control.OutPublish, Topic: d.getTopic(), QoS: 1})
	wait := lastWait
	if d.gets < 5 {
		wait = firstWait << d.gets
	}
	d.gets++
	emit(control.Out{Kind: control.OutTimer, Token: timerGet, After: wait.Round(time.Second)})
}

// got takes the answer. Others may have asked: what the shadow holds is the same for all.
func (d *Dialect) got(in control.In, accepted bool, emit func(control.Out)) (held bool, err error) {
	d.heard = true
	if !accepted {
		a, err := readAnswer(in.Payload)
		if err == nil && a.code != "404" { // nothing was ever desired
			logf(emit, fmt.Sprintf("%s: rejected: %s", d.getTopic(), a.reason()))
		}
		if err == nil && a.code != "429" && a.code != "500" { // those pass: it is asked again when the timer is due
			d.gets = 0
		}
		return false, err
	}
	d.gets = 0
	asks, differs, err := readDocument(in.Payload)
	if err != nil {
		return false, err
	}
	if oldest := d.oldest(); asks.shadow != 0 && asks.shadow < oldest {
		return false, fmt.Errorf("version %d of the shadow is older than %d, which was seen", asks.shadow, oldest)
	}
	d.seen = max(d.seen, asks.shadow)
	if !differs || asks.url == "" {
		return false, nil
	}
	id := asks.jobID
	if id == "" {
		if id, err = identity(asks.url); err != nil {
			return false, err
		}
	}
	return d.take(in, asks, id, asks.url, emit)
}

// readDocument reads the whole document of a shadow: what is desired, and
// whether anything of it that names a job is not reported.
func readDocument(payload []byte) (asks delta, differs bool, err error) {
	doc, err := readObject(payload, "message")
	if err != nil {
		return delta{}, false, err
	}
	state, err := readObject(doc["state"], "state")
	if err != nil {
		return delta{}, false, err
	}
	section := func(name string) map[string]json.RawMessage {
		raw := state[name]
		if err != nil || len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
			return nil
		}
		var object map[string]json.RawMessage
		object, err = readObject(raw, name)
		return object
	}
	desired, reported := section("desired"), section("reported")
	if err != nil {
		return delta{}, false, err
	}
	whole := map[string]any{"state": map[string]any{}}
	if desired != nil {
		whole["state"] = desired
	}
	if version, ok := doc["version"]; ok {
		whole["version"] = version
	}
	asks, err = readDelta(marshal(whole))
	unlike := differences(desired, reported)
	return asks, unlike["softwareURL"] != nil || unlike["jobID"] != nil, err
}

// differences gives the members of desired that are absent from or unlike
// reported, whole: what a delta names at the top.
func differences(desired, reported map[string]json.RawMessage) map[string]json.RawMessage {
	unlike := map[string]json.RawMessage{}
	for name, want := range desired {
		if have, ok := reported[name]; !ok || !bytes.Equal(plain(want), plain(have)) {
			unlike[name] = want
		}
	}
	return unlike
}

// plain writes JSON in its one spelling.
func plain(raw json.RawMessage) []byte {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return raw
	}
	return marshal(v)
}
