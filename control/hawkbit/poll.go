package hawkbit

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// what a request is for.
type what int

const (
	baseDocument what = iota
	configData
	cancelDocument
	confirmationDocument
	confirmationAnswer
	deploymentDocument
	feedback
)

// call is a request under way.
type call struct {
	token  uint64
	what   what
	action string // of the document that was asked for
	answer string // to a confirmation
	job    *job   // of feedback
	say    say    // feedback
}

// ask makes the next request, if none is under way: what the server is to hear
// first, then what there is to do, and when all is done the pause until the next poll.
func (d *Dialect) ask(emit func(control.Out)) {
	if !d.connected || d.call != nil || d.resting || d.tell(emit) {
		return
	}
	l := &d.links
	switch {
	case d.due:
		d.due, d.links = false, links{}
		d.get(baseDocument, d.base, "", maxAnswer, emit)
	case l.cancel != "":
		d.follow(cancelDocument, &l.cancel, "cancelAction", maxAnswer, emit)
	case l.config != "":
		address := l.config
		l.config = ""
		d.send(&call{what: configData}, http.MethodPut, address, marshal(d.attributes()), emit)
	case l.confirmation != "":
		d.confirmation(emit)
	case l.deployment != "":
		d.follow(deploymentDocument, &l.deployment, "deploymentBase", maxDeployment, emit)
	case !d.armed:
		d.armed = true
		emit(control.Out{Kind: control.OutTimer, Token: timerPoll, After: d.sleep})
	}
}

// follow asks for the document of a link, once.
func (d *Dialect) follow(w what, link *string, document string, limit int64, emit func(control.Out)) {
	address := *link
	*link = ""
	id, err := action(address, document)
	if err != nil {
		d.odd(fmt.Sprintf("%v: ignored", err), emit)
		d.ask(emit)
		return
	}
	d.get(w, address, id, limit, emit)
}

func (d *Dialect) get(w what, address, action string, limit int64, emit func(control.Out)) {
	d.call = &call{token: d.token(), what: w, action: action}
	emit(control.Out{Kind: control.OutRequest, Method: http.MethodGet, URL: address, Token: d.call.token, Max: limit,
		Header: map[string]string{"Accept": "application/hal+json, application/json"}})
}

func (d *Dialect) send(c *call, method, address string, body []byte, emit func(control.Out)) {
	c.token = d.token()
	d.call = c
	emit(control.Out{Kind: control.OutRequest, Method: method, URL: address, Token: c.token, Max: maxAnswer, Payload: body,
		Header: map[string]string{"Accept": "application/json", "Content-Type": "application/json"}})
}

// attributes are what the server may know of the device. It takes no empty ones.
func (d *Dialect) attributes() map[string]any {
	data := map[string]string{"agent": "updraft"}
	for key, value := range d.c.Attributes {
		data[key] = value
	}
	return map[string]any{"mode": "merge", "data": data}
}

// response takes the answer to the request under way. Others are of a
// connection that is gone.
func (d *Dialect) response(in control.In, emit func(control.Out)) {
	c := d.call
	if c == nil || in.Token != c.token {
		return
	}
	d.call = nil
	if why := c.trouble(in); why != "" {
		d.rest(c, in, why, emit)
		return
	}
	if d.complaint != "" {
		logf(emit, d.base+": answers again")
	}
	d.failures, d.complaint = 0, ""
	switch c.what {
	case baseDocument:
		d.polled(c, in, emit)
	case configData:
		if in.Status/100 != 2 {
			d.odd("the server does not take the attributes: "+reason(in), emit)
		}
	case cancelDocument:
		d.cancelled(c, in, emit)
	case confirmationDocument:
		d.confirm(c, in, emit)
	case confirmationAnswer:
		d.answered(c, in, emit)
	case deploymentDocument:
		d.deployment(c, in, emit)
	case feedback:
		d.heard(c, in, emit)
	}
	d.ask(emit)
}

// trouble says why the server is to be left alone for a while, if it is.
func (c *call) trouble(in control.In) string {
	switch s := in.Status; {
	case in.Err != "" || s == 0:
		return "no answer: " + redact(in.Err, 200)
	case s == http.StatusUnauthorized || s == http.StatusForbidden && c.what != feedback:
		return "the server refuses the device's token, or that kind of token for this tenant: " + reason(in)
	case s == http.StatusTooManyRequests && c.say.note == nil, s == http.StatusRequestTimeout, s >= 500, s/100 != 2 && s/100 != 4:
		return "the server answers " + reason(in)
	case c.what == baseDocument && s/100 != 2:
		return "the server does not know this tenant or device: " + reason(in)
	case c.what == baseDocument:
		if _, err := readDocument(in.Payload); err != nil {
			return err.Error()
		}
	}
	return ""
}

// rest gives up what is to be done now, and polls again after a pause.
func (d *Dialect) rest(c *call, in control.In, why string, emit func(control.Out)) {
	if c.job != nil && c.job.note == nil {
		c.job.note = c.say.note
	}
	if d.complaint != why {
		d.complaint = why
		logf(emit, d.base+": "+why)
	}
	wait := d.pause()
	d.failures++
	if n, err := strconv.Atoi(strings.TrimSpace(header(in, "Retry-After"))); err == nil && n > 0 {
		wait = max(wait, min(time.Duration(min(n, 1<<20))*time.Second, maxRetry))
	}
	d.links, d.armed, d.resting = links{}, true, true
	emit(control.Out{Kind: control.OutTimer, Token: timerPoll, After: wait})
}

// pause doubles with each failure. The times of different devices differ by up
// to a quarter, so that they do not all come at once.
func (d *Dialect) pause() time.Duration {
	wait := lastWait
	if d.failures < 5 {
		wait = firstWait << d.failures
	}
	h := fnv.New32a()
	fmt.Fprintf(h, "%s %d", d.c.Device, d.failures)
	wait += wait / 1000 * time.Duration(h.Sum32()%251)
	return wait.Round(100 * time.Millisecond)
}

// header finds a header however its name is spelt.
func header(in control.In, name string) string {
	for key, value := range in.Header {
		if strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

// reason gives a status, and what the server says about it.
func reason(in control.In) string {
	var doc struct{ ErrorCode, Message string }
	if len(in.Payload) > maxAnswer || json.Unmarshal(in.Payload, &doc) != nil {
		return strconv.Itoa(in.Status)
	}
	return strings.TrimSpace(strconv.Itoa(in.Status) + " " + redact(doc.ErrorCode+" "+doc.Message, 160))
}

// polled takes the base document.
func (d *Dialect) polled(_ *call, in control.In, emit func(control.Out)) {
	l, sleep, err := readBase(in.Payload, d.base)
	if err != nil {
		d.odd("base document: "+redact(strings.ReplaceAll(err.Error(), "\n", "; "), 300), emit)
	}
	if sleep > 0 {
		d.sleep = sleep
	}
	d.links, d.armed = l, false
	d.prune(l.action)
}

// deployment takes what an action asks for.
func (d *Dialect) deployment(c *call, in control.In, emit func(control.Out)) {
	if in.Status/100 != 2 {
		logf(emit, fmt.Sprintf("action %s is not there: %s", c.action, reason(in)))
		return
	}
	asks, err := readDeployment(in.Payload, "deployment", c.action, strings.HasPrefix(d.base, "https:"))
	if errors.Is(err, errForm) {
		d.odd(fmt.Sprintf("action %s: %v: ignored", c.action, err), emit)
		return
	}
	d.deploy(in, c.action, asks, err, emit)
}

// confirmation follows the link to what wants a confirmation. Without
// Config.Confirm somebody else gives it.
func (d *Dialect) confirmation(emit func(control.Out)) {
	address := d.links.confirmation
	if d.c.Confirm {
		d.follow(confirmationDocument, &d.links.confirmation, "confirmationBase", maxDeployment, emit)
		return
	}
	d.links.confirmation = ""
	if id, err := action(address, "confirmationBase"); err == nil && d.confirmed != id {
		d.confirmed = id
		logf(emit, fmt.Sprintf("action %s waits for a confirmation, which has to be given at the server", id))
	}
	d.ask(emit)
}

// confirm says yes to what this device could do, and no to what it cannot.
func (d *Dialect) confirm(c *call, in control.In, emit func(control.Out)) {
	if in.Status/100 != 2 {
		logf(emit, fmt.Sprintf("action %s is not there: %s", c.action, reason(in)))
		return
	}
	asks, err := readDeployment(in.Payload, "confirmation", c.action, strings.HasPrefix(d.base, "https:"))
	if errors.Is(err, errForm) {
		d.odd(fmt.Sprintf("action %s: %v: ignored", c.action, err), emit)
		return
	}
	if err == nil {
		_, err = d.c.inputs(asks)
	}
	answer, text := confirmed, "confirmed by the device's settings"
	if err != nil {
		answer, text = denied, redact(err.Error(), maxText)
	}
	if d.confirmed == c.action+answer { // it was heard; what was denied stays there
		return
	}
	d.send(&call{what: confirmationAnswer, action: c.action, answer: answer}, http.MethodPost, d.base+"/confirmationBase/"+c.action+"/feedback",
		marshal(map[string]any{"confirmation": answer, "details": []string{text}}), emit)
}

// answered takes the server's answer to a confirmation. What is confirmed can be
// done at once.
func (d *Dialect) answered(c *call, in control.In, emit func(control.Out)) {
	if in.Status/100 != 2 {
		d.odd(fmt.Sprintf("action %s: the server does not take the confirmation: %s", c.action, reason(in)), emit)
		return
	}
	logf(emit, fmt.Sprintf("action %s: %s", c.action, c.answer))
	d.confirmed, d.due = c.action+c.answer, c.answer == confirmed
}

// The answers to the question whether an action may be carried out.
const (
	confirmed = "confirmed"
	denied    = "denied"
)

// odd logs what each poll would bring again, once.
func (d *Dialect) odd(text string, emit func(control.Out)) {
	if d.oddities[text] {
		return
	}
	if len(d.oddities) >= maxOddities || d.oddities == nil {
		d.oddities = map[string]bool{}
	}
	d.oddities[text] = true
	logf(emit, text)
}
