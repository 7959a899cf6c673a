package azurehub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// stage is how far an update is.
type stage string

// The stages, in their order.
const (
	asked       stage = "asked"    // the command is given, its receipt not here
	accepted    stage = "accepted" // the engine has made it durable
	downloading stage = "downloading"
	verifying   stage = "verifying" // all bytes are there
	applying    stage = "applying"
	rebooting   stage = "rebooting"
)

var stages = []stage{asked, accepted, downloading, verifying, applying, rebooting}

func (s stage) before(t stage) bool { return slices.Index(stages, s) < slices.Index(stages, t) }

// install is the stage for a shape that takes a restart as part of applying: it
// is nothing new after that.
func (s stage) install(from stage) stage {
	if s == rebooting && from.before(applying) {
		return applying
	}
	return s
}

// job is one update.
type job struct {
	ID      string `json:"id"`
	Key     string `json:"key"` // of its order
	URL     string `json:"url,omitempty"`
	Version string `json:"version,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	MD5     string `json:"md5,omitempty"`
	Check   string `json:"check,omitempty"`
	Desired int64  `json:"desired,omitempty"` // version of the twin that desired it, 0 for a call
	Stage   stage  `json:"stage"`
	Run     string `json:"run,omitempty"`
	// Shown says that the hub has taken a report of it, so that nothing of an older one is left.
	Shown bool `json:"shown,omitempty"`
	// Ended says that there is a report, which the hub has not taken.
	Ended bool `json:"ended,omitempty"`
	// Refusal is why it never became a run, once that is to be reported.
	Refusal *ending `json:"refusal,omitempty"`

	ask      uint64 // token of the command
	showing  bool   // a report is on its way
	late     bool   // its callers were told that it waits
	restored bool   // whether the engine knows it still, the engine must say
}

// ending is how an update went.
type ending struct {
	State   engine.EndState `json:"state"`
	Code    string          `json:"code,omitempty"`
	Message string          `json:"message,omitempty"`
	At      time.Time       `json:"at"`
	version string          // that runs now, after a success, "" if not known
}

// done is desired firmware that was looked at and is not to be looked at again.
type done struct {
	Key     string `json:"key"`
	Desired int64  `json:"desired"` // version of the twin
	Failed  bool   `json:"failed,omitempty"`
}

func (d *Dialect) find(id string) *job {
	if i := slices.IndexFunc(d.jobs, func(j *job) bool { return j.ID == id }); i >= 0 {
		return d.jobs[i]
	}
	return nil
}

// add remembers a new update. Of those whose report waits for the hub, the
// oldest are forgotten; the outbox has their reports.
func (d *Dialect) add(id string, o order) *job {
	if len(d.jobs) >= maxUntold {
		d.jobs = slices.Delete(d.jobs, 0, len(d.jobs)-maxUntold+1)
	}
	j := &job{ID: id, Key: o.key(), URL: o.url, Version: o.version, SHA256: o.sha256, MD5: o.md5, Check: o.check, Stage: asked}
	d.jobs = append(d.jobs, j)
	return j
}

func (d *Dialect) remove(j *job) {
	d.jobs = slices.DeleteFunc(d.jobs, func(k *job) bool { return k == j })
}

// command asks the engine for an update. The same id is the same run, however often.
func (d *Dialect) command(j *job, emit func(control.Out)) {
	j.ask = d.next
	d.next++
	o := order{url: j.URL, version: j.Version, sha256: j.SHA256, md5: j.MD5, check: j.Check}
	if j.Check != "" {
		say(emit, fmt.Sprintf("update %s: the check value is neither SHA-256 nor MD5: only a workflow with the input check compares it", j.ID))
	}
	emit(control.Out{Kind: control.OutCommand, Token: j.ask, Command: control.Command{ID: j.ID, Name: "update", Inputs: o.inputs()}})
}

// receipt takes the engine's answer to a command.
func (d *Dialect) receipt(in control.In, emit func(control.Out)) {
	i := slices.IndexFunc(d.jobs, func(j *job) bool { return j.ask == in.Token && in.Token != 0 })
	if i < 0 {
		return
	}
	j := d.jobs[i]
	j.ask = 0
	if j.Ended { // its report came first
		return
	}
	busy := in.Refusal == "busy" || in.Refusal == "" && in.Receipt.Answer == engine.Busy
	if busy || in.Refusal != "" {
		d.refused(j, in, busy, emit)
		return
	}
	j.Run = in.Receipt.Run
	d.answer(j, 200, started, emit)
	d.advance(j, accepted, in.Now, emit)
}

// refused tells whoever asked for an update that the device does not take it:
// in the answer to the call, or else in the twin. Desired firmware that comes at a busy
// time is tried again, since it stays desired.
func (d *Dialect) refused(j *job, in control.In, busy bool, emit func(control.Out)) {
	e := &ending{State: engine.RefusedEnd, Code: "refused", Message: redact(in.Refusal, maxError), At: in.Now}
	status := 403
	if busy {
		status, e.Code, e.Message = 409, "busy", "another firmware update runs"
	}
	say(emit, fmt.Sprintf("update %s: refused: %s", j.ID, e.Message))
	waits := slices.ContainsFunc(d.calls, func(c call) bool { return c.job == j.ID })
	d.answer(j, status, e.Code+": "+e.Message, emit)
	switch {
	case waits:
		d.remove(j)
	case j.Desired != 0 && busy:
		d.remove(j)
		d.show(nil, map[string]any{"fwUpdateSubstatus": "busy: another firmware update runs; this one is tried again"}, emit)
		emit(control.Out{Kind: control.OutTimer, Token: timerBusy, After: busyWait})
	default:
		j.Refusal = e
		d.conclude(j, e, "", emit)
	}
}

// event follows the run of the update. After a success of another cloud's run
// nobody here knows what the device runs.
func (d *Dialect) event(in control.In, emit func(control.Out)) {
	j, e := d.open(), in.Event
	ours := slices.ContainsFunc(d.jobs, func(j *job) bool { return j.Run == e.Run || j.Run == "" })
	if e.Kind == engine.EventRun && e.State == string(engine.Succeeded) && !ours {
		d.now = ""
	}
	if j == nil || j.Run == "" || j.Run != e.Run || j.Stage == asked {
		return
	}
	switch e.Kind {
	case engine.EventStep:
		if s, named := d.c.Steps[e.Step]; named && e.State == "begin" {
			d.advance(j, stage(s), in.Now, emit)
		} else if e.State == "done" && !j.Stage.before(downloading) {
			d.advance(j, applying, in.Now, emit)
		}
	case engine.EventProgress:
		d.advance(j, downloading, in.Now, emit)
		if e.Total > 0 && e.Done >= e.Total {
			d.advance(j, verifying, in.Now, emit)
		} else {
			d.progressed(in, emit)
		}
	case engine.EventRestart:
		if e.State == "armed" {
			d.advance(j, rebooting, in.Now, emit)
		}
	}
}

// advance goes on to a stage, never back, and says so.
func (d *Dialect) advance(j *job, to stage, now time.Time, emit func(control.Out)) {
	if !j.Stage.before(to) {
		return
	}
	from := j.Stage
	j.Stage = to
	d.progress.waits = false
	d.show(j, d.shape.stage(d, j, from, now), emit)
}

// first has the first report of an update clear what an older one has left in
// the twin, and says whether it is the first.
func (d *Dialect) first(j *job, members map[string]any) bool {
	if j == nil || j.Shown || j.showing {
		return false
	}
	j.showing = true
	for _, name := range d.shape.members() {
		if _, set := members[name]; !set {
			members[name] = nil
		}
	}
	return true
}

// saved is what survives a restart.
type saved struct {
	Jobs  []*job   `json:"jobs,omitempty"`
	Told  []string `json:"told,omitempty"`
	Now   string   `json:"now,omitempty"`
	Done  *done    `json:"done,omitempty"`
	Calls uint64   `json:"calls,omitempty"`
}

// Save gives what must survive a restart, as JSON: the updates without a taken
// report, and the URL of the one that runs, with its query.
func (d *Dialect) Save() []byte {
	return marshal(saved{Jobs: d.jobs, Told: d.told, Now: d.now, Done: d.done, Calls: d.jobNo})
}

func (d *Dialect) restore(save []byte) {
	if len(save) == 0 {
		return
	}
	var s saved
	err := json.Unmarshal(save, &s)
	open := 0
	for _, j := range s.Jobs {
		if err == nil {
			err = j.check()
		}
		if j != nil && !j.Ended {
			open++
		}
	}
	if err == nil && (open > 1 || len(s.Jobs) > maxUntold || len(s.Told) > maxTold) {
		err = fmt.Errorf("%d updates, %d of them running, and %d reports", len(s.Jobs), open, len(s.Told))
	}
	if err != nil {
		d.notes = append(d.notes, "saved state cannot be read and is given up: "+redact(err.Error(), 100))
		return
	}
	d.jobs, d.told, d.now, d.done, d.jobNo = s.Jobs, s.Told, s.Now, s.Done, s.Calls
	for _, j := range d.jobs {
		j.restored = !j.Ended
		if j.Refusal != nil {
			d.enqueueEnd(j, j.Refusal, "")
		}
	}
}

// check holds a saved update to what the rest relies on.
func (j *job) check() error {
	switch {
	case j == nil || j.ID == "" || j.Key == "":
		return fmt.Errorf("an update without an id")
	case !slices.Contains(stages, j.Stage):
		return fmt.Errorf("an update of stage %q", j.Stage)
	case !j.Ended && j.URL == "":
		return fmt.Errorf("a running update without a URL")
	}
	return nil
}

// marshal writes JSON without blanks, since what looks at a twin may look for its
// text, and leaves & in URLs as it is.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // a bug of ours: there is nothing in it that has no JSON
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}
