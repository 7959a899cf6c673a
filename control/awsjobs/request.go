package awsjobs

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// purpose is what a request is for.
type purpose int

const (
	nextJob purpose = iota // which job is next?
	look                   // is this job still wanted?
	begin                  // it is in progress
	tell                   // how it goes
	finish                 // how it ended
)

// request is what the cloud was asked and has not answered. There is one at a time.
type request struct {
	what    purpose
	job     *job
	topic   string   // answers are below it
	tokens  []string // of its attempts, the newest last
	attempt int
	paused  bool // it was answered with a reason to ask again later
}

// pump makes the next request, unless one is under way: ends first.
func (d *Dialect) pump(now time.Time, emit func(control.Out)) {
	if !d.connected || d.pending != nil {
		return
	}
	if r := d.choose(now, emit); r != nil {
		d.pending = r
		d.send(now, emit)
	}
}

func (d *Dialect) choose(now time.Time, emit func(control.Out)) *request {
	for _, j := range d.jobs {
		switch {
		case j.Stage == ended && !j.stuck && j.check:
			return d.about(j, look, "get")
		case j.Stage == ended && !j.stuck:
			return d.about(j, finish, "update")
		}
	}
	if j := d.atWork(); j != nil {
		switch {
		case j.check:
			return d.about(j, look, "get")
		case j.Stage == running && !j.begun && !j.restored:
			return d.about(j, begin, "update")
		case j.Stage == running && d.due(now, emit):
			return d.about(j, tell, "update")
		}
	}
	switch {
	case !d.ask || d.current() != nil && !d.current().restored:
		return nil
	case d.c.Start == StartNext:
		return &request{what: nextJob, topic: d.topic + "/start-next"}
	}
	return &request{what: nextJob, topic: d.topic + "/$next/get"}
}

func (d *Dialect) about(j *job, what purpose, verb string) *request {
	return &request{what: what, job: j, topic: d.topic + "/" + j.ID + "/" + verb}
}

// urge gives up a request that an end should not wait for.
func (d *Dialect) urge() {
	if r := d.pending; r != nil && r.what != finish && (r.what == nextJob || r.what == look || r.attempt > 1 || r.paused) {
		d.ask = d.ask || r.what == nextJob
		d.pending = nil
	}
}

// send makes the request that is under way once more, with a token of its own.
func (d *Dialect) send(now time.Time, emit func(control.Out)) {
	r := d.pending
	r.attempt++
	r.paused = false
	if r.what == nextJob { // a hint that comes before the answer may be newer than it
		d.ask = false
	}
	d.count++
	token := strconv.FormatInt(now.Unix(), 10) + "-" + strconv.Itoa(d.count)
	r.tokens = append(r.tokens[max(0, len(r.tokens)-3):], token)
	body := d.body(r, now)
	body["clientToken"] = token
	emit(control.Out{Kind: control.OutPublish, Topic: r.topic, QoS: 1, Payload: marshal(body)})
	d.wait(emit)
}

func (d *Dialect) body(r *request, now time.Time) map[string]any {
	body := map[string]any{}
	j := r.job
	switch {
	case r.what == nextJob && d.c.Start != StartNext:
		body["includeJobDocument"] = true
		return body
	case r.what == nextJob:
		body["statusDetails"] = details("stage", "accepted")
		d.stepTimer(body)
		return body
	}
	if j.Number > 0 {
		body["executionNumber"] = j.Number
	}
	if r.what == look {
		body["includeJobDocument"] = j.restored
		return body
	}
	body["includeJobExecutionState"] = true
	if j.version > 0 {
		body["expectedVersion"] = j.version
	}
	switch r.what {
	case begin:
		body["status"], body["statusDetails"] = inProgress, details("stage", "accepted")
		d.stepTimer(body)
	case tell:
		body["status"], body["statusDetails"] = inProgress, d.progress.details()
		d.progress.fresh, d.progress.urgent, d.progress.sent = false, false, now
		d.stepTimer(body)
	case finish:
		body["status"] = j.Ending.Status
		if !j.bare {
			body["statusDetails"] = j.Ending.Details
		}
	}
	return body
}

func (d *Dialect) stepTimer(body map[string]any) {
	if d.c.StepTimeout > 0 {
		body["stepTimeoutInMinutes"] = int64(d.c.StepTimeout / time.Minute)
	}
}

// wait sets the time of the next attempt. The times of different devices differ by up to
// a quarter, so that they do not all come at once.
func (d *Dialect) wait(emit func(control.Out)) {
	wait := lastWait
	if n := d.pending.attempt - 1; n < 5 {
		wait = firstWait << n
	}
	h := fnv.New32a()
	fmt.Fprintf(h, "%s %s %d", d.c.Device, d.pending.topic, d.pending.attempt)
	wait += wait / 1000 * time.Duration(h.Sum32()%251)
	emit(control.Out{Kind: control.OutTimer, Token: timerAnswer, After: wait.Round(100 * time.Millisecond)})
}

// answered takes the cloud's answer to a request. Those to requests that were
// given up count for nothing.
func (d *Dialect) answered(in control.In, topic string, accepted bool, a answer, emit func(control.Out)) error {
	r := d.pending
	if r == nil || r.topic != topic || a.token != "" && !slices.Contains(r.tokens, a.token) {
		return nil
	}
	if !accepted {
		if a.token == "" || a.token == r.tokens[len(r.tokens)-1] { // else an earlier attempt, and the last one may do better
			d.refused(in, r, a, emit)
		}
		return nil
	}
	d.pending = nil
	switch r.what {
	case nextJob:
		return d.nextIs(in, a.execution, emit)
	case look:
		return d.looked(in, r.job, a.execution, emit)
	case begin, tell:
		r.job.begun = true
		r.job.follow(a.state)
	case finish:
		r.job.follow(a.state)
		if r.job.Stage == ended {
			d.taken(in, r.job, emit)
		}
	}
	return nil
}

// follow takes the version that an update has led to.
func (j *job) follow(state *execution) {
	j.doubts = 0
	switch {
	case state != nil && state.version > 0:
		j.version = state.version
	case j.version > 0:
		j.version++
	}
}

func (d *Dialect) nextIs(in control.In, e *execution, emit func(control.Out)) error {
	j := d.atWork()
	if j != nil && j.Stage == running && (e == nil || e.id != j.ID || e.number != j.Number) {
		j.check = true
	}
	if e == nil {
		return nil
	}
	return d.offer(in, *e, emit)
}

// looked takes what the cloud says of a job that it may not want any more.
func (d *Dialect) looked(in control.In, j *job, e *execution, emit func(control.Out)) error {
	j.check = false
	switch {
	case e == nil || e.id != j.ID:
		return fmt.Errorf("%w: the execution of job %s is missing", ErrMessage, j.ID)
	case e.number != 0 && e.number != j.Number:
		d.stop(in, j, fmt.Sprintf("execution %d has taken its place", e.number), emit)
	case e.status.final():
		d.stop(in, j, string(e.status), emit)
	case j.restored && e.document != nil:
		return d.offerKnown(in, j, *e, emit)
	default:
		j.version, j.begun = max(j.version, e.version), j.begun || e.status == inProgress
	}
	return nil
}

// refused takes the cloud's no.
func (d *Dialect) refused(in control.In, r *request, a answer, emit func(control.Out)) {
	j := r.job
	switch a.code {
	case "InternalError", "RequestThrottled":
		d.later(r, emit)
		return
	case "ResourceNotFound":
		d.pending = nil
		if j != nil {
			d.stop(in, j, a.reason(), emit)
		}
		return
	case "VersionMismatch", "InvalidStateTransition", "TerminalStateReached":
		if j != nil {
			d.outdated(in, r, a, emit)
			return
		}
	}
	d.pending = nil
	logf(emit, fmt.Sprintf("%s: rejected: %s", r.topic, a.reason()))
	switch {
	case r.what == look:
		j.check = false
	case r.what == begin:
		j.begun = true
	case r.what == finish && !j.bare:
		j.bare = true
	case r.what == finish:
		j.stuck, d.ask = true, true
		logf(emit, fmt.Sprintf("job %s: its end waits for the next connection", j.command()))
	}
}

func (a answer) reason() string { return clean(a.code+" "+a.text, 120) }

// later makes the request again after a while. What is only news of progress is dropped:
// newer ones come.
func (d *Dialect) later(r *request, emit func(control.Out)) {
	if r.what == tell {
		d.pending = nil
		return
	}
	r.paused = true
	d.wait(emit)
}

// outdated takes the refusal of an update that does not fit what the cloud has.
func (d *Dialect) outdated(in control.In, r *request, a answer, emit func(control.Out)) {
	j := r.job
	j.doubts++
	switch {
	case a.state != nil && a.state.status.final():
		d.pending = nil
		d.stop(in, j, string(a.state.status), emit)
	case a.state == nil && a.code != "VersionMismatch":
		d.pending = nil
		d.stop(in, j, a.reason(), emit)
	case j.doubts > 3: // a cloud that says so for ever is not asked for ever without a pause
		r.attempt, j.version = j.doubts-3, 0
		d.later(r, emit)
	case a.state != nil && a.state.version > 0 && a.state.version != j.version && a.code == "VersionMismatch":
		d.pending, j.version = nil, a.state.version // the update is made again at once
		if r.what == tell {
			d.progress.fresh, d.progress.urgent = true, true
		}
	default: // nothing to build upon: it is looked up
		d.pending, j.version, j.check = nil, 0, true
	}
}
