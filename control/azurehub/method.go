package azurehub

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// method is the one that there is.
const method = "firmwareUpdate"

// call is a method call of this connection.
type call struct {
	request string // id
	job     string // that waits for the engine, or "" once there is an answer
	status  int
	text    string
}

// called takes a method call.
func (d *Dialect) called(in control.In, t topic, emit func(control.Out)) {
	if i := slices.IndexFunc(d.calls, func(c call) bool { return c.request == t.request }); i >= 0 {
		if c := d.calls[i]; c.job == "" { // it came twice
			d.reply(c, emit)
		}
		return
	}
	if len(d.calls) == maxCalls {
		d.calls = slices.Delete(d.calls, 0, 1)
	}
	c := call{request: t.request}
	d.take(in, t, &c, emit)
	d.calls = append(d.calls, c)
	if c.job == "" {
		d.reply(c, emit)
	}
}

// take decides about a call: it has an answer, or names the update that it waits for.
func (d *Dialect) take(in control.In, t topic, c *call, emit func(control.Out)) {
	if t.name != method || !d.shape.called() {
		c.status, c.text = 501, "no such method"
		if t.name == method {
			c.text = "this device takes its firmware from the desired properties"
		}
		say(emit, fmt.Sprintf("method %.60q: %s", redact(t.name, 60), c.text))
		return
	}
	o, err := readCall(in.Payload, d.c.Scheme)
	if err != nil {
		c.status, c.text = 400, strings.TrimPrefix(err.Error(), ErrMessage.Error()+": ")
		say(emit, "method "+method+" refused: "+c.text)
		return
	}
	if j := d.open(); j != nil {
		c.status, c.text = d.meets(j, o, emit)
		if c.status == 0 {
			d.wait(c, j, emit)
		}
		return
	}
	if len(d.queue) >= maxQueue {
		c.status, c.text = 429, "too many reports wait for the hub"
		return
	}
	d.wait(c, d.begun(in.Now, o, emit), emit)
}

// wait has a call wait for the engine, all of them until the same time.
func (d *Dialect) wait(c *call, j *job, emit func(control.Out)) {
	if !slices.ContainsFunc(d.calls, func(c call) bool { return c.job == j.ID }) {
		emit(control.Out{Kind: control.OutTimer, Token: timerCall, After: callWait})
	}
	c.job = j.ID
}

// meets decides about a call while an update runs or waits for the engine. The
// status is 0 if the caller has to wait with it.
func (d *Dialect) meets(j *job, o order, emit func(control.Out)) (status int, text string) {
	switch want := o.key(); {
	case j.Key != want:
		say(emit, "method "+method+" refused: another update runs")
		return 409, "busy: another firmware update runs"
	case j.Stage == asked && j.late:
		return 202, waits
	case j.Stage == asked:
		return 0, ""
	}
	return 200, started
}

// The texts of answers; the first is the sample's.
const (
	started = "Firmware update started"
	waits   = "Firmware update waits"
)

// begun makes an update of a call and gives it to the engine. Its id names the moment, since
// the same call at another time is another update.
func (d *Dialect) begun(now time.Time, o order, emit func(control.Out)) *job {
	d.jobNo++
	id := fmt.Sprintf("%s-%d", now.UTC().Format("20060102T150405Z"), d.jobNo)
	j := d.add(id, o)
	d.command(j, emit)
	return j
}

// answer answers the calls that wait for the engine to take an update.
func (d *Dialect) answer(j *job, status int, text string, emit func(control.Out)) {
	for i := range d.calls {
		c := &d.calls[i]
		if c.job != j.ID {
			continue
		}
		c.job, c.status, c.text = "", status, text
		d.reply(*c, emit)
	}
}

func (d *Dialect) reply(c call, emit func(control.Out)) {
	emit(control.Out{Kind: control.OutPublish, Topic: fmt.Sprintf("%s%d/?$rid=%s", topicResults, c.status, c.request),
		Payload: marshal(map[string]string{"Response": c.text})})
}
