package awsjobs

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// stage is how far an execution is. A finished one stays known, so that it is not done twice.
type stage string

const (
	asked   stage = "asked"   // the command is given, its receipt not here: never saved, the cloud offers the job again
	running stage = "running" // the engine has made it durable
	dropped stage = "dropped" // the cloud has ended it, the engine is still at it
	ended   stage = "ended"   // there is an end, which the cloud has not taken
	told    stage = "told"    // the cloud has an end
)

// job is one execution of a job.
type job struct {
	ID     string  `json:"id"`
	Number int64   `json:"execution,omitempty"`
	Stage  stage   `json:"stage"`
	Run    string  `json:"run,omitempty"`
	Print  string  `json:"document,omitempty"` // fingerprint
	Wanted string  `json:"wanted,omitempty"`   // the version that the document names
	Ending *ending `json:"ending,omitempty"`
	Last   int64   `json:"version,omitempty"` // of an end: the version of the execution that the cloud last told

	version  int64     // of the execution, 0 if not known
	begun    bool      // the cloud counts it as in progress
	ask      uint64    // token of the command
	restored bool      // whether the engine knows it still, the engine must say
	free     bool      // dropped after a restart: it keeps no other job waiting
	check    bool      // whether the cloud still wants it is to be asked
	owed     bool      // the outbox waits to hear that its report is delivered
	bare     bool      // the cloud does not want the details of its end
	stuck    bool      // the cloud does not want its end, until the next connect
	doubts   int       // updates in a row that the cloud refused for what it has itself
	toldAt   time.Time // since when the cloud has the end, as far as this process knows
}

// ending is what the cloud is told at the end.
type ending struct {
	Status  status            `json:"status"`
	Report  string            `json:"report,omitempty"` // the engine's id; "" if it never became a run
	Details map[string]string `json:"details,omitempty"`
}

// command gives the id of the command, in which the slash cannot be part of a job id.
func (j *job) command() string { return j.ID + "/" + strconv.FormatInt(j.Number, 10) }

// parseCommand is the other way.
func parseCommand(id string) (job string, number int64, err error) {
	job, text, found := strings.Cut(id, "/")
	if err = checkName(job, 64, "_-"); err == nil {
		number, err = strconv.ParseInt(text, 10, 64)
	}
	if !found || err != nil || number < 0 || strconv.FormatInt(number, 10) != text {
		return "", 0, fmt.Errorf("%.80q is no command of this cloud", clean(id, 64))
	}
	return job, number, nil
}

func (d *Dialect) find(id string, number int64) *job {
	for _, j := range d.jobs {
		if j.ID == id && j.Number == number {
			return j
		}
	}
	return nil
}

// current gives the job that keeps others waiting, or nil.
func (d *Dialect) current() *job {
	for _, j := range d.jobs {
		if j.Stage == asked || j.Stage == running || j.Stage == dropped && !j.free || j.Stage == ended && !j.stuck {
			return j
		}
	}
	return nil
}

// atWork gives the job that the engine is at and the cloud wants, or nil.
func (d *Dialect) atWork() *job {
	for _, j := range d.jobs {
		if j.Stage == asked || j.Stage == running {
			return j
		}
	}
	return nil
}

// last puts a job behind the others: the order of jobs is that of their ends.
func (d *Dialect) last(j *job) {
	d.jobs = append(slices.DeleteFunc(d.jobs, func(k *job) bool { return k == j }), j)
}

// tidy forgets the oldest jobs that the cloud has the end of, and those dropped
// before a restart, of which the engine may know nothing.
func (d *Dialect) tidy() {
	count := 0
	for i := len(d.jobs) - 1; i >= 0; i-- {
		if j := d.jobs[i]; j.Stage != told && !(j.Stage == dropped && j.free) {
			continue
		}
		if count++; count > maxTold {
			d.jobs = slices.Delete(d.jobs, i, i+1)
		}
	}
}

func (d *Dialect) untold() int {
	n := 0
	for _, j := range d.jobs {
		if j.Stage != told {
			n++
		}
	}
	return n
}

// saved is what survives a restart.
type saved struct {
	Jobs []*job `json:"jobs,omitempty"`
}

// Save gives what must survive a restart, as JSON: the jobs that run or have
// ended. No address is among it.
func (d *Dialect) Save() []byte {
	var s saved
	for _, j := range d.jobs {
		if j.Stage != asked {
			s.Jobs = append(s.Jobs, j)
		}
	}
	return marshal(s)
}

func (d *Dialect) restore(save []byte) {
	if len(save) == 0 {
		return
	}
	var s saved
	err := json.Unmarshal(save, &s)
	if err == nil && (len(s.Jobs) > maxTold+maxUntold || len(save) > control.MaxSave) {
		err = fmt.Errorf("it has %d bytes with %d jobs", len(save), len(s.Jobs))
	}
	for _, j := range s.Jobs {
		if err == nil {
			err = j.checkSaved()
		}
	}
	if err != nil {
		d.notes = append(d.notes, fmt.Sprintf("%s: saved state cannot be read and is given up: %s", d.topic, clean(err.Error(), 100)))
		return
	}
	d.jobs = s.Jobs
	for _, j := range d.jobs {
		j.version = j.Last
		j.restored = j.Stage == running || j.Stage == dropped
	}
}

// checkSaved holds a saved job to what the rest relies on.
func (j *job) checkSaved() error {
	if j == nil || checkName(j.ID, 64, "_-") != nil || j.Number < 0 {
		return fmt.Errorf("a job without an id")
	}
	switch {
	case j.Stage == running, j.Stage == dropped, j.Stage == told:
	case j.Stage == ended && j.Ending != nil && j.Ending.Status.final():
	default:
		return fmt.Errorf("a job of stage %.20q", j.Stage)
	}
	return nil
}
