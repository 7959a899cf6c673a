package hub

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// last is the newest end of a device, and what reported it.
type last struct {
	Job    string       `json:"job"`
	Digest string       `json:"digest"` // of the patch
	End    cloudsim.End `json:"end"`
}

// report is what a patch says of an update. It names none.
type report struct {
	twin    bool             // it was desired; otherwise a method asked for it
	word    string           // the vendor's
	outcome cloudsim.Outcome // "" for a stage
	code    string
	message string
	// version is that of the update, "" if not said.
	version string
	// only says that an update of another version cannot be meant.
	only bool
}

// readSamples finds what the samples' devices report.
func (t *twin) readSamples(r *cloudsim.Record, a arrival, now time.Time) (events []cloudsim.Event) {
	for _, read := range []func(*twin, arrival) (report, bool){(*twin).readFlat, (*twin).readNested, (*twin).readFirmware} {
		if rep, ok := read(t, a); ok {
			events = append(events, t.heard(r, rep, a, now)...)
		}
	}
	return events
}

// readFlat reads the form of the Python sample, with the word failed that it lacks.
func (t *twin) readFlat(a arrival) (report, bool) {
	rep := report{word: text(a.patch["firmwareStatus"])}
	switch rep.word {
	case "":
		return rep, false
	case "completed":
		rep.outcome = cloudsim.Succeeded
	case "failed":
		rep.outcome = cloudsim.Failed
		rep.code, rep.message = problem(t.Reported.Values["error"])
	case "standBy":
		// A device says so when it starts, too. The end of an update comes after a stage of it, or
		// clears what an older one has left.
		begun := slices.ContainsFunc(t.Jobs, func(j job) bool { return j.Shape != shapeTwin && j.Begun })
		for _, value := range a.patch {
			begun = begun || value == nil
		}
		if !begun {
			return rep, false
		}
		rep.outcome = cloudsim.Cancelled
	}
	return rep, true
}

// readNested reads the form of the Node sample.
func (t *twin) readNested(a arrival) (report, bool) {
	outer, ok := a.patch["iothubDM"].(map[string]any)
	if !ok {
		return report{}, false
	}
	inner, there := outer["firmwareUpdate"]
	if there && inner == nil {
		return report{word: "cleared", outcome: cloudsim.Cancelled}, true
	}
	object, _ := inner.(map[string]any)
	rep := report{word: text(object["status"])}
	switch rep.word {
	case "":
		return rep, false
	case "applyComplete":
		rep.outcome = cloudsim.Succeeded
	case "downloadfailed", "downloadFailed", "applyFailed":
		rep.outcome = cloudsim.Failed
		whole, _ := t.Reported.Values["iothubDM"].(map[string]any)
		whole, _ = whole["firmwareUpdate"].(map[string]any)
		rep.code, rep.message = problem(whole["error"])
	}
	return rep, true
}

// readFirmware reads the form of the tutorial that desires firmware.
func (t *twin) readFirmware(a arrival) (report, bool) {
	said, _ := a.patch["firmware"].(map[string]any)
	whole, _ := t.Reported.Values["firmware"].(map[string]any)
	rep := report{twin: true, word: text(said["fwUpdateStatus"]), version: text(whole["pendingFwVersion"])}
	substatus := text(whole["fwUpdateSubstatus"])
	switch rep.word {
	case "":
		return rep, false
	case "error", "rolledback":
		rep.outcome, rep.message = cloudsim.Failed, substatus
	case "current":
		if rep.version != "" { // a newer one waits to be begun
			break
		}
		rep.version = text(whole["currentFwVersion"])
		_, ended := said["lastFwUpdateEndTime"]
		switch {
		case substatus == "cancelled" && ended:
			rep.outcome, rep.version = cloudsim.Cancelled, a.pending
		case ended || substatus == "already up to date":
			rep.outcome = cloudsim.Succeeded
		default: // at the start of the device: an end for what it says to run, no more
			rep.outcome, rep.only = cloudsim.Succeeded, true
		}
	}
	return rep, true
}

// problem reads the member error of a report.
func problem(v any) (code, message string) {
	object, _ := v.(map[string]any)
	return shown(text(object["code"])), shown(text(object["message"]))
}

// text gives "" for what is neither text nor a number.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case fmt.Stringer: // a number
		return v.String()
	}
	return ""
}

// heard draws the conclusions of a report.
func (t *twin) heard(r *cloudsim.Record, rep report, a arrival, now time.Time) []cloudsim.Event {
	at := t.meant(rep)
	if rep.outcome == "" {
		if at >= 0 {
			t.Jobs[at].Begun = true
		}
		return nil
	}
	sum := sha256.Sum256(a.payload)
	digest := hex.EncodeToString(sum[:8])
	if t.Last != nil && t.Last.Digest == digest && (a.fresh || at < 0) {
		return told(r.End(t.Last.End, now))
	}
	if at < 0 {
		if t.Last == nil || rep.only || t.Last.End.Result == rep.word {
			return nil
		}
		return []cloudsim.Event{{Kind: cloudsim.EventNote, Text: fmt.Sprintf("%s is reported after the end of %s, which stays %s", shown(rep.word), t.Last.Job, t.Last.End.Outcome)}}
	}
	return t.conclude(r, rep, at, digest, now)
}

// meant gives the update that a report is of, -1 for none.
func (t *twin) meant(rep report) int {
	oldest, newest, begun := -1, -1, -1
	for i, j := range t.Jobs {
		switch {
		case (j.Shape == shapeTwin) != rep.twin:
			continue
		case rep.twin && j.Version != "" && j.Version == rep.version:
			return i
		case rep.only || rep.twin && j.Version != "" && rep.version != "":
			continue
		}
		newest = i
		if j.Taken && oldest < 0 {
			oldest = i
		}
		if j.Begun {
			begun = i
		}
	}
	switch {
	case rep.outcome == "" && !rep.twin && newest >= 0: // a stage is that of the newest that was taken
		for i, j := range t.Jobs {
			if j.Shape != shapeTwin && j.Taken {
				newest = i
			}
		}
		return newest
	case begun >= 0:
		return begun
	case oldest >= 0:
		return oldest
	}
	return newest
}

// conclude ends an update. One that asked for the same while it ran ends with
// it; of those before it nothing will be heard any more.
func (t *twin) conclude(r *cloudsim.Record, rep report, at int, digest string, now time.Time) (events []cloudsim.Event) {
	main := t.Jobs[at]
	end := func(id string) cloudsim.End {
		return cloudsim.End{Job: id, Outcome: rep.outcome, Result: rep.word, Code: rep.code, Message: shown(rep.message)}
	}
	var stay []job
	for i, j := range t.Jobs {
		switch same := j.Link == main.Link && j.Version == main.Version; {
		case (j.Shape == shapeTwin) != rep.twin:
			stay = append(stay, j)
		case i == at, same && j.Taken:
			events = append(events, told(r.End(end(j.ID), now))...)
		case i < at:
			events = append(events, told(r.End(unknown(j), now))...)
		default:
			stay = append(stay, j)
		}
	}
	t.Jobs = stay
	t.Last = &last{Job: main.ID, Digest: digest, End: end(main.ID)}
	return events
}

func told(e cloudsim.End) []cloudsim.Event {
	return []cloudsim.Event{{Kind: cloudsim.EventReport, End: e}}
}
