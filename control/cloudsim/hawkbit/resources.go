package hawkbit

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strconv"
)

// base answers a poll. A device that is not known yet gets known.
func (c *Cloud) base(q *request) answer {
	if err := c.register(q.device); err != nil {
		return c.broken(q, err)
	}
	t, out := c.look(q)
	if out != nil {
		return *out
	}
	c.sim.Seen(q.device)
	return answer{status: http.StatusOK, body: t.poll(q.base, c.poll, c.sim.Now())}
}

// action finds the action in the path. The answer is nil if it is there.
func (c *Cloud) action(q *request) (*action, *answer) {
	id, err := q.id()
	if err != nil {
		out := c.refuse(q, err)
		return nil, &out
	}
	t, out := c.look(q)
	if out != nil {
		return nil, out
	}
	a := t.find(id)
	if a == nil {
		out := missing("Action", id)
		return nil, &out
	}
	return a, nil
}

// document describes an action.
func (c *Cloud) document(q *request, a *action, confirmation bool) answer {
	count := 0
	if text := q.http.URL.Query().Get("actionHistory"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return c.refuse(q, fmt.Errorf("%w: actionHistory is %.40q, expected a number", errBody, text))
		}
		count = int(n)
	}
	d := a.deployment(a.artifacts(q.base, c.address(a.Software)), c.sim.Now())
	doc := deploymentDocument{ID: a.job(), Deployment: d, History: a.history(count)}
	if confirmation {
		doc.Deployment, doc.Confirmation = nil, d
	}
	return answer{status: http.StatusOK, body: doc}
}

func (c *Cloud) deploymentBase(q *request) answer {
	a, out := c.action(q)
	switch {
	case out != nil:
		return *out
	case a.cancelled() || a.Status == unconfirmed:
		return answer{status: http.StatusNotFound}
	case a.Status == running:
		if out := c.retrieve(q, a.ID); out.status != 0 {
			return out
		}
	}
	return c.document(q, a, false)
}

// retrieve notes that a device has seen an action. The zero answer is that all is well.
func (c *Cloud) retrieve(q *request, id int64) answer {
	return c.change(q, func(t *target) answer {
		a := t.find(id)
		if a == nil || a.Status != running { // it was overtaken
			return answer{}
		}
		a.Status = retrieved
		return answer{changed: true}
	})
}

func (c *Cloud) installedBase(q *request) answer {
	a, out := c.action(q)
	switch {
	case out != nil:
		return *out
	case a.active() || a.cancelled():
		return answer{status: http.StatusNotFound}
	}
	return c.document(q, a, false)
}

func (c *Cloud) cancelAction(q *request) answer {
	a, out := c.action(q)
	switch {
	case out != nil:
		return *out
	case !a.cancelled():
		return answer{status: http.StatusNotFound}
	}
	return answer{status: http.StatusOK, body: map[string]any{"id": a.job(), "cancelAction": map[string]string{"stopId": a.job()}}}
}

func (c *Cloud) deploymentFeedback(q *request) answer { return c.feedback(q, (*target).report) }

func (c *Cloud) cancelFeedback(q *request) answer { return c.feedback(q, (*target).reportCancel) }

func (c *Cloud) feedback(q *request, take func(*target, int64, feedback) answer) answer {
	id, err := q.id()
	if err != nil {
		return c.refuse(q, err)
	}
	f, err := readFeedback(q.body)
	if err != nil {
		return c.refuse(q, err)
	}
	return c.change(q, func(t *target) answer { return take(t, id, f) })
}

// confirmations says whether confirmation is automatic, and what waits for one.
func (c *Cloud) confirmations(q *request) answer {
	if err := c.register(q.device); err != nil {
		return c.broken(q, err)
	}
	t, out := c.look(q)
	if out != nil {
		return *out
	}
	state, name := map[string]any{"active": false}, "activateAutoConfirm"
	if t.Auto != nil {
		state, name = map[string]any{"active": true, "activatedAt": t.Auto.Since}, "deactivateAutoConfirm"
		maps.Copy(state, optional(map[string]string{"initiator": t.Auto.Initiator, "remark": t.Auto.Remark}))
	}
	links := map[string]link{name: {q.base + "/confirmationBase/" + name}}
	if l, waits := t.poll(q.base, c.poll, c.sim.Now()).Links["confirmationBase"]; waits {
		links["confirmationBase"] = l
	}
	return answer{status: http.StatusOK, body: map[string]any{"autoConfirm": state, "_links": links}}
}

func optional(texts map[string]string) map[string]any {
	out := map[string]any{}
	for key, text := range texts {
		if text != "" {
			out[key] = text
		}
	}
	return out
}

func (c *Cloud) confirmationBase(q *request) answer {
	a, out := c.action(q)
	switch {
	case out != nil:
		return *out
	case a.Status != unconfirmed:
		return answer{status: http.StatusNotFound}
	}
	return c.document(q, a, true)
}

func (c *Cloud) confirmationFeedback(q *request) answer {
	id, err := q.id()
	if err != nil {
		return c.refuse(q, err)
	}
	var doc map[string]json.RawMessage
	if err := decode(q.body, &doc); err != nil {
		return c.refuse(q, err)
	}
	said, err := word(doc["confirmation"], "confirmed", "denied")
	if err != nil {
		return c.refuse(q, fmt.Errorf("confirmation: %w", err))
	}
	f := feedback{}
	if f.code, f.details, err = readDetails(doc); err != nil {
		return c.refuse(q, err)
	}
	return c.change(q, func(t *target) answer { return t.confirm(id, said == "confirmed", f) })
}

// confirm takes a yes or a no. What was denied goes on to wait.
func (t *target) confirm(id int64, yes bool, f feedback) answer {
	a := t.find(id)
	switch {
	case a == nil:
		return missing("Action", id)
	case !a.active():
		return answer{status: http.StatusGone}
	case a.Status != unconfirmed:
		return answer{status: http.StatusNotFound}
	case len(f.messages()) > maxPerEntry:
		return tooMany("messages in one report", maxPerEntry)
	case !yes && a.Reports >= maxReports:
		return tooMany("reports of an action", maxReports)
	}
	a.note(f.messages())
	if yes {
		a.Status = running
		return answer{status: http.StatusOK, changed: true, note: fmt.Sprintf("action %d is confirmed", id)}
	}
	a.Reports++
	return answer{status: http.StatusOK, changed: true, note: fmt.Sprintf("action %d is denied, and goes on to wait for a confirmation", id)}
}

// activate switches automatic confirmation on, which confirms what waits.
func (c *Cloud) activate(q *request) answer {
	var body struct{ Initiator, Remark string }
	if len(q.body) > 0 && json.Unmarshal(q.body, &body) != nil {
		return c.refuse(q, fmt.Errorf("%w: expected an object in JSON", errBody))
	}
	now := c.sim.Now().UnixMilli()
	return c.change(q, func(t *target) answer {
		if t.Auto != nil {
			return alreadyActive()
		}
		t.Auto = &auto{bounded(body.Initiator), bounded(body.Remark), now}
		for i := range t.Actions {
			if t.Actions[i].Status == unconfirmed {
				t.Actions[i].Status = running
			}
		}
		return answer{status: http.StatusOK, changed: true}
	})
}

func (c *Cloud) deactivate(q *request) answer {
	return c.change(q, func(t *target) answer {
		t.Auto = nil
		return answer{status: http.StatusOK, changed: true}
	})
}

// attribute is what hawkBit takes as a key or a value.
var attribute = regexp.MustCompile("^[a-zA-Z0-9_\\-!@#$%^&*()+=\\[\\]{}|;:'\",.<>/\\\\?\\s]{0,128}$")

const maxAttributes = 100

// configData takes attributes.
func (c *Cloud) configData(q *request) answer {
	var doc map[string]json.RawMessage
	var data map[string]*string
	err := decode(q.body, &doc)
	if err != nil {
		return c.refuse(q, err)
	}
	mode := "merge"
	if raw := doc["mode"]; !empty(raw) {
		if mode, err = word(raw, "merge", "replace", "remove"); err != nil {
			return c.refuse(q, fmt.Errorf("mode: %w", err))
		}
	}
	if raw := doc["data"]; empty(raw) || json.Unmarshal(raw, &data) != nil || data == nil {
		return c.refuse(q, fmt.Errorf("data: %w: expected an object of texts", errBody))
	}
	return c.change(q, func(t *target) answer { return t.attributes(mode, data) })
}

func (t *target) attributes(mode string, data map[string]*string) answer {
	for key, value := range data {
		if !attribute.MatchString(key) || value != nil && !attribute.MatchString(*value) {
			return badAttributes(fmt.Sprintf("attribute %.140q: expected up to 128 letters, digits and marks of ASCII", key))
		}
	}
	kept := maps.Clone(t.Attributes)
	if kept == nil || mode == "replace" {
		kept = map[string]string{}
	}
	for key, value := range data {
		if mode == "remove" || value == nil {
			delete(kept, key)
		} else {
			kept[key] = *value
		}
	}
	if len(kept) > maxAttributes {
		return tooMany("attributes", maxAttributes)
	}
	t.Attributes = kept
	t.Told = t.Told || mode != "remove"
	return answer{status: http.StatusOK, changed: true}
}
