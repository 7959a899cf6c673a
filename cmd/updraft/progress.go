package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
)

// reporter shows the events of a run and its result.
type reporter interface {
	event(e engine.Event)
	// rest leaves the terminal to others until the next event.
	rest()
	result(res engine.Result) error
}

func (p *program) reporter(d *driving) reporter {
	switch p.showing(d.progress.value) {
	case "json":
		return &jsonReporter{json.NewEncoder(p.stdout)}
	case "tty":
		b := newBars(p.stderr, p.columns)
		b.Brief = true
		return &plainReporter{p: p, at: d.place, show: b.Show, clear: b.clear}
	}
	lines := &agent.Lines{To: p.stderr, Brief: true}
	return &plainReporter{p: p, at: d.place, show: lines.Show, clear: func() {}}
}

// showing is what a word of --progress comes to here.
func (p *program) showing(word string) string {
	if word == "auto" && p.draws() {
		word = "tty"
	}
	if word == "tty" && p.getenv("TERM") == "dumb" {
		return "plain"
	}
	return word
}

// jsonReporter writes NDJSON to standard output.
type jsonReporter struct{ enc *json.Encoder }

// resultLine is the last line of --progress json.
type resultLine struct {
	Kind string `json:"kind"` // always result
	engine.Result
	Exit int `json:"exit"`
}

func (j *jsonReporter) event(e engine.Event) { _ = j.enc.Encode(e) } // a reader that has gone must not stop an update

func (j *jsonReporter) rest() {}

func (j *jsonReporter) result(res engine.Result) error {
	return j.enc.Encode(resultLine{"result", res, exitOf(res.State)})
}

// plainReporter writes lines for people, on a terminal with bars.
type plainReporter struct {
	p     *program
	at    *place
	moved bool // a restart was asked for or has been seen
	show  func(engine.Event)
	clear func()
}

func (r *plainReporter) event(e engine.Event) {
	if e.Kind == engine.EventRestart && e.State != "restarting" {
		r.moved = true
	}
	r.show(e)
}

func (r *plainReporter) rest() { r.clear() }

func (r *plainReporter) result(res engine.Result) error {
	if text := advice(res, r.at, r.moved); text != "" {
		r.p.say("%s", text)
	}
	line := fmt.Sprintf("%s %s", res.State, res.Run)
	if res.Took > 0 {
		line += " in " + agent.Took(res.Took)
	}
	if res.Step != "" {
		line += ", step " + res.Step
	}
	switch {
	case res.State == engine.Waiting && res.Message == "waiting for "+res.Code:
		res.Message = ""
	case res.State == engine.Waiting: // the message says all
		res.Code = ""
	case res.Code == string(res.State) && res.Message == res.Code:
		res.Code, res.Message = "", ""
	}
	return r.p.print("%s", agent.Phrase(line, res.Code, agent.Printable(strings.ReplaceAll(res.Message, "\n", "; "))))
}

// advice says what an end means and what to do next. moved is whether this
// process asked for a restart or saw one.
func advice(res engine.Result, at *place, moved bool) string {
	switch res.State {
	case engine.Succeeded:
		if res.Code == "already_installed" {
			return "the device was at the new state already"
		}
	case engine.RefusedEnd:
		return "the device does not take this update; nothing was changed"
	case engine.RolledBack:
		return "the update failed; the device is as it was before"
	case engine.Cancelled:
		return "the update was cancelled; the device is as it was before"
	case engine.Failed:
		return "the update failed and could not be undone: a person must look at the device; the message says why"
	case engine.Waiting:
		next := "updraft resume " + at.flags()
		if res.Code == "interrupted" {
			return "stopped at a safe point; to go on: " + next + "; to turn back: updraft cancel " + at.flags()
		}
		if !moved && res.Code == "restart" {
			return fmt.Sprintf("nothing has restarted since; after the restart: %s (on a desk, --restart simulate plays it)", next)
		}
		return fmt.Sprintf("waiting for the %s; after it: %s", res.Code, next)
	}
	return ""
}
