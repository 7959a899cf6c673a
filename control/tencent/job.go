package tencent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stage is how far a job is. An ended one stays known, for the number of its attempt.
type stage string

const (
	asked   stage = "asked"   // the command is given, its receipt not here
	running stage = "running" // the engine has made it durable
	ended   stage = "ended"   // there is an end, which the cloud does not know
	told    stage = "told"    // the broker has taken it
)

// job is the newest attempt at one version.
type job struct {
	Version string  `json:"version"`
	Attempt int     `json:"attempt"`
	Stage   stage   `json:"stage"`
	MD5     string  `json:"md5,omitempty"`
	Size    string  `json:"size,omitempty"`  // bytes
	Given   string  `json:"given,omitempty"` // digest of the URL that the engine got
	Fresh   string  `json:"fresh,omitempty"` // a URL that was pushed since, with its query
	Renewed int     `json:"renewed,omitempty"`
	Run     string  `json:"run,omitempty"`
	Phase   phase   `json:"phase,omitempty"`
	Said    phase   `json:"said,omitempty"` // the phase that the cloud has heard of
	Ending  *ending `json:"ending,omitempty"`

	url      string    // that the engine got
	begun    time.Time // when the command was given for the first time, zero if not by this process
	joined   bool      // the engine knew the command already
	restored bool      // nothing was heard of it since the start
	ask      uint64    // token of the command
	message  uint64    // to be acknowledged after the receipt
	owed     bool      // the outbox waits to hear that the report is delivered
	step     string    // that downloads
	percent  int       // of the download
	heard    int       // percent that the cloud has heard
	late     bool      // its end was sent after the version, whose answer may still push it
}

// ending is what the cloud is told at the end of a job.
type ending struct {
	Report string `json:"report,omitempty"` // the engine's id; "" if the job never became a run
	Code   int    `json:"code,omitempty"`   // 0: it went well
	Text   string `json:"text,omitempty"`
}

// id is that of the job's command.
func (j *job) id() string { return j.Version + "#" + strconv.Itoa(j.Attempt) }

// readID reads the id of a command.
func readID(id string) (version string, attempt int, ok bool) {
	version, number, _ := strings.Cut(id, "#")
	attempt, err := strconv.Atoi(number)
	ok = err == nil && attempt > 0 && attempt <= maxAttempt && strconv.Itoa(attempt) == number && checkVersion(version) == nil
	return version, attempt, ok
}

// maxAttempt keeps the number of an attempt in bounds on every machine.
const maxAttempt = 1 << 30

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

func (d *Dialect) find(version string) *job {
	for _, j := range d.jobs {
		if j.Version == version {
			return j
		}
	}
	return nil
}

// first gives the job whose end is to be told next, or nil.
func (d *Dialect) first() *job {
	for _, j := range d.jobs {
		if j.Stage == ended {
			return j
		}
	}
	return nil
}

// untold counts the jobs whose end the cloud does not know.
func (d *Dialect) untold() int {
	n := 0
	for _, j := range d.jobs {
		if j.Stage != told {
			n++
		}
	}
	return n
}

// room says whether a further version is taken. One of which nothing was heard since the
// start makes way: if the engine has it after all, its report says enough.
func (d *Dialect) room() bool {
	if d.untold() < maxOpen {
		return true
	}
	at := slices.IndexFunc(d.jobs, func(j *job) bool { return j.restored })
	if at < 0 {
		return false
	}
	d.jobs = slices.Delete(d.jobs, at, at+1)
	return d.room()
}

// end gives a job the place behind all that have ended.
func (d *Dialect) end(j *job) {
	j.Stage, j.Fresh, j.restored = ended, "", false
	if d.sending == j {
		d.sent, d.sending = 0, nil
	}
	d.jobs = append(slices.DeleteFunc(d.jobs, func(k *job) bool { return k == j }), j)
}

// tidy forgets the oldest jobs that the cloud knows the end of.
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
	Config  string `json:"config"`  // what Config.Version was
	Version string `json:"version"` // what the device runs
	Jobs    []*job `json:"jobs,omitempty"`
}

// Save gives what must survive a restart, as JSON: the version, and the jobs
// that run or have ended. It holds a URL with its query if one was pushed
// while its version was being done.
func (d *Dialect) Save() []byte {
	return marshal(saved{Config: d.c.Version, Version: d.version, Jobs: d.jobs})
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
	if err == nil {
		err = s.check()
	}
	if err != nil {
		d.notes = append(d.notes, fmt.Sprintf("%s: saved state cannot be read and is given up: %s", d.down, redact(err.Error(), 100)))
		return
	}
	d.jobs = s.Jobs
	unproven := false
	for _, j := range d.jobs {
		j.restored = j.Stage == asked || j.Stage == running
		unproven = unproven || j.Stage == running
	}
	// What the configuration says after a restart may be a version that is still
	// on trial: until the run has ended, the cloud hears of the one before.
	if s.Config == d.c.Version || unproven {
		d.version = s.Version
	}
}

// check holds a save to what the rest relies on.
func (s saved) check() error {
	if err := checkVersion(s.Version); err != nil {
		return fmt.Errorf("version %w", err)
	}
	seen := map[string]bool{}
	for _, j := range s.Jobs {
		switch {
		case j == nil || seen[j.Version]:
			return errors.New("a version twice, or none")
		case j.Attempt < 1 || j.Attempt > maxAttempt || checkVersion(j.Version) != nil:
			return errors.New("a job without a version or an attempt")
		case j.Stage == asked || j.Stage == running:
		case (j.Stage == ended || j.Stage == told) && j.Ending != nil:
		default:
			return errors.New("a job of an unknown stage")
		}
		seen[j.Version] = true
	}
	return nil
}
