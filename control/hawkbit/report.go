package hawkbit

import (
	"fmt"
	"net/http"

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
	if j == nil { // saved state was lost: the id is enough to tell the server
		action, kind, ok := actionOf(r.Command)
		if !ok {
			logf(emit, fmt.Sprintf("report %s is of no action of this server", redact(r.ID, 64)))
			return
		}
		j = &job{ID: r.Command, Action: action, Kind: kind, Run: r.Run, outbox: true}
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
	j.owed = true
	d.end(j, conclude(r))
	d.ask(emit)
}

// conclude makes an ending of an engine's report.
func conclude(r engine.Report) *ending {
	e := &ending{Report: r.ID, State: r.State}
	if r.State == engine.Succeeded {
		e.Detail = "succeeded"
		if v, ok := r.Release["version"].(string); ok {
			e.Detail = redact("succeeded: version "+v, maxText)
		}
		return e
	}
	text := string(r.State)
	if r.Code != "" && r.Code != text {
		text += ": " + r.Code
	}
	if r.Message != "" {
		text += ": " + r.Message
	}
	e.Detail = redact(text, maxText)
	if r.Step != "" {
		e.Detail += " (step " + redact(r.Step, 64) + ")"
	}
	return e
}

// codes are what the server hears as numbers: how the command line would have ended.
var codes = map[engine.EndState]int{engine.Succeeded: 0, engine.RefusedEnd: 3, engine.RolledBack: 4, engine.Failed: 5, engine.Cancelled: 130}

// say is one thing to tell the server about an action.
type say struct {
	cancel    bool // to the cancellation, not to the deployment
	id        string
	execution string
	finished  string
	code      *int
	text      string
	note      *note // of which it is made, if it is no end
	end       bool  // nothing follows
}

// says gives what the server is to hear next of a job, if anything.
func (j *job) says() (say, bool) {
	switch {
	case j.held:
		return say{}, false
	case j.unsure:
		return say{cancel: true, id: j.Cancel, execution: "rejected", finished: "none", text: "the agent has just started and does not know yet whether the update has begun; cancel it again"}, true
	case j.Stage == ended:
		return j.saysEnd(), true
	case j.note != nil && j.Stage != told:
		return say{id: j.Action, execution: j.note.execution, finished: "none", text: j.note.text, note: j.note}, true
	}
	return say{}, false
}

// saysEnd tells the end, after the answer to a cancellation that came too late.
func (j *job) saysEnd() say {
	e := j.Ending
	s := say{id: j.Action, execution: "closed", finished: "failure", text: e.Detail, end: true}
	if code, known := codes[e.State]; known {
		s.code = &code
	}
	switch {
	case j.Cancel != "" && e.State == engine.Cancelled:
		s.cancel, s.id, s.finished = true, j.Cancel, "success"
	case j.Cancel != "":
		return say{cancel: true, id: j.Cancel, execution: "rejected", finished: "none", text: "too late to cancel"}
	case j.Kind == prefetch: // the action goes on, whatever came of it
		s.execution, s.finished, s.code = "proceeding", "none", nil
		if e.State == engine.Succeeded {
			s.execution = "downloaded"
		}
	case j.Kind == download && e.State == engine.Succeeded:
		s.execution, s.finished = "downloaded", "success"
	case e.State == engine.Succeeded:
		s.finished = "success"
	}
	return s
}

// body writes it. There is no time of day in it: see the comment of the package.
func (s say) body() []byte {
	result := map[string]any{"finished": s.finished}
	if s.note != nil && s.note.of > 0 {
		result["progress"] = map[string]any{"cnt": s.note.cnt, "of": s.note.of}
	}
	status := map[string]any{"execution": s.execution, "result": result, "details": []string{s.text}}
	if s.code != nil {
		status["code"] = *s.code
	}
	return marshal(map[string]any{"id": s.id, "status": status})
}

// tell sends what the server is to hear next: ends first, in their order.
func (d *Dialect) tell(emit func(control.Out)) bool {
	for _, notes := range []bool{false, true} {
		for _, j := range d.jobs {
			s, ok := j.says()
			if !ok || (s.note != nil) != notes {
				continue
			}
			document := "deploymentBase"
			if s.cancel {
				document = "cancelAction"
			}
			j.note = nil
			d.send(&call{what: feedback, action: j.Action, job: j, say: s}, http.MethodPost, d.base+"/"+document+"/"+s.id+"/feedback", s.body(), emit)
			return true
		}
	}
	return false
}

// heard takes the server's answer to feedback.
func (d *Dialect) heard(c *call, in control.In, emit func(control.Out)) {
	j, status := c.job, in.Status
	taken := status/100 == 2
	switch {
	case c.say.note != nil && !taken: // it counts how much it is told
		j.muted = true
		logf(emit, fmt.Sprintf("action %s: the server takes no more of progress: %s", j.Action, reason(in)))
		return
	case c.say.note != nil:
		return
	case c.say.cancel && status == http.StatusMethodNotAllowed:
		logf(emit, fmt.Sprintf("action %s: the server does not want to cancel it any more", j.Action))
	case status == http.StatusGone, status == http.StatusNotFound && j.attempt >= 2:
		logf(emit, fmt.Sprintf("action %s: the server has closed it: %s", j.Action, reason(in)))
	case !taken:
		j.held = true
		if j.attempt++; j.attempt == 1 {
			logf(emit, fmt.Sprintf("action %s: the server does not take the feedback %s, it will be sent again: %s", j.Action, c.say.execution, reason(in)))
		}
		return
	}
	j.attempt = 0
	if c.say.cancel {
		d.due = d.due || j.unsure // it shows the action again
		j.Cancel, j.unsure = "", false
	}
	if !c.say.end || j.Stage != ended {
		return
	}
	j.Stage, j.toldAt, d.due = told, in.Now, d.due || !j.again
	if j.owed {
		j.owed = false
		emit(control.Out{Kind: control.OutDelivered, Report: j.Ending.Report})
	}
	d.tidy()
}
