package awsiot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// report takes a terminal report from the outbox.
func (d *Dialect) report(in control.In, emit func(control.Out)) {
	r := in.Report
	if r.ID == "" || r.Command == "" {
		return
	}
	j := d.find(r.Command)
	if j == nil && len(r.Command) > maxIdentity {
		logf(emit, fmt.Sprintf("report %s is of no job of this cloud", redact(r.ID, 64)))
		return
	}
	if j == nil { // saved state was lost: the job id is enough to tell the cloud
		j = &job{ID: r.Command, Run: r.Run}
		d.jobs = append(d.jobs, j)
	}
	if j.Ending != nil && j.Ending.Report == r.ID {
		if j.Stage == told {
			emit(control.Out{Kind: control.OutDelivered, Report: r.ID})
			return
		}
		j.owed = true
		return
	}
	j.Ending = conclude(r, j.Wanted)
	j.owed = true
	if d.progress.job == j {
		d.progress.job = nil
	}
	d.enqueue(j)
	d.begin(emit)
}

// conclude makes an ending of an engine's report.
func conclude(r engine.Report, wanted string) *ending {
	e := &ending{Token: clientToken(r.ID), Report: r.ID}
	if r.State == engine.Succeeded {
		e.Version = wanted
		if v, ok := r.Release["version"].(string); ok && len(v) <= 128 {
			e.Version = v
		}
		return e
	}
	code := r.Code
	if code == "" {
		code = string(r.State)
	}
	e.Failure = &problem{State: redact(string(r.State), 32), Code: redact(code, 64), Step: redact(r.Step, 64), Message: redact(r.Message, maxError)}
	return e
}

// refused makes an ending for a job that never became a run.
func refused(id string, cause error) *ending {
	code := string(engine.RefusedEnd)
	if errors.Is(cause, errBusy) {
		code = errBusy.Error()
	}
	return &ending{Token: clientToken("refused-" + digest(id)), Failure: &problem{State: string(engine.RefusedEnd), Code: code, Message: redact(cause.Error(), maxError)}}
}

// clientToken keeps to the cloud's limit of 64 bytes.
func clientToken(id string) string {
	if len(id) > 64 {
		return "report-" + digest(id)
	}
	return id
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// enqueue puts the report of a job behind those that wait already.
func (d *Dialect) enqueue(j *job) {
	j.Stage, j.again = ended, false
	if !slices.Contains(d.queue, j) {
		at := slices.IndexFunc(d.queue, func(k *job) bool { return k.rejected })
		if at < 0 {
			at = len(d.queue)
		}
		if at == 0 { // nothing is under way: what is rejected has its answer
			d.waiting = false
		}
		d.queue = slices.Insert(d.queue, at, j)
	}
	// The order of the jobs is the order of their reports, also after a restart.
	d.jobs = append(slices.DeleteFunc(d.jobs, func(k *job) bool { return k == j }), j)
}

// begin sends the first report, unless one is under way.
func (d *Dialect) begin(emit func(control.Out)) {
	if !d.waiting {
		d.send(emit)
	}
}

// send publishes the first report, and sets the time of the next attempt.
func (d *Dialect) send(emit func(control.Out)) {
	if d.waiting = d.connected && len(d.queue) > 0; !d.waiting {
		return
	}
	j := d.queue[0]
	out := control.Out{Kind: control.OutPublish, Topic: d.topic, QoS: 1, Payload: d.payload(j)}
	if d.c.Delivery == OnPublished {
		d.published = d.token()
		out.Token = d.published
	}
	emit(out)
	j.attempt++
	d.pause(j, emit)
}

// pause sets the timer after which the first report is sent again. The times of
// different devices and reports differ by up to a quarter, so that they do not all come at once.
func (d *Dialect) pause(j *job, emit func(control.Out)) {
	wait := lastWait
	if n := j.attempt - 1; n < 5 {
		wait = firstWait << max(n, 0)
	}
	h := fnv.New32a()
	fmt.Fprintf(h, "%s %s %d", d.c.Device, j.Ending.Token, j.attempt)
	wait += wait / 1000 * time.Duration(h.Sum32()%251)
	emit(control.Out{Kind: control.OutTimer, Token: timerAnswer, After: wait.Round(100 * time.Millisecond)})
}

// answered takes the cloud's answer to an update of the shadow. Those to
// others' updates come on the same topics.
func (d *Dialect) answered(in control.In, a answer, accepted bool, emit func(control.Out)) {
	d.heard = true
	i := slices.IndexFunc(d.queue, func(j *job) bool {
		if d.c.Text && a.result.JobID != "" {
			return a.result == Result{j.ID, j.Ending.Failure == nil}
		}
		return a.token != "" && a.token == j.Ending.Token
	})
	switch {
	case accepted && a.shadow > 0 && a.shadow <= d.taken:
		if i >= 0 { // of an earlier sending: what the shadow holds now is something else
			logf(emit, fmt.Sprintf("job %s: the cloud's acceptance has version %d, older than %d: ignored", d.queue[i].ID, a.shadow, d.taken))
		}
	case accepted && i >= 0:
		d.taken = a.shadow
		d.delivered(in.Now, d.queue[i], emit)
		d.settle(emit)
	case accepted && a.shadow > 0:
		d.holds(a)
		d.settle(emit)
	case i >= 0:
		d.rejected(d.queue[i], a, i == 0, emit)
	case !accepted && a.token == helloToken:
		logf(emit, fmt.Sprintf("%s: the cloud rejects what was said on connect: %s", d.topic, a.reason()))
	}
}

// settle asks for the whole document of a shadow at once if a delta came before
// what it is compared with: whoever asks gets an answer, which says no more than
// it did before, so that there is nothing to go round in circles.
func (d *Dialect) settle(emit func(control.Out)) {
	if d.c.Shadow != "" && d.ask && d.connected && len(d.queue) == 0 {
		d.ask = false
		d.get(emit)
	}
}

// holds notes what the shadow holds after something was said again.
func (d *Dialect) holds(a answer) {
	if a.token == helloToken {
		d.last, d.taken = "", a.shadow
	}
	for _, j := range d.jobs {
		if j.Stage == told && j.Ending.Token == a.token {
			d.last, d.taken = j.ID, a.shadow
		}
	}
}

// rejected keeps the report for a later attempt. One that the cloud finds fault with
// lets the others go first.
func (d *Dialect) rejected(j *job, a answer, first bool, emit func(control.Out)) {
	logf(emit, fmt.Sprintf("job %s: the cloud rejects the report, it will be sent again: %s", j.ID, a.reason()))
	if !first || !d.waiting {
		return
	}
	if code, err := strconv.Atoi(a.code); err == nil && code >= 400 && code < 500 && code != 408 && code != 409 && code != 429 {
		j.rejected = true
		d.queue = append(d.queue[1:], j)
	}
	if next := d.queue[0]; next != j && !next.rejected {
		d.send(emit)
		return
	}
	d.pause(d.queue[0], emit)
}

func (a answer) reason() string { return redact(a.code+" "+a.text, 120) }

// delivered ends the sending of a job's report, and sends the next.
func (d *Dialect) delivered(now time.Time, j *job, emit func(control.Out)) {
	first := d.queue[0] == j
	d.queue = slices.DeleteFunc(d.queue, func(k *job) bool { return k == j })
	j.Stage, j.toldAt, j.attempt, j.rejected = told, now, 0, false
	d.last = j.ID
	d.tidy()
	if j.owed {
		j.owed = false
		emit(control.Out{Kind: control.OutDelivered, Report: j.Ending.Report})
	}
	if first {
		d.waiting, d.published = false, 0
		d.begin(emit)
	}
}

// tellAgain reports a finished job that the cloud names again; not at
// once if it has only just been told, since a cloud that answers each report
// with the delta would be answered for ever.
func (d *Dialect) tellAgain(now time.Time, j *job, emit func(control.Out)) {
	rest := againWait - max(0, now.Sub(j.toldAt))
	if j.toldAt.IsZero() || rest <= 0 {
		d.enqueue(j)
		d.begin(emit)
	} else if !j.again {
		j.again = true
		emit(control.Out{Kind: control.OutTimer, Token: timerAgain, After: rest})
	}
}

// helloToken is the clientToken of a device that has nothing to say yet.
const helloToken = "hello"

// announce says what was reported last, so that the cloud answers with the delta if
// one was missed. A device that reported nothing, or lost what it knew, clears
// what the cloud has, so that the delta is whole.
func (d *Dialect) announce(emit func(control.Out)) {
	if d.c.Shadow != "" {
		d.get(emit)
		return
	}
	if d.c.Quiet || d.c.Text {
		return
	}
	payload := encode(map[string]any{"softwareURL": nil, "jobID": nil}, helloToken)
	if j := d.find(d.last); j != nil && j.Stage == told && j.URL != "" {
		payload = d.payload(j)
	}
	emit(control.Out{Kind: control.OutPublish, Topic: d.topic, QoS: 1, Payload: payload})
}

// payload writes the report of a job. A null removes what an earlier report
// has left in the shadow; of a URL that is not known any more too, since the
// next delta would leave it out.
func (d *Dialect) payload(j *job) []byte {
	if d.c.Text {
		return Result{j.ID, j.Ending.Failure == nil}.text()
	}
	reported := map[string]any{"result": success, "jobID": j.ID, "softwareURL": nil, "error": nil}
	if j.byURL() {
		reported["jobID"] = nil
	}
	if j.URL != "" {
		reported["softwareURL"] = j.URL
	}
	if j.Ending.Version != "" {
		reported["version"] = j.Ending.Version
	}
	if j.Ending.Failure != nil {
		reported["result"], reported["error"] = failure, j.Ending.Failure
	}
	if d.c.Progress > 0 {
		reported["progress"] = nil
	}
	return encode(reported, j.Ending.Token)
}

func encode(reported map[string]any, clientToken string) []byte {
	doc := map[string]any{"state": map[string]any{"reported": reported}}
	if clientToken != "" {
		doc["clientToken"] = clientToken
	}
	return marshal(doc)
}
