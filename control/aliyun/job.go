package aliyun

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/engine"
)

// Stage is how far a job is. A finished job stays known, so that it is not done twice.
type Stage string

// The stages.
const (
	Asked   Stage = "asked"   // the command is given, its receipt not here: never saved, the message comes again
	Running Stage = "running" // the engine has made it durable
	Ended   Stage = "ended"   // it has an end, which the broker has not acknowledged
	Told    Stage = "told"    // the broker has acknowledged it
)

// maxAsks is how many messages that asked for one job are remembered.
const maxAsks = 4

// Job is one update that the cloud has asked for.
type Job struct {
	// ID is the command's: MODULE:VERSION:DIGEST:ASK. The last part is the id of the
	// message that began it, or a time where that has none: a later wish for the same
	// is another command, since the engine does none twice.
	ID string `json:"id"`
	// Asks are the ids of the messages that asked for it, the newest last.
	Asks []string `json:"asks,omitempty"`
	// Old is the version that ran when it was asked for.
	Old    string  `json:"old,omitempty"`
	Stage  Stage   `json:"stage"`
	Run    string  `json:"run,omitempty"`
	Ending *Ending `json:"ending,omitempty"`
	// Sent says that the cloud may have the end, of those that must not reach it
	// twice unasked: see [Asker].
	Sent bool `json:"sent,omitempty"`

	ask      uint64 // token of the command
	message  uint64 // to be acknowledged after the receipt
	restored bool   // as running: whether the engine knows it still, the engine must say
	owed     bool   // the outbox waits to hear that the end is delivered
	again    bool   // to be told again, when the timer is due
	sure     bool   // the cloud has just said that it waits for the end
	attempt  int    // of telling the end, since the connect
	toldAt   time.Time
}

// Key makes the name of a wish: the same module, version and content are the same job.
// content is all that says what is to be fetched, but for queries of URLs.
func Key(module, version string, content ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(content, "\n")))
	return url.QueryEscape(module) + ":" + url.QueryEscape(version) + ":" + hex.EncodeToString(sum[:6])
}

// part gives a part of the id, "" if a report of another maker brought it.
func (j *Job) part(n int) string {
	parts := strings.Split(j.ID, ":")
	if len(parts) < 3 {
		return ""
	}
	text, err := url.QueryUnescape(parts[n])
	if err != nil || CheckWord(text) != nil {
		return ""
	}
	return text
}

// Module is the module that the job updates.
func (j *Job) Module() string { return j.part(0) }

// Version is the version that the cloud wants.
func (j *Job) Version() string { return j.part(1) }

// NewVersion is the version that runs after a job that went well.
func (j *Job) NewVersion() string { return cmp.Or(j.Ending.Version, j.Version()) }

// key is the id without what began the job.
func (j *Job) key() string {
	parts := strings.SplitN(j.ID, ":", 4)
	return strings.Join(parts[:min(3, len(parts))], ":")
}

// AskedBy says whether a message of this id asked for the job, or one
// that cannot be told from those which did: without an id.
func (j *Job) AskedBy(id string) bool { return id == "" || slices.Contains(j.Asks, id) }

// Covers says whether a message of this id, which wishes for the same, has its
// answer in the job, whose end is not told yet. It has not if the job went well and
// its version has been replaced since: then it is a new wish.
func (j *Job) Covers(id string, runs bool) bool {
	replaced := j.Stage == Ended && j.Ending.State == engine.Succeeded && !runs
	return j.Stage != Told && (!replaced || j.AskedBy(id))
}

// NewestAsk is the id of the message that asked last, "" if none had one.
func (j *Job) NewestAsk() string {
	if len(j.Asks) == 0 {
		return ""
	}
	return j.Asks[len(j.Asks)-1]
}

func (j *Job) noteAsk(id string) {
	if id == "" {
		return
	}
	j.Asks = append(slices.DeleteFunc(j.Asks, func(known string) bool { return known == id }), id)
	if len(j.Asks) > maxAsks {
		j.Asks = slices.Delete(j.Asks, 0, 1)
	}
}

// check holds a saved job to what the rest relies on.
func (j *Job) check() error {
	switch {
	case j == nil || j.ID == "":
		return fmt.Errorf("a job without an id")
	case j.Stage == Running:
	case (j.Stage == Ended || j.Stage == Told) && j.Ending != nil:
	default:
		return fmt.Errorf("a job of stage %q", j.Stage)
	}
	return nil
}

// Ending is how a job ended.
type Ending struct {
	Report  string          `json:"report,omitempty"` // the engine's id; "" if the job never became a run
	State   engine.EndState `json:"state"`
	Code    string          `json:"code,omitempty"` // such as "digest"
	Step    string          `json:"step,omitempty"`
	Text    string          `json:"text,omitempty"`
	Version string          `json:"version,omitempty"` // of the signed release, if there was one
}

// conclude makes an ending of an engine's report.
func conclude(r engine.Report) *Ending {
	e := &Ending{Report: r.ID, State: engine.EndState(Redact(string(r.State), 32))}
	if r.State == engine.Succeeded {
		if v, ok := r.Release["version"].(string); ok && CheckWord(v) == nil {
			e.Version = v
		}
		return e
	}
	e.Code, e.Step, e.Text = Redact(r.Code, 64), Redact(r.Step, 64), Redact(r.Message, maxReason)
	return e
}

// Reason says in one line why it did not go well.
func (e *Ending) Reason() string {
	why := string(e.State)
	if e.Step != "" {
		why += " in step " + e.Step
	}
	if e.Code != "" && !strings.HasPrefix(e.Text, e.Code+":") {
		why += ": " + e.Code
	}
	if e.Text != "" {
		why += ": " + e.Text
	}
	return why
}

// Fault is the kind of a failure, of which the clouds tell some apart.
type Fault int

// The faults.
const (
	NoFault       Fault = iota // it went well
	DownloadFault              // the file could not be fetched
	CheckFault                 // it is not what was promised, or nobody trusted signed it
	InstallFault               // it could not be installed, or the new version is not well
	OtherFault                 // nothing was begun, for another reason
)

// Fault says what was wrong.
func (e *Ending) Fault() Fault {
	if e.State == engine.Succeeded {
		return NoFault
	}
	switch e.Code {
	case "network", "not_found", "address", "redirect", "slow", "protocol":
		return DownloadFault
	case "digest", "signature", "size", "untrusted", "manifest", "manifest_changed":
		return CheckFault
	}
	switch {
	case strings.HasPrefix(e.Code, "http_"):
		return DownloadFault
	case e.State == engine.RefusedEnd || e.State == engine.Cancelled:
		return OtherFault
	}
	return InstallFault
}
