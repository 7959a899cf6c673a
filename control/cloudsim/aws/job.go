package aws

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// status is what an execution counts as.
type status string

const (
	queued     status = "QUEUED"
	inProgress status = "IN_PROGRESS"
	succeeded  status = "SUCCEEDED"
	failed     status = "FAILED"
	rejected   status = "REJECTED"
	timedOut   status = "TIMED_OUT"
	canceled   status = "CANCELED"
)

// outcomes are what the ends mean.
var outcomes = map[status]cloudsim.Outcome{
	succeeded: cloudsim.Succeeded, failed: cloudsim.Failed, rejected: cloudsim.Rejected,
	timedOut: cloudsim.TimedOut, canceled: cloudsim.Cancelled,
}

func (s status) final() bool { return outcomes[s] != "" }

const (
	maxJobs     = 64          // executions of a thing
	maxNotified = 15          // jobs in a notification
	maxJobBytes = 32 << 10    // of a document
	maxDetails  = 10          // pairs of statusDetails
	maxDetail   = 1024        // characters of a value
	maxName     = 128         // bytes of a name
	maxTimeout  = 7 * 24 * 60 // minutes
)

// job is one execution of a job. Times are in seconds since 1970.
type job struct {
	ID       string            `json:"id"`
	Number   int64             `json:"execution"`
	Version  int64             `json:"version"`
	Status   status            `json:"status"`
	Details  map[string]string `json:"details,omitempty"`
	Queued   int64             `json:"queued"`
	Started  int64             `json:"started,omitempty"`
	Updated  int64             `json:"updated"`
	Deadline int64             `json:"deadline,omitempty"` // of the step timer
	Document json.RawMessage   `json:"document"`
	Stream   *stream           `json:"stream,omitempty"`
}

// set changes an execution.
func (j *job) set(s status, details map[string]string, at int64) {
	if s == inProgress && j.Started == 0 {
		j.Started = at
	}
	if s.final() {
		j.Deadline = 0
	}
	if details != nil {
		j.Details = details
	}
	j.Status, j.Updated = s, at
	j.Version++
}

// step sets the step timer: in minutes, -1 stops it.
func (j *job) step(minutes *int64, at int64) {
	if minutes == nil || j.Status != inProgress {
		return
	}
	j.Deadline = 0
	if *minutes > 0 {
		j.Deadline = at + *minutes*60
	}
}

// end is the end of an execution that is over.
func (j *job) end() cloudsim.End {
	e := cloudsim.End{Job: j.ID, Outcome: outcomes[j.Status], Result: string(j.Status), Report: strconv.FormatInt(j.Number, 10), Code: j.Details["code"]}
	if text, err := json.Marshal(j.Details); err == nil && len(j.Details) > 0 {
		e.Message = string(text)
	}
	return e
}

// state is what answers call executionState.
func (j *job) state() map[string]any {
	details := j.Details
	if details == nil {
		details = map[string]string{}
	}
	return map[string]any{"status": j.Status, "statusDetails": details, "versionNumber": j.Version}
}

// summary is what lists say of an execution.
func (j *job) summary() map[string]any {
	out := map[string]any{"jobId": j.ID, "queuedAt": j.Queued, "lastUpdatedAt": j.Updated, "versionNumber": j.Version, "executionNumber": j.Number}
	if j.Started > 0 {
		out["startedAt"] = j.Started
	}
	return out
}

// detail is an execution as answers show it, with the document if it is given.
func (j *job) detail(device string, document json.RawMessage, at int64) map[string]any {
	out := j.summary()
	out["thingName"], out["status"] = device, j.Status
	if len(j.Details) > 0 {
		out["statusDetails"] = j.Details
	}
	if document != nil {
		out["jobDocument"] = document
	}
	if j.Deadline > 0 {
		out["approximateSecondsBeforeTimedOut"] = max(0, j.Deadline-at)
	}
	return out
}

// find gives an execution of a job, the newest if number is nil, or nil.
func (t *thing) find(id string, number *int64) *job {
	for i := len(t.Jobs) - 1; i >= 0; i-- {
		if j := &t.Jobs[i]; j.ID == id && (number == nil || j.Number == *number) {
			return j
		}
	}
	return nil
}

// with are the executions of a status, the oldest first.
func (t *thing) with(s status) (out []*job) {
	for i := range t.Jobs {
		if t.Jobs[i].Status == s {
			out = append(out, &t.Jobs[i])
		}
	}
	return out
}

// pending are the executions that a device has before it, in its order.
func (t *thing) pending() []*job { return append(t.with(inProgress), t.with(queued)...) }

// add takes one more execution, in place of the oldest that is over if there
// are many, and says whether there was room.
func (t *thing) add(j job) bool {
	if len(t.Jobs) >= maxJobs {
		i := slices.IndexFunc(t.Jobs, func(j job) bool { return j.Status.final() })
		if i < 0 {
			return false
		}
		t.Jobs = slices.Delete(t.Jobs, i, i+1)
	}
	t.Jobs = append(t.Jobs, j)
	return true
}

// expire ends the executions whose step timer has run out.
func (t *thing) expire(now time.Time) (ended []*job) {
	for _, j := range t.with(inProgress) {
		if j.Deadline > 0 && now.Unix() >= j.Deadline {
			j.set(timedOut, nil, now.Unix())
			ended = append(ended, j)
		}
	}
	return ended
}

// deadline is when the first step timer runs out, 0 for never.
func (t *thing) deadline() (first int64) {
	for _, j := range t.with(inProgress) {
		if j.Deadline > 0 && (first == 0 || j.Deadline < first) {
			first = j.Deadline
		}
	}
	return first
}

// queue is what notifications tell of: which executions are pending, and which is next.
type queue struct {
	ids  []string // sorted
	next string
}

func (t *thing) queue() (q queue) {
	for _, j := range t.pending() {
		q.ids = append(q.ids, j.ID+"/"+strconv.FormatInt(j.Number, 10))
	}
	if len(q.ids) > 0 {
		q.next = q.ids[0]
	}
	slices.Sort(q.ids)
	return q
}

// lists are the first pending executions by status, for get and notify.
func (t *thing) lists(most int) (running, waiting []any) {
	running, waiting = []any{}, []any{}
	for i, j := range t.pending() {
		switch {
		case i >= most:
		case j.Status == inProgress:
			running = append(running, j.summary())
		default:
			waiting = append(waiting, j.summary())
		}
	}
	return running, waiting
}
