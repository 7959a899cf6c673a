package tencent

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// The cloud's codes of a failure.
const (
	codeTimeout  = -1 // the download did not come about in time
	codeMissing  = -2 // the file does not exist
	codeExpired  = -3 // the URL's signature has expired, or does not allow it
	codeMismatch = -4 // the file is not the promised one
	codeUpdate   = -5 // the update failed, or was refused
)

// report takes a terminal report from the outbox.
func (d *Dialect) report(in control.In, emit func(control.Out)) {
	r := in.Report
	version, attempt, ok := readID(r.Command)
	if r.ID == "" || !ok {
		logLine(emit, fmt.Sprintf("report %s is of no update of this cloud", redact(r.ID, 64)))
		return
	}
	j := d.find(version)
	if j == nil { // saved state was lost: the id of the command is enough to tell the cloud
		if d.untold() >= maxUntold {
			logLine(emit, fmt.Sprintf("report %s waits: the cloud does not know the ends of %d others", redact(r.ID, 64), maxUntold))
			return
		}
		j = &job{Version: version}
		d.jobs = append(d.jobs, j)
	}
	switch {
	case attempt < j.Attempt: // a later attempt has taken its place
		emit(control.Out{Kind: control.OutDelivered, Report: r.ID})
	case attempt == j.Attempt && j.Ending != nil && j.Ending.Report == r.ID && j.Stage == told:
		emit(control.Out{Kind: control.OutDelivered, Report: r.ID})
	case attempt == j.Attempt && j.Ending != nil && j.Ending.Report == r.ID:
		j.owed = true
	case attempt == j.Attempt && d.again(j, r, emit):
	default:
		j.Attempt, j.Ending, j.owed = attempt, conclude(r, j.Phase), true
		d.conclude(in, j, emit)
	}
}

// again begins the next attempt instead of telling the end of this one, and says whether.
func (d *Dialect) again(j *job, r engine.Report, emit func(control.Out)) bool {
	if j.Stage != running && j.Stage != asked {
		return false
	}
	url := j.Fresh
	switch {
	case j.joined && r.Ended.Before(j.begun) && !r.Ended.IsZero():
		// An attempt of long ago had the same number, which nobody here remembers.
		url = cmp.Or(j.Fresh, j.url)
	case r.State != engine.Succeeded && failureCode(r.Code, j.Phase) == codeExpired && url != "" && j.Renewed < maxRenewed:
		logLine(emit, fmt.Sprintf("version %s: the URL has expired: again with the one that was pushed since", j.Version))
		j.Renewed++
	default:
		return false
	}
	j.Attempt = j.Attempt%maxAttempt + 1
	j.Run, j.Phase, j.step, j.percent, j.joined, j.restored = "", 0, "", 0, false, false
	emit(control.Out{Kind: control.OutDelivered, Report: r.ID})
	d.command(j, j.message, url, emit)
	return true
}

// conclude makes an ending of an engine's report.
func conclude(r engine.Report, at phase) *ending {
	if r.State == engine.Succeeded {
		return &ending{Report: r.ID}
	}
	text := cmp.Or(r.Code, string(r.State))
	if r.Message != "" && r.Message != text {
		text += ": " + r.Message
	}
	return &ending{Report: r.ID, Code: failureCode(r.Code, at), Text: redact(text, maxMessage)}
}

// failureCode gives the cloud's code for one of the engine's.
func failureCode(code string, at phase) int {
	switch code {
	case "http_404", "http_410", "not_found":
		return codeMissing
	case "http_401", "http_403":
		return codeExpired
	case "digest", "signature", "size", "untrusted":
		return codeMismatch
	case "network", "slow", "protocol", "redirect":
		return codeTimeout
	case "timeout": // of whichever step it was
		if at < fetched {
			return codeTimeout
		}
		return codeUpdate
	}
	if strings.HasPrefix(code, "http_") {
		return codeTimeout
	}
	return codeUpdate
}

// conclude ends a job with what the engine has reported.
func (d *Dialect) conclude(in control.In, j *job, emit func(control.Out)) {
	if j.Ending.Code == 0 {
		d.version = j.Version
		if d.connected && j.Said == fetching { // progress may be lost on its way here
			d.sayProgress(in.Now, j, fetched, 100, emit)
		}
	}
	d.end(j)
	d.flush(in.Now, emit)
}

// published takes the broker's acknowledgement of an end.
func (d *Dialect) published(in control.In, emit func(control.Out)) {
	j := d.sending
	if in.Token == 0 || in.Token != d.sent || j == nil {
		return
	}
	d.sent, d.sending, j.Stage = 0, nil, told
	if j.owed {
		j.owed = false
		emit(control.Out{Kind: control.OutDelivered, Report: j.Ending.Report})
	}
	if d.ask || j.Ending.Code == 0 {
		d.ask, d.hello.owed = false, true
	}
	d.tidy()
	d.flush(in.Now, emit)
}
