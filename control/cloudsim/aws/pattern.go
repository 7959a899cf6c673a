package aws

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// shadowRequest takes a request to a shadow, and gives the answers. An error
// means that nothing is durable.
func (c *Cloud) shadowRequest(t topic, m message) (out []message, err error) {
	var refused *refusal
	token := ""
	switch r, no := parseRequest(m.Payload); {
	case c.sim.Throttled(t.device):
		refused, token = &refusal{429, "Too many requests"}, r.token
	case no != nil && !(t.family == familyPattern && textForm.Match(m.Payload)):
		refused, token = no, r.token
	case t.verb == "get":
		out, refused, err = c.get(t, r)
		token = r.token
	case t.verb == "delete":
		out, refused, err = c.delete(t, r)
		token = r.token
	default:
		out, refused, err = c.update(t, m.Payload, r)
		token = r.token
	}
	if errors.Is(err, cloudsim.ErrTooMany) {
		refused, err = &refusal{429, "Too many devices"}, nil
	}
	if refused != nil {
		if refused.code != 404 { // which a device hears before its first update
			c.refused(t.device, fmt.Sprintf("%s: %v", t.text, refused))
		}
		return []message{c.rejected(t, token, refused)}, nil
	}
	return out, err
}

// update takes what was published to update.
func (c *Cloud) update(t topic, payload []byte, r request) (out []message, refused *refusal, err error) {
	var end cloudsim.End
	var note string
	err = c.sim.Book().Change(t.device, func(rec *cloudsim.Record) error {
		kept, err := thingOf(*rec)
		if err != nil {
			return err
		}
		old := kept.shadowNamed(t.name)
		if text, ok := parseText(payload, old.Shadow); ok && t.family == familyPattern {
			r = text
		}
		u, no := old.apply(r, c.sim.Now().Unix())
		if no == nil && !kept.putShadow(t.name, u.next) {
			no = &refusal{429, fmt.Sprintf("a thing has at most %d named shadows here", maxNamed)}
		}
		if no != nil {
			refused = no
			return errSame
		}
		if err := rec.Write(kept); err != nil {
			return err
		}
		out = c.accepted(t, r.token, old, u)
		if reported, ok := u.state["reported"].(map[string]any); ok {
			end, note = c.concludes(rec, reported, r.token)
		}
		return nil
	})
	if errors.Is(err, errSame) {
		return nil, refused, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if end.Arrivals > 0 {
		c.tell(t.device, []cloudsim.End{end})
	}
	if note != "" {
		c.sim.Tell(cloudsim.Event{Kind: cloudsim.EventNote, Client: t.device, Text: note})
	}
	return out, nil, nil
}

// concludes notes the end that a report tells, if it tells one. The first
// result of a job is the one that counts.
func (c *Cloud) concludes(rec *cloudsim.Record, reported map[string]any, token string) (end cloudsim.End, note string) {
	e, ok := endOf(reported, token)
	if !ok {
		return end, ""
	}
	if id, _ := reported["jobID"].(string); id != "" { // a URL may be tried again
		i := slices.IndexFunc(rec.Ends, func(known cloudsim.End) bool { return known.Job == e.Job && known.Result != e.Result })
		if i >= 0 {
			return end, fmt.Sprintf("job %s ended as %s; that it is %s now changes nothing", clip(e.Job, 64), rec.Ends[i].Result, clip(e.Result, 64))
		}
	}
	return rec.End(e, c.sim.Now()), ""
}

// accepted are the messages that follow from an update.
func (c *Cloud) accepted(t topic, token string, old shadow, u update) []message {
	body := map[string]any{"state": u.state, "version": u.next.Version}
	if t.family == familyShadow {
		body["metadata"] = u.times
	}
	out := []message{c.answer(t.device, t.prefix+"update/accepted", body, token)}
	out = append(out, c.delta(t, u.next, token)...)
	if t.family == familyShadow {
		documents := map[string]any{"current": whole(u.next, false)}
		if old.exists() {
			documents["previous"] = whole(old, false)
		}
		out = append(out, c.answer(t.device, t.prefix+"update/documents", documents, token))
	}
	return out
}

// whole is a shadow as get and documents show it.
func whole(s shadow, delta bool) map[string]any {
	state, times := map[string]any{}, map[string]any{}
	put := func(name string, doc, at map[string]any) {
		if len(doc) > 0 {
			state[name], times[name] = doc, timesOf(at, doc)
		}
	}
	put("desired", s.Desired, s.Times.Desired)
	put("reported", s.Reported, s.Times.Reported)
	if d := difference(s.Desired, s.Reported); delta && d != nil {
		state["delta"] = d
	}
	return map[string]any{"state": state, "metadata": times, "version": s.Version}
}

// missing is the answer where there is no shadow.
func missing(t topic) *refusal {
	name := t.name
	if name == "" {
		name = t.device
	}
	return &refusal{404, "No shadow exists with name: '" + name + "'"}
}

// get answers the question for the whole shadow.
func (c *Cloud) get(t topic, r request) ([]message, *refusal, error) {
	kept, err := c.look(t.device)
	if err != nil {
		return nil, nil, err
	}
	s := kept.shadowNamed(t.name)
	if !s.exists() {
		return nil, missing(t), nil
	}
	body := whole(s, true)
	if t.family == familyPattern {
		delete(body, "metadata")
	}
	return []message{c.answer(t.device, t.prefix+"get/accepted", body, r.token)}, nil, nil
}

// delete deletes all of a shadow but its version.
func (c *Cloud) delete(t topic, r request) (out []message, refused *refusal, err error) {
	err = c.sim.Book().Change(t.device, func(rec *cloudsim.Record) error {
		kept, err := thingOf(*rec)
		if err != nil {
			return err
		}
		s := kept.shadowNamed(t.name)
		switch {
		case !s.exists():
			refused = missing(t)
			return errSame
		case r.version != nil && *r.version != s.Version:
			refused = &refusal{409, "Version conflict"}
			return errSame
		}
		kept.putShadow(t.name, shadow{Shadow: Shadow{Version: s.Version}, Deleted: true})
		out = []message{c.answer(t.device, t.prefix+"delete/accepted", map[string]any{"version": s.Version}, r.token)}
		return rec.Write(kept)
	})
	if errors.Is(err, errSame) {
		err = nil
	}
	return out, refused, err
}

// delta is what is desired and not reported, if anything.
func (c *Cloud) delta(t topic, s shadow, token string) []message {
	state := difference(s.Desired, s.Reported)
	if state == nil || s.Deleted {
		return nil
	}
	body := map[string]any{"state": state, "version": s.Version}
	if t.family == familyShadow {
		body["metadata"] = timesOf(s.Times.Desired, state)
	}
	return []message{c.answer(t.device, t.prefix+"update/delta", body, token)}
}

// Subscribed shows a device that comes back the deltas that it may have missed.
func (c *Cloud) Subscribed(device, filter string) (out []message) {
	kept, err := c.look(device)
	if err != nil {
		return nil // the file that it came from was whole
	}
	for _, t := range shadowTopics(device, kept.shadowNames()...) {
		if matches(filter, t.prefix+"update/delta") {
			out = append(out, c.delta(t, kept.shadowNamed(t.name), "")...)
		}
	}
	return out
}

// shadowTopics are the names of a device's shadows: two of the classic one, and
// the named.
func shadowTopics(device string, named ...string) []topic {
	out := []topic{{device: device, family: familyPattern, prefix: "state/" + device + "/"}, {device: device, family: familyShadow, prefix: shadowPrefix(device, "")}}
	for _, name := range named {
		out = append(out, topic{device: device, family: familyShadow, prefix: shadowPrefix(device, name), name: name})
	}
	return out
}

func (c *Cloud) rejected(t topic, token string, why *refusal) message {
	return c.answer(t.device, t.text+"/rejected", map[string]any{"code": why.code, "message": why.text}, token)
}

func (c *Cloud) answer(device, topic string, body map[string]any, token string) message {
	body["timestamp"] = c.sim.Now().Unix()
	if token != "" {
		body["clientToken"] = token
	}
	payload, err := json.Marshal(body)
	if err != nil { // cannot be: it was made of JSON
		payload = []byte(`{"code":500,"message":"Internal service failure"}`)
	}
	return message{Device: device, Topic: topic, Payload: payload, QoS: 1}
}
