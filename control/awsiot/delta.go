package awsiot

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// message takes what the broker delivers. Whatever it is, it is acknowledged;
// only a message that starts a job waits for the engine.
func (d *Dialect) message(in control.In, emit func(control.Out)) {
	held, err := d.read(in, emit)
	if err != nil {
		logf(emit, fmt.Sprintf("%q: %v: ignored", redact(in.Topic, 120), err))
	}
	if !held {
		emit(control.Out{Kind: control.OutHandled, Message: in.Message})
	}
}

// read says whether the message is to be acknowledged later.
func (d *Dialect) read(in control.In, emit func(control.Out)) (held bool, err error) {
	what, ours := strings.CutPrefix(in.Topic, d.topic)
	got := d.c.Shadow != "" && (in.Topic == d.getTopic()+"/accepted" || in.Topic == d.getTopic()+"/rejected")
	switch {
	case got:
	case !ours || what != "/delta" && what != "/accepted" && what != "/rejected":
		return false, fmt.Errorf("%w: not a topic of device %s", ErrMessage, d.c.Device)
	}
	switch {
	case in.Retained:
		return false, fmt.Errorf("%w: retained, so it may be old", ErrMessage)
	case len(in.Payload) > maxPayload:
		return false, fmt.Errorf("%w: %d bytes, the limit is %d", ErrMessage, len(in.Payload), maxPayload)
	case got:
		return d.got(in, strings.HasSuffix(in.Topic, "/accepted"), emit)
	}
	if what != "/delta" {
		a, err := readAnswer(in.Payload)
		if err == nil {
			d.answered(in, a, what == "/accepted", emit)
		}
		return false, err
	}
	asks, err := readDelta(in.Payload)
	if err != nil {
		return false, err
	}
	if oldest := d.oldest(); asks.shadow != 0 && asks.shadow < oldest {
		return false, fmt.Errorf("version %d of the shadow is older than %d, which was seen", asks.shadow, oldest)
	}
	d.seen = max(d.seen, asks.shadow)
	if asks.url == "" && asks.jobID == "" {
		return false, nil // it differs in what is not about software
	}
	return d.desire(in, asks, emit)
}

// desire takes the job that a delta names.
func (d *Dialect) desire(in control.In, asks delta, emit func(control.Out)) (held bool, err error) {
	id, url, err := d.complete(asks)
	if errors.Is(err, errUnsettled) && !d.ask {
		d.ask = true
		emit(control.Out{Kind: control.OutTimer, Token: timerAgain, After: againWait})
	}
	if err != nil {
		return false, err
	}
	return d.take(in, asks, id, url, emit)
}

// take takes the job of which nothing is left out.
func (d *Dialect) take(in control.In, asks delta, id, url string, emit func(control.Out)) (held bool, err error) {
	j := d.find(id)
	if j == nil {
		if d.open() >= maxOpen || d.untold() >= maxUntold { // it is not acknowledged, and comes again with the next connection
			logf(emit, fmt.Sprintf("job %s waits: %d jobs have no accepted report yet", id, d.untold()))
			return true, nil
		}
		j = &job{ID: id}
		d.jobs = append(d.jobs, j)
		d.command(j, in, asks, url, emit)
		return true, nil
	}
	if !j.holds(url) {
		return false, fmt.Errorf("job %s is known with another file: a new file needs a new jobID", id)
	}
	if url != "" {
		j.URL = url // the same file with a new query: the report must repeat the newest
	}
	switch {
	case j.Stage == running && j.restored:
		j.restored = false
		d.command(j, in, asks, url, emit)
		return true, nil
	case j.Stage == asked && j.message == 0: // the first message went with its connection
		j.message = in.Message
		return true, nil
	case j.Stage == told:
		d.tellAgain(in.Now, j, emit)
	}
	return false, nil
}

// command asks the engine for a job. The same job is the same run, however often.
func (d *Dialect) command(j *job, in control.In, asks delta, url string, emit func(control.Out)) {
	j.URL, j.Stage, j.Wanted, j.shadow = url, asked, asks.version, asks.shadow
	j.ask, j.message = d.token(), in.Message
	emit(control.Out{Kind: control.OutCommand, Token: j.ask, Command: control.Command{ID: j.ID, Name: "update", Inputs: inputs(asks, url)}})
}

// complete fills in what a delta leaves out: a member that is as it was
// reported is not in the delta. Where nobody knows what the cloud had when it
// compared, nothing is guessed: the device says again what it reported, which
// brings the delta again.
func (d *Dialect) complete(asks delta) (id, url string, err error) {
	id, url = asks.jobID, asks.url
	last := d.find(d.last)
	if d.c.Text { // nothing is reported that a shadow could compare
		last = nil
	}
	partial := !d.c.Text && (url == "" || id == "" && (slices.ContainsFunc(d.queue, named) || last != nil && named(last)))
	if partial && len(d.queue) > 0 {
		return "", "", fmt.Errorf("%w: a report is not accepted yet", errUnsettled)
	}
	if partial && asks.shadow != 0 && asks.shadow < d.taken {
		return "", "", fmt.Errorf("%w: version %d is older than the last report, %d", errUnsettled, asks.shadow, d.taken)
	}
	if url == "" && last != nil {
		url = last.URL
	}
	if url == "" {
		return "", "", fmt.Errorf("%w: job %s has no softwareURL, and none was reported before", ErrMessage, id)
	}
	if id == "" && last != nil && named(last) && last.holds(url) {
		id = last.ID
	}
	if id == "" {
		id, err = identity(url)
	}
	return id, url, err
}

// errUnsettled is a delta that leaves out what nobody can fill in for sure.
var errUnsettled = errors.New("leaves out what was reported")

// named says that a job has a job id.
func named(j *job) bool { return !j.byURL() }

func inputs(asks delta, url string) map[string]string {
	in := map[string]string{"url": url}
	for name, value := range map[string]string{"version": asks.version, "sha256": asks.sha256, "size": asks.size} {
		if value != "" {
			in[name] = value
		}
	}
	return in
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
		logf(emit, fmt.Sprintf("job %s: refused: %s", j.ID, redact(err.Error(), maxError)))
		j.Ending = refused(j.ID, err)
		d.enqueue(j)
		d.begin(emit)
		return
	}
	j.Stage, j.Run = running, in.Receipt.Run
}

// errBusy is the refusal of a device that does something else.
var errBusy = errors.New("busy")

// refusal gives nil if the engine took the command.
func refusal(in control.In) error {
	switch {
	case in.Refusal == "" && in.Receipt.Answer == engine.Busy, in.Refusal == errBusy.Error():
		return fmt.Errorf("%w: another update runs", errBusy)
	case in.Refusal != "":
		return errors.New(in.Refusal)
	}
	return nil
}
