package awsiot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// stage is how far a job is. A finished job stays known, so that it is not done twice.
type stage string

const (
	asked   stage = "asked"   // the command is given, its receipt not here: never saved, the message comes again
	running stage = "running" // the engine has made it durable
	ended   stage = "ended"   // there is a report, which the cloud has not taken
	told    stage = "told"    // the cloud has taken the report
)

// job is one job of the cloud.
type job struct {
	ID     string  `json:"id"` // the job id, or the URL without its query
	URL    string  `json:"url,omitempty"`
	Stage  stage   `json:"stage"`
	Run    string  `json:"run,omitempty"`
	Wanted string  `json:"version,omitempty"` // the version that the cloud named
	Ending *ending `json:"ending,omitempty"`

	ask      uint64    // token of the command
	shadow   int64     // version of the delta that asked for it, 0 if it had none
	restored bool      // as running: whether the engine knows it still, the engine must say
	rejected bool      // the cloud finds fault with its report
	attempt  int       // of sending the report, since the connect
	message  uint64    // to be acknowledged after the receipt
	owed     bool      // the outbox waits to hear that the report is delivered
	again    bool      // to be reported again, when the timer is due
	toldAt   time.Time // since when the cloud has the report, as far as this process knows
}

// ending is what the cloud is told at the end of a job.
type ending struct {
	Token   string   `json:"token"`            // clientToken
	Report  string   `json:"report,omitempty"` // the engine's id; "" if the job never became a run
	Version string   `json:"version,omitempty"`
	Failure *problem `json:"error,omitempty"` // nil: it went well
}

// problem is the member error of a report. All its members are always there, since a
// shadow would mix them with those of an earlier one.
type problem struct {
	State   string `json:"state"` // refused, rolled_back, failed, cancelled
	Code    string `json:"code"`
	Step    string `json:"step"`
	Message string `json:"message"`
}

// byURL says that the job has no job id.
func (j *job) byURL() bool { return strings.Contains(j.ID, "/") }

// holds says whether url is the job's file, whatever its query.
func (j *job) holds(url string) bool {
	if j.URL == "" || url == "" || j.URL == url {
		return true
	}
	have, _ := identity(j.URL)
	want, _ := identity(url)
	return have == want
}

func (d *Dialect) find(id string) *job {
	for _, j := range d.jobs {
		if j.ID == id {
			return j
		}
	}
	return nil
}

// tidy forgets the oldest ended jobs, and of all but the last reported the URL:
// a delta that names one of them again brings its own.
func (d *Dialect) tidy() {
	count := 0
	for i := len(d.jobs) - 1; i >= 0; i-- {
		j := d.jobs[i]
		if j.Stage != told {
			continue
		}
		if j.ID == d.last || j.again {
			continue
		}
		j.URL = ""
		if count++; count >= maxTold {
			d.jobs = slices.Delete(d.jobs, i, i+1)
		}
	}
}

// open counts the jobs whose end the cloud has not taken, without those whose
// report it does not want.
func (d *Dialect) open() int {
	n := 0
	for _, j := range d.jobs {
		if j.Stage != told && !j.rejected {
			n++
		}
	}
	return n
}

// untold counts the jobs whose end the cloud has not taken.
func (d *Dialect) untold() int {
	n := 0
	for _, j := range d.jobs {
		if j.Stage != told {
			n++
		}
	}
	return n
}

// oldest is the version below which a delta is out of date. One that asked for
// a job without an answer will come again, so that it is not.
func (d *Dialect) oldest() int64 {
	version := d.seen
	for _, j := range d.jobs {
		if j.Stage == asked && j.shadow != 0 {
			version = min(version, j.shadow)
		}
	}
	return version
}

// saved is what survives a restart.
type saved struct {
	Seen int64  `json:"seen,omitempty"`
	Last string `json:"last,omitempty"`
	Took int64  `json:"taken,omitempty"`
	Jobs []*job `json:"jobs,omitempty"`
}

// Save gives what must survive a restart, as JSON: the jobs that run or have
// ended, and their URLs with the query. Of the ends of jobs of which nothing else
// is known there may be any number, and the outbox brings them again: beyond a few it is
// left to do so, with all that ended after them, since the last end must be told last.
func (d *Dialect) Save() []byte {
	s := saved{Seen: d.oldest(), Last: d.last, Took: d.taken}
	room := maxBare
	for _, j := range d.jobs {
		again := j.Stage == ended && j.Ending.Report != ""
		if again && j.URL == "" {
			room -= len(marshal(j))
		}
		if j.Stage != asked && (!again || room >= 0) {
			s.Jobs = append(s.Jobs, j)
		}
	}
	return marshal(s)
}

// marshal leaves & in URLs as it is: readable, and no longer than it was.
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
		d.notes = append(d.notes, fmt.Sprintf("%s: saved state cannot be read and is given up: %s", d.topic, redact(err.Error(), 100)))
		return
	}
	d.seen, d.last, d.taken, d.jobs = s.Seen, s.Last, s.Took, s.Jobs
	for _, j := range d.jobs {
		if j.Stage == ended {
			d.queue = append(d.queue, j)
		}
		j.restored = j.Stage == running
	}
}

// check holds a saved job to what the rest relies on.
func (j *job) check() error {
	switch {
	case j == nil || j.ID == "":
		return fmt.Errorf("a job without an id")
	case j.Stage == running:
	case (j.Stage == ended || j.Stage == told) && j.Ending != nil:
	default:
		return fmt.Errorf("a job of stage %q", j.Stage)
	}
	return nil
}
