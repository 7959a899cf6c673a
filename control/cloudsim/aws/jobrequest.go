package aws

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// reply is what the jobs service says to a request.
type reply struct {
	body    map[string]any // of …/accepted
	changed bool           // the thing
	ended   *job           // has ended by this
	refused *jobRefusal
}

func refuse(code, text string, state *job) reply {
	return reply{refused: &jobRefusal{code: code, text: text, state: state}}
}

// serveJobs answers one request. render makes of a document what is delivered.
// The thing is changed only if the reply says so.
func (t *thing) serveJobs(to topic, a jobAsk, now time.Time, render func(json.RawMessage) json.RawMessage) reply {
	shown := func(j *job, document bool) map[string]any {
		if !document {
			return j.detail(to.device, nil, now.Unix())
		}
		return j.detail(to.device, render(j.Document), now.Unix())
	}
	switch {
	case to.verb == "":
		return refuse("InvalidTopic", "no operation has this topic", nil)
	case to.verb == "get" && to.name == "":
		running, waiting := t.lists(maxJobs)
		return reply{body: map[string]any{"inProgressJobs": running, "queuedJobs": waiting}}
	case to.verb == "start-next":
		return t.startNext(a, now, shown)
	case to.name == "$next" && to.verb == "get":
		body := map[string]any{}
		if pending := t.pending(); len(pending) > 0 {
			body["execution"] = shown(pending[0], !a.without)
		}
		return reply{body: body}
	case !validJob.MatchString(to.name):
		return refuse("InvalidRequest", "jobId: want up to 64 letters, digits and _-", nil)
	}
	j := t.find(to.name, a.number)
	switch {
	case j == nil:
		return refuse("ResourceNotFound", "the thing has no such execution of job "+to.name, nil)
	case to.verb == "update":
		return t.updateJob(j, a, now, render)
	case j.Status.final():
		return refuse("TerminalStateReached", fmt.Sprintf("the execution of job %s is over: %s", j.ID, j.Status), nil)
	}
	return reply{body: map[string]any{"execution": shown(j, !a.without)}}
}

// startNext hands out the next execution, in progress from now on.
func (t *thing) startNext(a jobAsk, now time.Time, shown func(*job, bool) map[string]any) reply {
	pending := t.pending()
	if len(pending) == 0 {
		return reply{body: map[string]any{}}
	}
	j, changed := pending[0], false
	if j.Status == queued {
		j.set(inProgress, a.details, now.Unix())
		changed = true
	}
	if a.timeout != nil {
		j.step(a.timeout, now.Unix())
		changed = true
	}
	return reply{body: map[string]any{"execution": shown(j, true)}, changed: changed}
}

// updateJob takes what a device says of an execution.
func (t *thing) updateJob(j *job, a jobAsk, now time.Time, render func(json.RawMessage) json.RawMessage) reply {
	switch a.status {
	case inProgress, succeeded, failed, rejected:
	case "":
		return refuse("InvalidRequest", "status is missing", nil)
	default:
		return refuse("InvalidRequest", fmt.Sprintf("status %q: want IN_PROGRESS, SUCCEEDED, FAILED or REJECTED", clip(string(a.status), 32)), nil)
	}
	if j.Status.final() {
		r := refuse("InvalidStateTransition", fmt.Sprintf("an execution that is %s cannot become %s", j.Status, a.status), j)
		r.refused.repeated = j.Status == a.status
		return r
	}
	if a.expected != nil && *a.expected != j.Version {
		return refuse("VersionMismatch", fmt.Sprintf("expected version %d, it is %d", *a.expected, j.Version), j)
	}
	j.set(a.status, a.details, now.Unix())
	j.step(a.timeout, now.Unix())
	r := reply{body: map[string]any{}, changed: true}
	if j.Status.final() {
		r.ended = j
	}
	if a.withState {
		r.body["executionState"] = j.state()
	}
	if a.with {
		r.body["jobDocument"] = render(j.Document)
	}
	return r
}

// jobRequest takes a request about jobs. An error means that nothing is durable.
func (c *Cloud) jobRequest(t topic, m message) ([]message, error) {
	a, no := parseJobAsk(m.Payload)
	if c.sim.Throttled(t.device) {
		no = &jobRefusal{code: "RequestThrottled", text: "too many requests"}
	}
	if no != nil {
		return c.jobAnswer(t, m, a.token, reply{refused: no}), nil
	}
	var r reply
	told, err := c.changeJobs(t.device, func(kept *thing, rec *cloudsim.Record) (bool, []*job, error) {
		r = kept.serveJobs(t, a, c.sim.Now(), func(document json.RawMessage) json.RawMessage { return c.render(document) })
		switch {
		case r.ended != nil:
			return true, []*job{r.ended}, nil
		case r.refused != nil && r.refused.repeated: // it counts how often the end came
			return true, []*job{r.refused.state}, nil
		}
		return r.changed, nil, nil
	})
	if errors.Is(err, cloudsim.ErrTooMany) {
		r, err = refuse("RequestThrottled", err.Error(), nil), nil
	}
	if err != nil {
		return nil, err
	}
	return append(c.jobAnswer(t, m, a.token, r), told...), nil
}

// jobAnswer is what the requester hears: on its connection if it is the device.
func (c *Cloud) jobAnswer(t topic, m message, token string, r reply) []message {
	below, body := "/accepted", r.body
	if no := r.refused; no != nil {
		c.refused(t.device, fmt.Sprintf("%s: %v", clip(t.text, 200), no))
		below, body = "/rejected", map[string]any{"code": no.code, "message": no.text}
		if no.state != nil {
			body["executionState"] = no.state.state()
		}
	}
	answer := c.answer(t.device, t.text+below, body, token)
	answer.Direct, answer.QoS = m.Device != "", m.QoS
	return []message{answer}
}

// changeJobs changes the jobs of a thing, after those that have run out of
// time. What change does is kept if it says that it did something; the jobs that it
// gives have ended. The messages tell the thing of what has come or gone.
func (c *Cloud) changeJobs(device string, change func(*thing, *cloudsim.Record) (bool, []*job, error)) (out []message, err error) {
	var ends []cloudsim.End
	err = c.sim.Book().Change(device, func(rec *cloudsim.Record) error {
		kept, err := thingOf(*rec)
		if err != nil {
			return err
		}
		before, now := kept.queue(), c.sim.Now()
		late := kept.expire(now)
		for _, j := range late {
			ends = append(ends, rec.End(j.end(), now))
		}
		changed, ended, err := change(&kept, rec)
		if err != nil {
			return err
		}
		for _, j := range ended {
			ends = append(ends, rec.End(j.end(), now))
		}
		c.arm(device, kept.deadline())
		if !changed && len(late) == 0 {
			return errSame
		}
		out = c.notices(device, &kept, before)
		return rec.Write(kept)
	})
	switch {
	case errors.Is(err, errSame):
		return nil, nil
	case err != nil:
		return nil, err
	}
	c.tell(device, ends)
	return out, nil
}

// notices are for a thing whose queue was another before.
func (c *Cloud) notices(device string, t *thing, before queue) (out []message) {
	after, prefix := t.queue(), "$aws/things/"+device+"/jobs/"
	if !slices.Equal(before.ids, after.ids) {
		lists := map[string]any{}
		running, waiting := t.lists(maxNotified)
		if len(running) > 0 {
			lists[string(inProgress)] = running
		}
		if len(waiting) > 0 {
			lists[string(queued)] = waiting
		}
		out = append(out, c.answer(device, prefix+"notify", map[string]any{"jobs": lists}, ""))
	}
	if before.next != after.next {
		execution := map[string]any{}
		if pending := t.pending(); len(pending) > 0 {
			execution = pending[0].detail(device, c.render(pending[0].Document), c.sim.Now().Unix())
		}
		out = append(out, c.answer(device, prefix+"notify-next", map[string]any{"execution": execution}, ""))
	}
	return out
}
