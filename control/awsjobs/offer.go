package awsjobs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// message takes what the broker delivers. It is acknowledged at once: as long as a job has
// no end, the cloud offers it again on each connect.
func (d *Dialect) message(in control.In, emit func(control.Out)) {
	if err := d.read(in, emit); err != nil {
		logf(emit, fmt.Sprintf("%q: %v: ignored", clean(in.Topic, 120), err))
	}
	emit(control.Out{Kind: control.OutHandled, Message: in.Message})
}

func (d *Dialect) read(in control.In, emit func(control.Out)) error {
	what, ours := strings.CutPrefix(in.Topic, d.topic+"/")
	parts := strings.Split(what, "/")
	verdict := parts[len(parts)-1]
	notice := what == "notify" || what == "notify-next"
	asked := len(parts) == 2 && parts[0] == "start-next" || len(parts) == 3 && (parts[1] == "get" || parts[1] == "update")
	switch {
	case !ours || !notice && (!asked || verdict != "accepted" && verdict != "rejected"):
		return fmt.Errorf("%w: not a topic of thing %s", ErrMessage, d.c.Device)
	case in.Retained:
		return fmt.Errorf("%w: retained, so it may be old", ErrMessage)
	case len(in.Payload) > maxPayload:
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrMessage, len(in.Payload), maxPayload)
	}
	a, err := readAnswer(in.Payload)
	switch {
	case err != nil:
		return err
	case what == "notify-next":
		return d.notified(in, a.execution, emit)
	case what == "notify":
		d.listed(a.listed)
		return nil
	}
	return d.answered(in, strings.TrimSuffix(in.Topic, "/"+verdict), verdict == "accepted", a, emit)
}

// notified takes what the cloud says is next.
func (d *Dialect) notified(in control.In, e *execution, emit func(control.Out)) error {
	if e == nil { // the queue is empty
		if j := d.atWork(); j != nil && j.Stage == running {
			j.check = true
		}
		return nil
	}
	if e.document == nil || d.c.Start == StartNext && e.status == queued {
		d.ask = true
		return nil
	}
	return d.offer(in, *e, emit)
}

// listed takes the first jobs of the queue: a hint that something has changed.
func (d *Dialect) listed(ids []string) {
	j := d.current()
	if j == nil && len(ids) > 0 {
		d.ask = true
	}
	if j != nil && j.Stage == running && !slices.Contains(ids, j.ID) {
		j.check = true
	}
}

// offer takes a job that the cloud wants done.
func (d *Dialect) offer(in control.In, e execution, emit func(control.Out)) error {
	if e.thing != "" && e.thing != d.c.Device {
		return fmt.Errorf("%w: job %s is for another thing", ErrMessage, e.id)
	}
	if e.status != queued && e.status != inProgress {
		return fmt.Errorf("%w: job %s has status %.40q, want QUEUED or IN_PROGRESS", ErrMessage, e.id, clean(string(e.status), 32))
	}
	j := d.find(e.id, e.number)
	if j != nil {
		return d.offerKnown(in, j, e, emit)
	}
	if cur := d.current(); cur != nil {
		cur.check = cur.check || cur.Stage == running
		return nil // it is asked for when that has ended
	}
	if n := d.untold(); n >= maxUntold {
		return fmt.Errorf("job %s waits: %d jobs have no accepted end yet", e.id, n)
	}
	j = &job{ID: e.id, Number: e.number, version: e.version, begun: e.status == inProgress}
	d.jobs = append(d.jobs, j)
	d.command(in, j, e, emit)
	return nil
}

// offerKnown takes a job that was offered before.
func (d *Dialect) offerKnown(in control.In, j *job, e execution, emit func(control.Out)) error {
	if e.version != 0 && e.version < j.version {
		return fmt.Errorf("version %d of job %s is older than %d, which was seen", e.version, j.command(), j.version)
	}
	if print := fingerprint(e.document); j.Print != "" && print != j.Print {
		return fmt.Errorf("job %s is known with another document", j.command())
	}
	newer := e.version > j.version
	switch {
	case j.Stage == told && (newer || e.version == 0) && j.Ending != nil:
		if !j.toldAt.IsZero() && in.Now.Sub(j.toldAt) < againWait { // sent before the end arrived
			return nil
		}
		j.version, j.Stage, j.stuck = e.version, ended, false
		j.Last = j.version
	case j.Stage == running:
		j.version, j.begun = max(e.version, j.version), j.begun || e.status == inProgress
		if j.restored {
			j.restored = false
			d.command(in, j, e, emit)
		}
	case j.Stage == ended || j.Stage == asked:
		j.version = max(e.version, j.version)
	}
	return nil
}

// command asks the engine for a job, or ends it at once if it makes no sense.
func (d *Dialect) command(in control.In, j *job, e execution, emit func(control.Out)) {
	given, err := Inputs(e.document)
	if err != nil {
		d.refuse(j, "document", err, emit)
		return
	}
	j.Print, j.Wanted, j.Stage, j.ask = fingerprint(e.document), given["version"], asked, d.token()
	emit(control.Out{Kind: control.OutCommand, Token: j.ask, Command: control.Command{ID: j.command(), Name: "update", Inputs: given}})
}

// token gives a number that no other output of this dialect has.
func (d *Dialect) token() uint64 {
	d.next++
	return d.next - 1
}

// receipt takes the engine's answer to a command.
func (d *Dialect) receipt(in control.In, emit func(control.Out)) {
	i := slices.IndexFunc(d.jobs, func(j *job) bool { return in.Token != 0 && j.ask == in.Token })
	if i < 0 {
		return
	}
	j := d.jobs[i]
	j.ask = 0
	code, err := refusal(in)
	switch {
	case err != nil && j.Stage == asked:
		d.refuse(j, code, err, emit)
	case err != nil && j.Stage == dropped: // the cloud had ended it before the engine began
		d.over(in, j)
	case j.Stage == asked:
		j.Stage, j.Run = running, in.Receipt.Run
		d.progress = progress{job: j, timer: d.progress.timer, sent: in.Now}
		d.urge()
	}
}

// refusal gives nil if the engine took the command.
func refusal(in control.In) (code string, err error) {
	switch {
	case in.Refusal == "" && in.Receipt.Answer == engine.Busy, in.Refusal == "busy":
		return "busy", errors.New("another update runs")
	case in.Refusal != "":
		return string(engine.RefusedEnd), errors.New(in.Refusal)
	}
	return "", nil
}

// refuse ends a job that never became a run.
func (d *Dialect) refuse(j *job, code string, cause error, emit func(control.Out)) {
	text := clean(cause.Error(), maxError)
	logf(emit, fmt.Sprintf("job %s: refused: %s", j.command(), text))
	d.end(j, &ending{Status: rejected, Details: details("stage", string(engine.RefusedEnd), "code", code, "message", text)})
}
