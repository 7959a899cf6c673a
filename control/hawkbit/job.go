package hawkbit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/engine"
)

// stage is how far a job is. A finished job stays known, so that it is not done twice.
type stage string

const (
	waits   stage = "waits"   // the engine was not asked, or was busy: never saved, the server says it again
	asked   stage = "asked"   // the command is given, its receipt not here
	running stage = "running" // the engine has made it durable
	ended   stage = "ended"   // there is an end, which the server has not taken
	told    stage = "told"    // the server has taken it
)

// kind is what a job does.
type jobKind string

const (
	update   jobKind = "update"
	download jobKind = "download" // alone: the action ends with it
	prefetch jobKind = "prefetch" // before the maintenance window of an update
)

// command is the name of the command for it.
func (k jobKind) command() string {
	if k == update {
		return "update"
	}
	return "download"
}

// job is what is done for one action of the server.
type job struct {
	ID     string  `json:"id"` // of the command
	Action string  `json:"action"`
	Kind   jobKind `json:"kind"`
	Stage  stage   `json:"stage"`
	Run    string  `json:"run,omitempty"`
	Cancel string  `json:"cancel,omitempty"` // id of the cancellation that waits for an answer
	Ending *ending `json:"ending,omitempty"`

	ask      uint64 // token of the command
	restored bool   // as asked or running: whether the engine knows it, the engine must say
	stopping bool   // the run was asked to stop
	unsure   bool   // the cancellation came before the engine has said whether there is a run
	outbox   bool   // made of a report, which comes again
	owed     bool   // the outbox waits to hear that the report is delivered
	held     bool   // the server finds fault with what it was told: not before the next poll
	attempt  int    // of telling the end, that the server has found fault with
	again    bool   // it was told before
	toldAt   time.Time

	note  *note  // to be said
	why   string // the server knows that it waits for this
	notes int    // of progress, said
	muted bool   // the server wants no more of them
}

// ending is how a job ended.
type ending struct {
	Report string          `json:"report,omitempty"` // the engine's id; "" if the job never became a run
	State  engine.EndState `json:"state"`
	Detail string          `json:"detail"`
}

func (j *job) open() bool { return j.Stage == asked || j.Stage == running }

func (d *Dialect) find(id string) *job {
	for _, j := range d.jobs {
		if j.ID == id {
			return j
		}
	}
	return nil
}

// full says, in the log too, that no further job is taken now.
func (d *Dialect) full(action string) (text string, full bool) {
	n := 0
	for _, j := range d.jobs {
		if j.open() || j.Stage == ended && !j.outbox {
			n++
		}
	}
	return fmt.Sprintf("action %s waits: the server has not taken the end of %d others yet", action, n), n >= maxOpen
}

// prune forgets what waited for an action that the server does not show any more.
func (d *Dialect) prune(action string) {
	d.jobs = slices.DeleteFunc(d.jobs, func(j *job) bool { return j.Stage == waits && j.Action != action })
}

// tidy forgets the oldest jobs that were told.
func (d *Dialect) tidy() {
	count := 0
	for i := len(d.jobs) - 1; i >= 0; i-- {
		if d.jobs[i].Stage != told {
			continue
		}
		if count++; count > maxTold {
			d.jobs = slices.Delete(d.jobs, i, i+1)
		}
	}
}

// saved is what survives a restart.
type saved struct {
	Jobs []*job `json:"jobs,omitempty"`
}

// Save gives what must survive a restart, as JSON: the jobs that were asked for,
// run or have ended. It holds no address.
func (d *Dialect) Save() []byte {
	var s saved
	for _, j := range d.jobs {
		if j.Stage != waits && (!j.outbox || j.Stage == told) {
			s.Jobs = append(s.Jobs, j)
		}
	}
	return marshal(s)
}

func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // a bug of ours: there is nothing in it that has no JSON
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}

func (d *Dialect) restore(save []byte) {
	if len(save) == 0 {
		return
	}
	var s saved
	err := json.Unmarshal(save, &s)
	for _, j := range s.Jobs {
		if err == nil {
			err = j.check()
		}
	}
	if err != nil {
		d.notes = append(d.notes, fmt.Sprintf("saved state cannot be read and is given up: %s", redact(err.Error(), 100)))
		return
	}
	d.jobs = s.Jobs
	for _, j := range d.jobs {
		j.restored = j.open()
	}
}

// check holds a saved job to what the rest relies on.
func (j *job) check() error {
	switch {
	case j == nil || !actionID.MatchString(j.Action) || !strings.HasPrefix(j.ID, j.Action):
		return fmt.Errorf("a job without an id or an action")
	case j.Kind != update && j.Kind != download && j.Kind != prefetch:
		return fmt.Errorf("a job of the kind %.20q", string(j.Kind))
	case j.Cancel != "" && !actionID.MatchString(j.Cancel):
		return fmt.Errorf("a cancellation without an id")
	case j.open():
	case (j.Stage == ended || j.Stage == told) && j.Ending != nil:
	default:
		return fmt.Errorf("a job of the stage %.20q", string(j.Stage))
	}
	return nil
}
