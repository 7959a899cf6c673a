package hawkbit

import (
	"errors"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// register makes a device known.
func (c *Cloud) register(device string) error {
	if _, known := c.sim.Book().Look(device); known {
		return nil
	}
	return c.sim.Book().Change(device, func(r *cloudsim.Record) error {
		if len(r.Doc) > 0 { // somebody was quicker
			return nil
		}
		return r.Write(target{})
	})
}

// look reads a target. The answer is nil unless it cannot be read.
func (c *Cloud) look(q *request) (t target, out *answer) {
	record, known := c.sim.Book().Look(q.device)
	if !known {
		a := missing("Target", q.device)
		return t, &a
	}
	t, err := readTarget(record)
	if err != nil {
		a := c.broken(q, err)
		return t, &a
	}
	return t, nil
}

var errUnchanged = errors.New("nothing to write")

// change lets do change a target. What do changes is in its file before the
// answer is given; what it has changed is lost if the answer does not say so.
func (c *Cloud) change(q *request, do func(*target) answer) answer {
	var out answer
	err := c.sim.Book().Change(q.device, func(r *cloudsim.Record) error {
		if len(r.Doc) == 0 {
			out = missing("Target", q.device)
			return errUnchanged
		}
		t, err := readTarget(*r)
		if err != nil {
			return err
		}
		if out = do(&t); !out.changed {
			return errUnchanged
		}
		if out.end != nil {
			e := r.End(*out.end, c.sim.Now())
			out.end = &e
		}
		return r.Write(t)
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return c.broken(q, err)
	}
	if out.end != nil {
		c.sim.Tell(cloudsim.Event{Kind: cloudsim.EventReport, Client: q.device, End: *out.end})
	}
	if out.note != "" {
		c.sim.Tell(cloudsim.Event{Kind: cloudsim.EventNote, Client: q.device, Text: out.note})
	}
	return out
}
