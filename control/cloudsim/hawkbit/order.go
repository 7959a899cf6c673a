package hawkbit

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{cloudsim.ErrConfig}, args...)...)
}

func (c *Cloud) order(o cloudsim.Order) (cloudsim.Done, error) {
	if _, known := c.sim.Book().Look(o.Device); !known {
		return cloudsim.Done{}, wrong("there is no target %.80q, and none of this name has polled yet", o.Device)
	}
	if o.Delta != nil || o.Source != nil {
		return cloudsim.Done{}, wrong("hawkBit knows no deltas; expected software alone")
	}
	switch o.Verb {
	case cloudsim.VerbCancel:
		return c.cancel(o)
	case cloudsim.VerbRetry:
		return c.retry(o)
	}
	return c.push(o)
}

// push assigns software to a device.
func (c *Cloud) push(o cloudsim.Order) (cloudsim.Done, error) {
	p, err := readPlan(o.Set, c.sim.Now())
	if err != nil {
		return cloudsim.Done{}, err
	}
	if err := checkSoftware(o.Software); err != nil {
		return cloudsim.Done{}, err
	}
	return c.assign(o.Device, o.Job, action{plan: p, Software: o.Software})
}

// checkSoftware wants what hawkBit's artifacts and software modules have.
func checkSoftware(s cloudsim.Software) error {
	u, err := url.Parse(s.URL)
	switch {
	case s.Version == "" || len(s.Version) > 64:
		return wrong("version %.80q: a software module has a version of 1 to 64 letters", s.Version)
	case s.File != "":
		return nil
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil:
		return wrong("expected a file, or the http or https URL of one, without user and password")
	case path.Base(u.Path) == "/" || path.Base(u.Path) == ".":
		return wrong("the URL of the software names no file")
	}
	return nil
}

// assign makes an action of software. Actions that are active are cancelled
// for it; the device is asked first.
func (c *Cloud) assign(device, job string, a action) (cloudsim.Done, error) {
	var replaced []string
	err := c.sim.Book().Change(device, func(r *cloudsim.Record) error {
		t, err := readTarget(*r)
		if err != nil {
			return err
		}
		for i := range t.Actions {
			if old := &t.Actions[i]; old.active() && old.Status != canceling {
				old.Status = canceling
				replaced = append(replaced, old.job())
			}
		}
		if a.ID, err = c.number(&t, job); err != nil {
			return err
		}
		a.Status = running
		if a.Confirm && t.Auto == nil {
			a.Status = unconfirmed
		}
		if err := t.add(a); err != nil {
			return err
		}
		return r.Write(t)
	})
	if err != nil {
		return cloudsim.Done{}, err
	}
	text := "action " + a.job() + ", " + a.Type
	if len(replaced) > 0 {
		text += "; first the device is asked to cancel " + strings.Join(replaced, ", ")
	}
	done := cloudsim.Done{Job: a.job(), Text: text, URL: a.Software.URL}
	if a.Software.File != "" {
		base := c.sim.Endpoints().Face + "/" + url.PathEscape(c.tenant) + "/controller/v1/" + url.PathEscape(device)
		done.URL = a.artifacts(base, "")[0].Links["download-http"].Href
	}
	return done, nil
}

// number gives a new action its number: the one that the operator names, or
// the next of all devices.
func (c *Cloud) number(t *target, job string) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, err := strconv.ParseInt(job, 10, 64)
	if err != nil { // hawkBit numbers them itself
		c.last++
		return c.last, nil
	}
	if id < 1 || id > 1<<53 || t.find(id) != nil {
		return 0, wrong("job %q: expected a number of 1 to 2^53 that no action of this device has", job)
	}
	c.last = max(c.last, id)
	return id, nil
}

// cancel asks a device to stop an action, or ends one that it was asked to stop.
func (c *Cloud) cancel(o cloudsim.Order) (cloudsim.Done, error) {
	force, err := readForce(o.Set)
	if err != nil {
		return cloudsim.Done{}, err
	}
	var a action
	var end *cloudsim.End
	err = c.sim.Book().Change(o.Device, func(r *cloudsim.Record) error {
		t, err := readTarget(*r)
		if err != nil {
			return err
		}
		found, err := t.cancellable(o.Job, force)
		if err != nil {
			return err
		}
		found.Status = canceling
		if force {
			found.Status = canceled
			e := r.End(*found.end(canceled, feedback{details: []string{"quit by force, without the device"}}), c.sim.Now())
			end = &e
		}
		a = *found
		return r.Write(t)
	})
	if err != nil {
		return cloudsim.Done{}, err
	}
	if end != nil {
		c.sim.Tell(cloudsim.Event{Kind: cloudsim.EventReport, Client: o.Device, End: *end})
		return cloudsim.Done{Job: a.job(), Text: "action " + a.job() + " is quit by force"}, nil
	}
	return cloudsim.Done{Job: a.job(), Text: "the device is asked to cancel action " + a.job()}, nil
}

// cancellable finds the action that is meant, the newest one if nobody says which.
func (t *target) cancellable(job string, force bool) (*action, error) {
	for i := len(t.Actions) - 1; i >= 0; i-- {
		a := &t.Actions[i]
		if job != "" && job != a.job() || job == "" && (!a.active() || (a.Status == canceling) != force) {
			continue
		}
		switch {
		case !a.active():
			return nil, wrong("action %d has ended as %s and cannot be cancelled", a.ID, a.Status)
		case force && a.Status != canceling:
			return nil, wrong("action %d is not being cancelled; cancel it before it is quit by force", a.ID)
		case !force && a.Status == canceling:
			return nil, wrong("action %d is being cancelled already; force ends it", a.ID)
		}
		return a, nil
	}
	if job != "" {
		return nil, wrong("this device has no action %.40q", job)
	}
	return nil, wrong("no action of this device could be cancelled")
}

// retry assigns the software of an ended action once more.
func (c *Cloud) retry(o cloudsim.Order) (cloudsim.Done, error) {
	if len(o.Set) > 0 || o.Software != (cloudsim.Software{}) {
		return cloudsim.Done{}, wrong("a retry takes all from the action; push what is to be different")
	}
	record, _ := c.sim.Book().Look(o.Device)
	t, err := readTarget(record)
	if err != nil {
		return cloudsim.Done{}, err
	}
	for _, a := range slices.Backward(t.Actions) {
		switch {
		case o.Job != "" && o.Job != a.job():
		case a.active():
			return cloudsim.Done{}, wrong("action %d has not ended", a.ID)
		default:
			return c.assign(o.Device, "", action{plan: a.plan, Software: a.Software})
		}
	}
	return cloudsim.Done{}, wrong("this device has no such action to try again")
}
