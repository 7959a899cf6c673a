package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/engine"
)

// reporter shows the events of a run and its result.
type reporter interface {
	event(e engine.Event)
	result(res engine.Result) error
}

func (p *program) reporter(d *driving) reporter {
	if d.progress.value == "json" {
		return &jsonReporter{json.NewEncoder(p.stdout)}
	}
	return &plainReporter{p: p, at: d.place, lines: lines{to: p.stderr}}
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

func (j *jsonReporter) result(res engine.Result) error {
	return j.enc.Encode(resultLine{"result", res, exitOf(res.State)})
}

// plainReporter writes lines for people.
type plainReporter struct {
	p     *program
	at    *place
	moved bool // a restart was asked for or has been seen
	lines
}

// event shows an event, but leaves to result what that says anyway.
func (r *plainReporter) event(e engine.Event) {
	if e.Kind == engine.EventRestart && e.State != "restarting" {
		r.moved = true
	}
	if e.Kind == engine.EventRun && (isEnd(e.State) || e.State == string(engine.Waiting)) {
		r.fresh = true // what goes on in this process needs no line that says so
		return
	}
	r.show(e)
}

func (r *plainReporter) result(res engine.Result) error {
	if text := advice(res, r.at, r.moved); text != "" {
		r.p.say("%s", text)
	}
	line := fmt.Sprintf("%s %s", res.State, res.Run)
	if res.Took > 0 {
		line += " in " + took(res.Took)
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
	return r.p.print("%s", join(line, res.Code, printable(strings.ReplaceAll(res.Message, "\n", "; "))))
}

// took writes a time for people: milliseconds as long as they matter.
func took(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
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

const (
	lineEvery = 10              // percent between two lines of progress
	linePause = 5 * time.Second // or time between them
)

// lines turns events into lines. Progress is thinned out: a log of an update
// should fit on a screen.
type lines struct {
	to      io.Writer
	times   bool // each line begins with its time
	fresh   bool // the run was accepted just now, or has waited in this process
	step    string
	began   map[string]time.Time // steps that have begun, and when
	base    int64                // bytes that the step had at its first progress
	baseAt  time.Time
	told    time.Time
	percent int64
}

// show writes the line of an event, if it is worth one.
func (l *lines) show(e engine.Event) {
	begins := e.Kind == engine.EventStep && e.State == "begin"
	if begins || e.Kind == engine.EventProgress && e.Step != l.step {
		l.step, l.baseAt, l.told, l.percent = e.Step, time.Time{}, time.Time{}, 0
	}
	if begins {
		if l.began == nil {
			l.began = map[string]time.Time{}
		}
		l.began[e.Step] = e.Time
	}
	goesOn := e.Kind == engine.EventRun && e.State == "resumed" && l.fresh
	l.fresh = e.Kind == engine.EventRun && e.State == "accepted"
	text := l.text(e)
	if text == "" || goesOn {
		return
	}
	if l.times {
		text = e.Time.Local().Format(time.DateTime) + " " + text
	}
	fmt.Fprintln(l.to, printable(strings.ReplaceAll(text, "\n", "; ")))
}

func (l *lines) text(e engine.Event) string {
	prefix := ""
	if e.Step != "" {
		prefix = e.Step + ": "
	}
	switch e.Kind {
	case engine.EventRun:
		return runText(e)
	case engine.EventStep:
		if began, ok := l.began[e.Step]; ok && e.State == "done" {
			return fmt.Sprintf("%sdone in %s", prefix, took(e.Time.Sub(began)))
		}
		if e.State == "already" {
			return prefix + join("is there already", e.Code, e.Text)
		}
		return prefix + join(e.State, e.Code, e.Text)
	case engine.EventProgress:
		return l.progress(prefix, e)
	case engine.EventRetry:
		return prefix + join("failed, but is tried again", e.Code, e.Text)
	case engine.EventRestart:
		return prefix + join("restart "+restartWord(e.State), e.Code, e.Text)
	case engine.EventReport:
		return prefix + join("report "+e.State, e.Code, e.Text)
	case engine.EventLog:
		if strings.HasPrefix(e.Text, prefix) { // errors name their step themselves
			return join(e.Text, e.Code)
		}
		return prefix + join(e.Text, e.Code)
	}
	return prefix + join(string(e.Kind), e.Code, e.Text)
}

// restartWord is a state of a restart for people: whether anything restarts by
// itself is the affair of --restart.
func restartWord(state string) string {
	if state == "restarting" {
		return "due"
	}
	return state
}

func runText(e engine.Event) string {
	switch e.State {
	case "waiting":
		return fmt.Sprintf("run %s waits for the %s", e.Run, e.Text)
	case "failing":
		e.State = "turns back"
	}
	return join(fmt.Sprintf("run %s %s", e.Run, e.State), e.Code, e.Text)
}

// join puts what is there of a code and a text behind a word, each once. A text
// that begins with its code stands for both.
func join(word string, more ...string) string {
	for i, m := range more {
		told := i+1 < len(more) && strings.HasPrefix(more[i+1], m+": ")
		if !told && !strings.HasSuffix(word, m) {
			word += ": " + m
		}
	}
	return word
}

func (l *lines) progress(prefix string, e engine.Event) string {
	if l.baseAt.IsZero() {
		l.base, l.baseAt = e.Done, e.Time
	}
	percent := int64(0)
	if e.Total > 0 {
		percent = int64(100 * float64(e.Done) / float64(e.Total))
	}
	due := l.told.IsZero() || percent/lineEvery > l.percent/lineEvery || e.Time.Sub(l.told) >= linePause
	if !due {
		return ""
	}
	l.told, l.percent = e.Time, percent
	text := prefix + byteCount(e.Done)
	if e.Total > 0 {
		text = fmt.Sprintf("%s%3d %% %s of %s", prefix, percent, byteCount(e.Done), byteCount(e.Total))
	}
	if spent := e.Time.Sub(l.baseAt).Seconds(); spent >= 0.2 && e.Done > l.base {
		text += fmt.Sprintf(", %s/s", byteCount(int64(float64(e.Done-l.base)/spent)))
	}
	return text
}
