package hawkbit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// hawkBit's quotas.
const (
	maxReports  = 1000 // of an action that are no end
	maxPerEntry = 50   // messages of a report
)

// feedback is what a device says about an action.
type feedback struct {
	execution string // closed, proceeding, canceled, scheduled, rejected, resumed, download, downloaded
	finished  string // success, failure, none
	code      string // a number, or ""
	details   []string
}

// errBody is a body that is not what the resource takes; wrap it.
var errBody = errors.New("not readable")

// readFeedback reads a body as hawkBit does: unknown members do not matter, the
// time is not used, and neither is progress.
func readFeedback(body []byte) (f feedback, err error) {
	var doc, stat, result map[string]json.RawMessage
	if err := decode(body, &doc); err != nil {
		return f, err
	}
	if err := decode(doc["status"], &stat); err != nil {
		return f, fmt.Errorf("status: %w", err)
	}
	if f.execution, err = word(stat["execution"], "closed", "proceeding", "canceled", "scheduled", "rejected", "resumed", "download", "downloaded"); err != nil {
		return f, fmt.Errorf("status.execution: %w", err)
	}
	if err := decode(stat["result"], &result); err != nil {
		return f, fmt.Errorf("status.result: %w", err)
	}
	if f.finished, err = word(result["finished"], "success", "failure", "none"); err != nil {
		return f, fmt.Errorf("status.result.finished: %w", err)
	}
	f.code, f.details, err = readDetails(stat)
	return f, err
}

// readDetails reads the code and the details that all feedback may have.
func readDetails(from map[string]json.RawMessage) (code string, details []string, err error) {
	if raw := from["code"]; !empty(raw) {
		code = strings.Trim(string(raw), `"`)
		if _, err := strconv.ParseInt(code, 10, 32); err != nil {
			return "", nil, fmt.Errorf("code: %w: expected a number", errBody)
		}
	}
	var list []any
	if raw := from["details"]; !empty(raw) {
		if json.Unmarshal(raw, &list) != nil {
			return "", nil, fmt.Errorf("details: %w: expected a list of texts", errBody)
		}
	}
	for _, entry := range list {
		switch entry.(type) {
		case string, float64, bool:
			details = append(details, fmt.Sprint(entry))
		case nil:
		default:
			return "", nil, fmt.Errorf("details: %w: expected a list of texts", errBody)
		}
	}
	return code, details, nil
}

func empty(raw json.RawMessage) bool { return len(raw) == 0 || bytes.Equal(raw, []byte("null")) }

// decode reads an object that has to be there.
func decode(raw json.RawMessage, to *map[string]json.RawMessage) error {
	if empty(raw) || json.Unmarshal(raw, to) != nil || *to == nil {
		return fmt.Errorf("%w: expected an object in JSON", errBody)
	}
	return nil
}

// word reads one of the words that are known.
func word(raw json.RawMessage, known ...string) (text string, err error) {
	if empty(raw) || json.Unmarshal(raw, &text) != nil || !slices.Contains(known, text) {
		return "", fmt.Errorf("%w: expected one of %q", errBody, known)
	}
	return text, nil
}

// bounded is a text of a device that is kept and shown.
func bounded(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text[:min(len(text), maxText)])
	return strings.ToValidUTF8(text, "")
}

// messages are what hawkBit keeps of it.
func (f feedback) messages() []string {
	if f.code == "" {
		return f.details
	}
	return append(slices.Clone(f.details), "Device reported status code: "+f.code)
}

// ends says which status an action of a type ends with, "" if it goes on.
func (f feedback) ends(kind string) status {
	switch {
	case f.execution == "closed" && f.finished == "failure":
		return failed
	case f.execution == "closed":
		return finished
	case f.execution == "downloaded" && kind == typeDownload:
		return downloaded
	}
	return ""
}

// end is an end with a status. The vendor's word is how its console shows it.
func (a *action) end(s status, f feedback) *cloudsim.End {
	e := &cloudsim.End{Job: a.job(), Result: strings.ToLower(string(s)), Outcome: cloudsim.Succeeded}
	if s == failed || s == canceled {
		e.Outcome = map[status]cloudsim.Outcome{failed: cloudsim.Failed, canceled: cloudsim.Cancelled}[s]
		e.Code, e.Message = f.code, bounded(strings.Join(f.details, "; "))
	}
	return e
}

// report takes feedback about a deployment.
func (t *target) report(id int64, f feedback) answer {
	a := t.find(id)
	switch {
	case a == nil:
		return missing("Action", id)
	case a.Status == unconfirmed:
		return answer{status: 404}
	case !a.active():
		return a.late(f)
	case len(f.messages()) > maxPerEntry:
		return tooMany("messages in one report", maxPerEntry)
	}
	s := f.ends(a.Type)
	if s == "" {
		return a.goesOn(f)
	}
	a.note(f.messages())
	a.Status = s
	if s != failed {
		t.Told = false // hawkBit asks again for the attributes then
	}
	if s == finished {
		t.Installed = a.ID
	}
	return answer{status: 200, changed: true, end: a.end(s, f)}
}

// goesOn notes a report that ends nothing.
func (a *action) goesOn(f feedback) answer {
	if a.Reports >= maxReports {
		return tooMany("reports of an action", maxReports)
	}
	a.Reports++
	a.note(f.messages())
	return answer{status: 200, changed: true}
}

// late answers what comes after the end of an action. The same end is counted
// once more, another one changes nothing.
func (a *action) late(f feedback) answer {
	out := answer{status: 410}
	switch s := f.ends(a.Type); s {
	case "":
	case a.Status:
		out.changed, out.end = true, a.end(s, f)
	default:
		out.note = fmt.Sprintf("action %d has ended as %s; %s/%s comes too late and changes nothing", a.ID, a.Status, f.execution, f.finished)
	}
	return out
}

// reportCancel takes the answer to a cancellation.
func (t *target) reportCancel(id int64, f feedback) answer {
	a := t.find(id)
	if a == nil {
		return missing("Action", id)
	}
	accepted := f.execution == "closed" && f.finished != "failure"
	switch {
	case !a.cancelled():
		return notCancelable(fmt.Sprintf("action %d is not being cancelled", id))
	case accepted:
		a.Status = canceled
		a.note(f.messages())
		return answer{status: 200, changed: true, end: a.end(canceled, f)}
	case a.Status == canceled:
		return answer{status: 200, note: fmt.Sprintf("action %d was cancelled; %s/%s comes too late and changes nothing", a.ID, f.execution, f.finished)}
	case len(f.messages()) > maxPerEntry:
		return tooMany("messages in one report", maxPerEntry)
	case f.execution == "closed" || f.execution == "rejected":
		a.Status = running
		a.note(f.messages())
		return answer{status: 200, changed: true, note: fmt.Sprintf("action %d goes on: the device does not cancel it", a.ID)}
	}
	return a.goesOn(f)
}
