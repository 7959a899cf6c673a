package awsjobs

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// report takes a terminal report from the outbox.
func (d *Dialect) report(in control.In, emit func(control.Out)) {
	r := in.Report
	if r.ID == "" || r.Command == "" {
		return
	}
	id, number, err := parseCommand(r.Command)
	if err != nil {
		logf(emit, fmt.Sprintf("report %s: %v", clean(r.ID, 64), err))
		return
	}
	j := d.find(id, number)
	if j == nil { // saved state was lost: the id is enough to tell the cloud
		if d.untold() >= maxUntold {
			logf(emit, fmt.Sprintf("report %s waits: %d jobs have no accepted end yet", clean(r.ID, 64), d.untold()))
			return
		}
		j = &job{ID: id, Number: number, Run: r.Run}
		d.jobs = append(d.jobs, j)
	}
	switch {
	case j.Stage == dropped:
		logf(emit, fmt.Sprintf("job %s: ended as %s after the cloud had ended it: nothing is reported", j.command(), clean(string(r.State), 32)))
		d.over(in, j)
		emit(control.Out{Kind: control.OutDelivered, Report: r.ID})
	case j.Stage == told && (j.Ending == nil || j.Ending.Report == "" || j.Ending.Report == r.ID):
		emit(control.Out{Kind: control.OutDelivered, Report: r.ID})
	case j.Ending != nil && j.Ending.Report == r.ID:
		j.owed = true
	default:
		d.end(j, conclude(r, j.Wanted))
		j.owed = true
	}
}

// end notes how a job ended. It is the next thing that the cloud hears.
func (d *Dialect) end(j *job, e *ending) {
	j.Stage, j.Ending, j.Last, j.check, j.stuck, j.bare = ended, e, j.version, false, false, false
	if d.progress.job == j {
		d.progress.job = nil
	}
	d.last(j)
	d.urge()
}

// proof are the codes of refusals that say that the bytes are not what somebody promised.
// The cloud's words for them are those of a failed update.
var proof = []string{"signature", "digest", "untrusted"}

// conclude makes an ending of an engine's report.
func conclude(r engine.Report, wanted string) *ending {
	if r.State == engine.Succeeded {
		version := wanted
		if v, ok := r.Release["version"].(string); ok {
			version = v
		}
		return &ending{Status: succeeded, Report: r.ID, Details: details("stage", string(r.State), "version", clean(version, maxName))}
	}
	code := clean(cmp.Or(r.Code, string(r.State)), 64)
	e := &ending{Status: failed, Report: r.ID, Details: details("stage", clean(string(r.State), 32), "code", code, "step", clean(r.Step, 64), "message", clean(r.Message, maxError))}
	if r.State == engine.RefusedEnd && !slices.Contains(proof, code) {
		e.Status = rejected
	}
	return e
}

// details makes a map of pairs, without empty values, which the cloud refuses.
func details(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			m[pairs[i]] = pairs[i+1]
		}
	}
	return m
}

// taken ends the sending of a job's end.
func (d *Dialect) taken(in control.In, j *job, emit func(control.Out)) {
	owed := j.owed
	d.over(in, j)
	if owed {
		emit(control.Out{Kind: control.OutDelivered, Report: j.Ending.Report})
	}
}

// over has a job be done with, and the next one asked for.
func (d *Dialect) over(in control.In, j *job) {
	j.Stage, j.toldAt, j.Last = told, in.Now, j.version
	j.owed, j.restored, j.check, j.bare, j.doubts = false, false, false, false, 0
	d.last(j)
	d.tidy()
	d.ask = true
}

// stop takes the cloud's word that it has ended a job itself.
func (d *Dialect) stop(in control.In, j *job, why string, emit func(control.Out)) {
	switch j.Stage {
	case ended:
		logf(emit, fmt.Sprintf("job %s: the cloud has ended it already: %s", j.command(), why))
		d.taken(in, j, emit)
	case asked, running:
		logf(emit, fmt.Sprintf("job %s: the cloud does not want it any more: %s", j.command(), why))
		j.Stage, j.check, j.free, j.restored = dropped, false, j.restored, false // an engine that lost it will not report
		if d.progress.job == j {
			d.progress.job = nil
		}
		emit(control.Out{Kind: control.OutCancel, Command: control.Command{ID: j.command()}})
	}
}
