package azurehub

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// twin is what is known of the desired properties.
type twin struct {
	request  string // id of the GET under way, or ""
	attempt  int
	refused  bool                       // that the hub has refused it was said
	read     bool                       // since the connect, and no notification is missing
	version  int64                      // of what was read, and of the notifications since
	ahead    int64                      // version of the newest notification that came before the answer to the GET
	firmware map[string]json.RawMessage // the desired one, of it what is looked at
	odd      bool                       // it is no object
	changed  bool                       // the hub has taken a report since it was asked, which its answer may not show
	wrong    string                     // what is wrong with the desired firmware, if that was said
}

// readTwin asks for the twin, and sets the time of the next attempt.
func (d *Dialect) readTwin(emit func(control.Out)) {
	t := &d.twin
	t.request, t.read, t.changed = d.id(), false, false
	t.attempt++
	emit(control.Out{Kind: control.OutPublish, Topic: topicGet + t.request})
	emit(control.Out{Kind: control.OutTimer, Token: timerTwin, After: d.pause(t.attempt)})
}

// gotTwin takes the answer to a GET. After an error the timer of the attempt has the next.
func (d *Dialect) gotTwin(in control.In, t topic, emit func(control.Out)) error {
	d.twin.request = ""
	if t.status/100 != 2 {
		if !d.twin.refused {
			d.twin.refused = true
			say(emit, fmt.Sprintf("the hub answers the request for the twin with %d, it will be asked again", t.status))
		}
		if t.status == 429 { // one more step of the pauses: the hub asks for patience
			d.twin.attempt++
			emit(control.Out{Kind: control.OutTimer, Token: timerTwin, After: d.pause(d.twin.attempt)})
		}
		return nil
	}
	if len(in.Payload) > maxTwin {
		return fmt.Errorf("%w: twin of %d bytes, the limit is %d", ErrMessage, len(in.Payload), maxTwin)
	}
	desired, reported, version, err := readTwin(in.Payload)
	if err != nil {
		return err
	}
	if version < d.twin.ahead && d.twin.attempt < believed { // a notification has overtaken it
		emit(control.Out{Kind: control.OutTimer, Token: timerTwin, After: staleWait << min(d.twin.attempt-1, 8)})
		return nil
	}
	d.twin.read, d.twin.version, d.twin.ahead, d.twin.attempt, d.twin.refused = true, version, 0, 0, false
	d.twin.firmware = nil
	d.merge(desired["firmware"])
	d.consider(false, emit)
	d.correct(reported, in.Now, emit)
	return nil
}

// believed is how many answers of the hub must be older than a notification
// was, until they count and the notification does not.
const believed = 4

// correct brings a twin up to date that shows another stage than the
// update has, or an update where none runs: its report got lost with the program.
func (d *Dialect) correct(reported map[string]json.RawMessage, now time.Time, emit func(control.Out)) {
	if len(d.queue) > 0 || d.twin.changed || len(d.jobs) > 0 && d.open() == nil {
		return // what is or was on its way says it
	}
	object := reported
	for name := range strings.FieldsSeq(map[string]string{IoTHubDM: "iothubDM firmwareUpdate", Firmware: "firmware"}[d.c.shape()]) {
		var inner map[string]json.RawMessage
		if json.Unmarshal(object[name], &inner) != nil {
			return
		}
		object = inner
	}
	member, running := d.shape.status()
	var shown string
	if raw := object[member]; len(raw) == 0 || json.Unmarshal(raw, &shown) != nil {
		shown = ""
	}
	if j := d.open(); j != nil {
		members := d.shape.stage(d, j, asked, now)
		if word := members[member]; members != nil && word != shown {
			d.show(j, map[string]any{member: word}, emit)
		}
		return
	}
	if !slices.Contains(running, shown) {
		return
	}
	if members := d.shape.ready(d, now); members != nil {
		d.show(nil, members, emit)
	} else if d.c.shape() == IoTHubDM {
		d.queue = append(d.queue, &patch{final: true})
		d.begin(emit)
	}
}

// notified takes a notification of desired properties.
func (d *Dialect) notified(in control.In, t topic, emit func(control.Out)) error {
	if len(in.Payload) > maxTwin {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrMessage, len(in.Payload), maxTwin)
	}
	doc, err := readObject(in.Payload, "message")
	if err != nil {
		return err
	}
	version, err := readVersion(doc)
	switch {
	case err != nil:
		return err
	case version == 0 && t.version == 0:
		return fmt.Errorf("%w: no $version in topic or payload", ErrMessage)
	case version != 0 && t.version != 0 && version != t.version:
		return fmt.Errorf("%w: $version is %d in the topic and %d in the payload", ErrMessage, t.version, version)
	}
	version = max(version, t.version)
	switch w := &d.twin; {
	case !w.read:
		w.ahead = max(w.ahead, version)
		return nil
	case version == w.version: // twice, or what the GET had
		return nil
	case version < w.version:
		return fmt.Errorf("version %d of the desired properties is older than %d, which was seen", version, w.version)
	case version > w.version+1:
		say(emit, fmt.Sprintf("version %d of the desired properties comes after %d: the twin is read again", version, w.version))
		w.ahead = version
		d.readTwin(emit)
		return nil
	}
	d.twin.version = version
	if raw, about := doc["firmware"]; about {
		d.merge(raw)
		d.consider(true, emit)
	}
	return nil
}

// merge applies a patch to the desired firmware: null deletes.
func (d *Dialect) merge(raw json.RawMessage) {
	var members map[string]json.RawMessage
	d.twin.odd = json.Unmarshal(raw, &members) != nil && len(raw) > 0
	if isNull(raw) || d.twin.odd { // what is no object replaces all
		d.twin.firmware = nil
		return
	}
	firmware := d.twin.firmware
	if firmware == nil {
		firmware = map[string]json.RawMessage{}
	}
	for _, name := range []string{"fwVersion", "fwPackageURI", "fwPackageCheckValue"} {
		if value, given := members[name]; given && isNull(value) {
			delete(firmware, name)
		} else if given {
			firmware[name] = value
		}
	}
	d.twin.firmware = firmware
}

// consider does what the desired firmware asks for. live says that a
// notification has just asked for it: what was done is then done again if it failed.
func (d *Dialect) consider(live bool, emit func(control.Out)) {
	if d.shape.called() || !d.twin.read || len(d.twin.firmware) == 0 && !d.twin.odd || len(d.queue) >= maxQueue {
		return
	}
	o, err := d.desired()
	if err != nil {
		d.wrong(err, live, emit)
		return
	}
	key := o.key()
	d.twin.wrong = ""
	same := d.done != nil && d.done.Key == key
	j := d.open()
	switch {
	case j != nil && j.Key != key:
		d.show(nil, map[string]any{"fwUpdateSubstatus": "another version runs, this one is next"}, emit)
	case j != nil && live:
		d.show(nil, map[string]any{"fwUpdateSubstatus": "already running"}, emit)
	case j != nil, same && !live:
	case o.version != "" && o.version == d.now, o.version == "" && same && !d.done.Failed:
		d.done = &done{Key: key, Desired: d.twin.version}
		members := d.shape.ready(d, time.Time{})
		members["pendingFwVersion"], members["fwUpdateSubstatus"] = nil, "already up to date"
		d.show(nil, members, emit)
	default:
		j := d.add(fmt.Sprintf("%s-%d", key, d.twin.version), o)
		j.Desired = d.twin.version
		d.command(j, emit)
	}
}

// desired reads the desired firmware. Where the tutorial wants https, so do we.
func (d *Dialect) desired() (order, error) {
	if d.twin.odd {
		return order{}, fmt.Errorf("%w: firmware is no object", ErrMessage)
	}
	o, err := readOrder(d.twin.firmware, "fwPackageURI", d.c.Scheme)
	if err == nil && !d.c.Plain && !strings.HasPrefix(strings.ToLower(o.url), "https:") {
		err = fmt.Errorf("%w: fwPackageURI is no https URL", ErrMessage)
	}
	return o, err
}

// wrong reports desired firmware that cannot be read, once.
func (d *Dialect) wrong(err error, live bool, emit func(control.Out)) {
	text := strings.TrimPrefix(err.Error(), ErrMessage.Error()+": ")
	if d.twin.wrong == text && !live {
		return
	}
	d.twin.wrong = text
	say(emit, "desired firmware: "+text)
	members := map[string]any{"fwUpdateSubstatus": redact(text, maxSubstatus)}
	if d.open() == nil {
		members["fwUpdateStatus"] = "error"
	}
	d.show(nil, members, emit)
}
