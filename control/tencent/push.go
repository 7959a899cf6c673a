package tencent

import (
	"errors"
	"fmt"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// message takes what the broker delivers. Whatever it is, it is acknowledged;
// only a message that starts an update waits for the engine.
func (d *Dialect) message(in control.In, emit func(control.Out)) {
	held, err := d.read(in, emit)
	if err != nil {
		logLine(emit, fmt.Sprintf("%q: %v: ignored", redact(in.Topic, 120), err))
	}
	if !held {
		emit(control.Out{Kind: control.OutHandled, Message: in.Message})
	}
}

// read says whether the message is to be acknowledged later.
func (d *Dialect) read(in control.In, emit func(control.Out)) (held bool, err error) {
	switch {
	case in.Topic != d.down:
		return false, fmt.Errorf("%w: not a topic of device %s", ErrMessage, d.c.Device)
	case in.Retained:
		return false, fmt.Errorf("%w: retained, so it may be old", ErrMessage)
	case len(in.Payload) > maxPayload:
		return false, fmt.Errorf("%w: %d bytes, the limit is %d", ErrMessage, len(in.Payload), maxPayload)
	}
	kind, doc, err := readType(in.Payload)
	if err != nil {
		return false, err
	}
	switch kind {
	case typeUpdate:
		return d.update(in, doc, emit)
	case typeVersionAnswer:
		a, err := readAnswer(doc)
		if err == nil {
			d.answered(a, emit)
		}
		return false, err
	}
	return false, fmt.Errorf("%w: type %.40q is neither %s nor %s", ErrMessage, redact(kind, 40), typeUpdate, typeVersionAnswer)
}

// update takes an update_firmware.
func (d *Dialect) update(in control.In, doc members, emit func(control.Out)) (held bool, err error) {
	p, err := readPush(doc)
	if p.version == "" {
		return false, err
	}
	j := d.find(p.version)
	old := j != nil && j.Stage == told && j.late && !d.hello.pushed
	d.hello.pushed = true
	if old { // what the version was answered with, before the cloud knew the end; it is asked whether it means it
		d.hello.owed = true
		d.flush(in.Now, emit)
		return false, err
	}
	idle := j == nil || j.Stage == told
	if idle && p.version == d.version {
		d.hello.owed = true
		d.flush(in.Now, emit)
		return false, err
	}
	if idle && !d.room() {
		d.ask = true
		return false, fmt.Errorf("version %s: %d others have no end that the cloud knows", p.version, maxOpen)
	}
	switch {
	case err != nil && idle:
		d.refuse(in.Now, d.begin(p), err, emit)
		return false, nil
	case err != nil:
		return false, err
	case idle:
		if j != nil && j.message != 0 { // of an attempt that ended before its receipt came
			emit(control.Out{Kind: control.OutHandled, Message: j.message})
		}
		j = d.begin(p)
		j.begun = in.Now
		d.command(j, in.Message, p.url, emit)
		return true, nil
	case j.Stage == ended: // the cloud does not know the end yet
		d.ask = true
		return false, nil
	case j.restored: // whether the engine knows it still, the engine must say
		j.restored, j.MD5, j.Size = false, p.md5, p.size
		d.command(j, in.Message, p.url, emit)
		return true, nil
	}
	return d.repeat(in, j, p)
}

// repeat takes a push of a version that is being done.
func (d *Dialect) repeat(in control.In, j *job, p push) (held bool, err error) {
	if j.MD5 != p.md5 || j.Size != p.size {
		d.ask = true
		return false, fmt.Errorf("version %s is being done with another file: this one must wait", j.Version)
	}
	j.Fresh = ""
	if digest(p.url) != j.Given {
		j.Fresh = p.url
	}
	if j.Stage == asked && j.message == 0 { // the first message went with its connection
		j.message = in.Message
		return true, nil
	}
	return false, nil
}

// begin makes the job of a push, or its next attempt.
func (d *Dialect) begin(p push) *job {
	j := d.find(p.version)
	if j == nil {
		j = &job{Version: p.version}
		d.jobs = append(d.jobs, j)
	}
	*j = job{Version: p.version, Attempt: j.Attempt%maxAttempt + 1, MD5: p.md5, Size: p.size}
	return j
}

// command asks the engine for an update. The same id is the same run, however often.
func (d *Dialect) command(j *job, message uint64, url string, emit func(control.Out)) {
	j.Stage, j.Given, j.Fresh, j.url = asked, digest(url), "", url
	j.ask, j.message = d.token(), message
	inputs := map[string]string{"url": url, "version": j.Version}
	if j.MD5 != "" {
		inputs["md5"] = j.MD5
	}
	if j.Size != "" {
		inputs["size"] = j.Size
	}
	emit(control.Out{Kind: control.OutCommand, Token: j.ask, Command: control.Command{ID: j.id(), Name: "update", Inputs: inputs}})
}

// receipt takes the engine's answer to a command. Now the message may go.
func (d *Dialect) receipt(in control.In, emit func(control.Out)) {
	var j *job
	for _, known := range d.jobs {
		if known.ask == in.Token && in.Token != 0 {
			j = known
		}
	}
	if j == nil {
		return
	}
	j.ask = 0
	if j.message != 0 {
		emit(control.Out{Kind: control.OutHandled, Message: j.message})
		j.message = 0
	}
	if j.Stage != asked { // its report came first
		return
	}
	if err := refusal(in); err != nil {
		d.refuse(in.Now, j, err, emit)
		return
	}
	j.Stage, j.Run, j.joined = running, in.Receipt.Run, in.Receipt.Answer == engine.Joined
	j.Phase = max(j.Phase, fetching)
	d.tell(in.Now, emit)
}

// refuse ends a job that never became a run.
func (d *Dialect) refuse(now time.Time, j *job, why error, emit func(control.Out)) {
	text := redact(why.Error(), 300)
	logLine(emit, fmt.Sprintf("version %s: refused: %s", j.Version, text))
	j.Ending = &ending{Code: codeUpdate, Text: redact(text, maxMessage)}
	d.end(j)
	d.flush(now, emit)
}

// refusal gives nil if the engine took the command.
func refusal(in control.In) error {
	switch {
	case in.Refusal == "" && in.Receipt.Answer == engine.Busy, in.Refusal == "busy":
		return errors.New("busy: another update runs")
	case in.Refusal != "":
		return errors.New(in.Refusal)
	}
	return nil
}
