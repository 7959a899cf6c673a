package aliyun

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// defaultModule is the module that messages leave out.
const defaultModule = "default"

// Limits of what is kept of a device.
const (
	maxModules = 16
	maxTasks   = 32 // the oldest that are over are forgotten
)

// status is a task's, in the platform's words.
type status string

const (
	queued     status = "QUEUED"
	notified   status = "NOTIFIED"
	inProgress status = "IN_PROGRESS"
	succeeded  status = "SUCCEEDED"
	failed     status = "FAILED"
	canceled   status = "CANCELED"
)

// task is one update of one module of one device.
type task struct {
	Job     string              `json:"job"`
	ID      int64               `json:"id"` // of its messages
	Attempt int                 `json:"attempt,omitempty"`
	Status  status              `json:"status"`
	Module  string              `json:"module"`
	Version string              `json:"version"`
	From    string              `json:"from,omitempty"` // what ran when it was wanted
	Package cloudsim.Software   `json:"package"`        // what is fetched: all of it, or the difference
	Source  string              `json:"source,omitempty"`
	Files   []cloudsim.Software `json:"files,omitempty"` // more of them; Version is the file's name
	Method  string              `json:"method"`
	Digest  string              `json:"digestsign,omitempty"`
	Extra   json.RawMessage     `json:"extData,omitempty"`
	Silent  bool                `json:"silent,omitempty"` // the device has to ask
	Minutes int64               `json:"minutes,omitempty"`
	Began   time.Time           `json:"began,omitzero"`
	Step    int                 `json:"step,omitempty"`
	Desc    string              `json:"desc,omitempty"`
	Code    string              `json:"code,omitempty"` // of its failure
}

func (t *task) open() bool {
	return t.Status == queued || t.Status == notified || t.Status == inProgress
}

// end makes the end of a task, as it is now, for the record.
func (t *task) end(outcome cloudsim.Outcome, message string) cloudsim.End {
	e := cloudsim.End{Job: t.Job, Outcome: outcome, Result: string(t.Status), Code: t.Code, Message: message}
	if t.Attempt > 0 {
		e.Report = "attempt " + strconv.Itoa(t.Attempt+1)
	}
	return e
}

// otaDoc is what the OTA service keeps of a device.
type otaDoc struct {
	Versions map[string]string `json:"versions"` // by module, as the device said
	Last     int64             `json:"_last"`    // id of the newest message
	Tasks    []*task           `json:"tasks"`    // the newest last
}

// newest gives the newest task of a module, nil if there is none.
func (d *otaDoc) newest(module string) *task {
	for _, t := range slices.Backward(d.Tasks) {
		if t.Module == module {
			return t
		}
	}
	return nil
}

// current gives the task of a module that is not over, nil if there is none.
func (d *otaDoc) current(module string) *task {
	if t := d.newest(module); t != nil && t.open() {
		return t
	}
	return nil
}

// offered says whether a task is to be shown, by what is known to run.
func (d *otaDoc) offered(t *task) bool {
	runs := d.Versions[t.Module]
	return t.open() && runs != t.Version && (t.Source == "" || t.Source == runs)
}

// expire ends the tasks whose time is over.
func (d *otaDoc) expire(now time.Time) (ends []cloudsim.End) {
	for _, t := range d.Tasks {
		limit := time.Duration(t.Minutes) * time.Minute
		if t.Status == inProgress && limit > 0 && now.Sub(t.Began) >= limit {
			t.Status, t.Code = failed, "timeout"
			ends = append(ends, t.end(cloudsim.TimedOut, fmt.Sprintf("not over %d minutes after it began", t.Minutes)))
		}
	}
	return ends
}

// inform takes the version of a module, the only proof of success.
func (d *otaDoc) inform(module, version string) (end *cloudsim.End, note string) {
	old := d.Versions[module]
	if d.Versions == nil {
		d.Versions = map[string]string{}
	}
	d.Versions[module] = version
	t := d.newest(module)
	switch {
	case t == nil:
	case !t.open():
		if version == t.Version && version != old && t.Status != succeeded {
			note = fmt.Sprintf("%s runs, but job %s had ended as %s", version, t.Job, t.Status)
		}
	case version == t.Version:
		t.Status = succeeded
		e := t.end(cloudsim.Succeeded, "")
		return &e, ""
	case t.From == "":
		t.From = version
	case t.Status == inProgress && version != t.From:
		t.Status, t.Code = failed, "version"
		e := t.end(cloudsim.Failed, fmt.Sprintf("informed of %s, which is neither %s nor %s", version, t.From, t.Version))
		return &e, ""
	}
	return nil, note
}

// progress takes a step, of which a negative one is a failure. The same
// failure may come again: the vendor's own library sends each step twice.
func (d *otaDoc) progress(module string, step int, desc string, now time.Time) (end *cloudsim.End, note string) {
	t := d.newest(module)
	if t == nil {
		return nil, fmt.Sprintf("step %d of module %s, which has no task", step, module)
	}
	code := strconv.Itoa(step)
	if !t.open() {
		if t.Status == failed && t.Code == code {
			e := t.end(cloudsim.Failed, t.Desc)
			return &e, ""
		}
		return nil, fmt.Sprintf("step %d is too late: job %s has ended as %s", step, t.Job, t.Status)
	}
	if t.Began.IsZero() {
		t.Began = now.UTC()
	}
	t.Status, t.Step, t.Desc = inProgress, step, desc
	if step >= 0 {
		return nil, ""
	}
	t.Status, t.Code = failed, code
	e := t.end(cloudsim.Failed, desc)
	return &e, ""
}

// add puts a task behind the others.
func (d *otaDoc) add(t *task) {
	for len(d.Tasks) >= maxTasks {
		i := slices.IndexFunc(d.Tasks, func(t *task) bool { return !t.open() })
		if i < 0 { // as many modules as there may be have one, which are fewer
			break
		}
		d.Tasks = slices.Delete(d.Tasks, i, i+1)
	}
	d.Tasks = append(d.Tasks, t)
}
