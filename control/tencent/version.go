package tencent

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// Times between two reports of the version.
const (
	firstWait = 10 * time.Second // for the answer, then doubled; and between two of the same version
	lastWait  = 5 * time.Minute
)

// hello is what a connection knows about the report of the version.
type hello struct {
	owed    bool      // it is to be sent
	version string    // that was reported last, "" for none
	at      time.Time // when
	heard   bool      // the cloud has answered
	pushed  bool      // and has pushed something since
	attempt int       // without an answer
}

// sayVersion reports the version, and again until the cloud answers. The same
// version is not said twice within a moment: a cloud that answers it with a
// push of that very version must not be answered for ever.
func (d *Dialect) sayVersion(now time.Time, emit func(control.Out)) {
	h := &d.hello
	if h.version != d.version {
		h.attempt = 0
	} else if since := now.Sub(h.at); since >= 0 && since < firstWait {
		emit(control.Out{Kind: control.OutTimer, Token: timerVersion, After: firstWait - since})
		return
	}
	h.owed, h.heard, h.pushed, h.version, h.at = false, false, false, d.version, now
	for _, j := range d.jobs {
		j.late = false
	}
	h.attempt++
	emit(control.Out{Kind: control.OutPublish, Topic: d.up, QoS: 1, Payload: encodeVersion(d.version)})
	emit(control.Out{Kind: control.OutTimer, Token: timerVersion, After: d.wait(h.attempt)})
}

// wait gives the time until the next attempt. Those of different devices differ by up to a
// quarter, so that they do not all come at once.
func (d *Dialect) wait(attempt int) time.Duration {
	wait := lastWait
	if attempt <= 5 {
		wait = firstWait << (attempt - 1)
	}
	f := fnv.New32a()
	fmt.Fprintf(f, "%s %d", d.down, attempt)
	wait += wait / 1000 * time.Duration(f.Sum32()%251)
	return wait.Round(100 * time.Millisecond)
}

// answered takes a report_version_rsp.
func (d *Dialect) answered(a answer, emit func(control.Out)) {
	if a.code != 0 {
		logLine(emit, fmt.Sprintf("the cloud does not take version %s: result_code %d: %s", d.version, a.code, redact(a.text, 120)))
		return
	}
	d.hello.heard, d.hello.attempt = true, 0
}
