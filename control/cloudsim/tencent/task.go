package tencent

import (
	"fmt"
	"slices"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

const maxPast = 16 // tasks that have ended and are remembered

// state is what the cloud keeps of one device.
type state struct {
	Version string `json:"version,omitempty"` // that it reported last
	Task    *task  `json:"task,omitempty"`    // that is open
	Past    []task `json:"past,omitempty"`    // that have ended, the last one last
}

// task is one update of one device.
type task struct {
	Job      string            `json:"job"`
	Software cloudsim.Software `json:"software"`
	State    string            `json:"state"` // pending, or what the device said last
	Percent  int               `json:"percent,omitempty"`
	Sent     bool              `json:"sent,omitempty"`    // to a device that was there
	Outcome  cloudsim.Outcome  `json:"outcome,omitempty"` // once it has ended
	Code     string            `json:"code,omitempty"`    // of a failure
}

// The states of a task: those that devices say, and ours.
const (
	statePending     = "pending"
	stateDownloading = "downloading"
	stateBurning     = "burning"
	stateUpdating    = "updating"
	stateDone        = "done"
	stateFail        = "fail"
	stateReplaced    = "replaced"
)

// statesOf are the states that devices say: 1 for one of a task that goes on,
// 2 for an end.
var statesOf = map[string]int{stateDownloading: 1, stateBurning: 1, stateUpdating: 1, stateDone: 2, stateFail: 2}

// effect is what came of a change.
type effect struct {
	end  *cloudsim.End // to be noted, for the first time or again
	note string        // for people
}

// begin is the operator's push.
func (t task) begin(s *state) (e effect, err error) {
	known := func(other task) bool { return other.Job == t.Job }
	if slices.ContainsFunc(s.Past, known) || s.Task != nil && known(*s.Task) {
		return e, fmt.Errorf("%w: the device has a task %q already, expected another id", cloudsim.ErrConfig, t.Job)
	}
	if s.Task != nil {
		e.note = fmt.Sprintf("version %q is replaced by %q", s.Task.Software.Version, t.Software.Version)
		e.end = s.close(cloudsim.End{Outcome: cloudsim.Cancelled, Result: stateReplaced})
	}
	s.Task = &t
	return e, nil
}

// apply is what the device said.
func (r report) apply(s *state) (effect, error) {
	if r.Type == typeVersion {
		return r.version(s), nil
	}
	if statesOf[r.State] == 2 {
		return r.ended(s)
	}
	return r.goesOn(s)
}

// version ends the task for that version. Another one is told once more.
func (r report) version(s *state) (e effect) {
	if s.Version != r.Version {
		s.Version, e.note = r.Version, fmt.Sprintf("runs version %q", r.Version)
	}
	switch {
	case s.Task == nil:
	case s.Task.Software.Version == r.Version:
		e.end = s.close(cloudsim.End{Outcome: cloudsim.Succeeded, Result: typeVersion})
	default:
		s.Task.Sent = true
	}
	return e
}

// goesOn is progress. It is for the open task, or late.
func (r report) goesOn(s *state) (e effect, err error) {
	if s.Task == nil || s.Task.Software.Version != r.Version {
		if s.past(r.Version) == nil {
			err = r.stray()
		}
		return e, err
	}
	if s.Task.State != r.State {
		e.note = fmt.Sprintf("version %q: %s", r.Version, r.State)
	}
	s.Task.State, s.Task.Sent = r.State, true
	if r.Percent >= 0 {
		s.Task.Percent = r.Percent
	}
	return e, nil
}

// ended is done or fail.
func (r report) ended(s *state) (e effect, err error) {
	end := cloudsim.End{Outcome: cloudsim.Succeeded, Result: r.State}
	if r.State == stateFail {
		end = cloudsim.End{Outcome: cloudsim.Failed, Result: r.State, Code: r.Code, Message: r.Message}
	}
	past := s.past(r.Version)
	open := s.Task != nil && s.Task.Software.Version == r.Version
	switch {
	case open && (s.Task.Sent || past == nil):
		e.end = s.close(end)
	case past == nil:
		return e, r.stray()
	case past.Outcome != end.Outcome:
		e.note = fmt.Sprintf("says %s of version %q, whose task %s has ended with %s: ignored", r.State, r.Version, past.Job, past.State)
	default: // what is noted stays that of the first
		e.end = &cloudsim.End{Job: past.Job, Outcome: past.Outcome, Result: past.State}
		if past.Code != end.Code {
			e.note = fmt.Sprintf("says fail %.40q of version %q, whose cause is %q: ignored", end.Code, r.Version, past.Code)
		}
	}
	return e, nil
}

func (r report) stray() error {
	return fmt.Errorf("%w: %s of version %q, for which there is no task", errMessage, r.State, r.Version)
}

// past gives the last ended task for a version, or nil.
func (s *state) past(version string) *task {
	for i := len(s.Past) - 1; i >= 0; i-- {
		if s.Past[i].Software.Version == version {
			return &s.Past[i]
		}
	}
	return nil
}

// close ends the open task.
func (s *state) close(e cloudsim.End) *cloudsim.End {
	t := *s.Task
	e.Job = t.Job
	t.State, t.Outcome, t.Code = e.Result, e.Outcome, e.Code
	s.Past = append(s.Past[max(0, len(s.Past)+1-maxPast):], t)
	s.Task = nil
	return &e
}
