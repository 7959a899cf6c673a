package aws

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// Verbs are the orders that shadows and jobs have.
func (c *Cloud) Verbs() []cloudsim.Verb {
	return []cloudsim.Verb{cloudsim.VerbPush, cloudsim.VerbCancel, cloudsim.VerbRetry}
}

// Order desires software of a device, or gives it a job.
func (c *Cloud) Order(_ context.Context, o cloudsim.Order) (cloudsim.Done, []message, error) {
	if err := c.refuses(o.Device); err != nil {
		return cloudsim.Done{}, nil, fmt.Errorf("%w: %w", cloudsim.ErrConfig, err)
	}
	set := members{maps.Clone(o.Set), nil}
	via := set.text("via")
	if via == "" {
		if via = c.cfg.Via; o.Verb != cloudsim.VerbPush {
			via = viaJobs
		}
	}
	switch {
	case set.err != nil:
		return cloudsim.Done{}, nil, set.err
	case via != viaShadow && via != viaNamed && via != viaJobs:
		return cloudsim.Done{}, nil, fmt.Errorf("%w: via %q, expected shadow, named or jobs", cloudsim.ErrConfig, via)
	case via == viaJobs && o.Verb == cloudsim.VerbPush:
		return c.pushJob(o, &set)
	case via == viaJobs && o.Verb == cloudsim.VerbCancel:
		return c.cancelJob(o, &set)
	case via == viaJobs:
		return c.retryJob(o, &set)
	case o.Verb != cloudsim.VerbPush:
		return cloudsim.Done{}, nil, fmt.Errorf("%w: a shadow has no %s; push what is desired instead", cloudsim.ErrConfig, o.Verb)
	}
	name := set.text("shadow")
	switch {
	case set.err != nil:
		return cloudsim.Done{}, nil, set.err
	case via == viaNamed && !validShadow.MatchString(name):
		return cloudsim.Done{}, nil, fmt.Errorf("%w: shadow %q, expected a name of up to 64 letters, digits and $:_-", cloudsim.ErrConfig, name)
	case via == viaShadow && name != "":
		return cloudsim.Done{}, nil, fmt.Errorf("%w: shadow %q needs via named", cloudsim.ErrConfig, name)
	}
	return c.pushShadow(o, name, set.rest)
}

// pushJob gives a thing a job.
func (c *Cloud) pushJob(o cloudsim.Order, set *members) (done cloudsim.Done, out []message, err error) {
	from := &stream{Software: o.Software, Size: o.Software.Size, File: set.whole("file", 0, maxFile), LoseEach: set.whole("loseEach", 2, 1<<30)}
	if streamed := set.flag("stream", false); !streamed {
		if from.File != 0 || from.LoseEach != 0 {
			return done, nil, fmt.Errorf("%w: file and loseEach need stream true", cloudsim.ErrConfig)
		}
		from = nil
	}
	var document any = documentOf(o.Job, o.Software, from)
	own, ok := set.take("document")
	if ok {
		document = own
	}
	if err := set.done("via", "document", "stream", "file", "loseEach"); err != nil {
		return done, nil, err
	}
	switch {
	case !validJob.MatchString(o.Job):
		return done, nil, fmt.Errorf("%w: job %q, expected up to 64 letters, digits and _-", cloudsim.ErrConfig, o.Job)
	case !ok && o.Software.File == "" && o.Software.URL == "":
		return done, nil, fmt.Errorf("%w: the job has no software: a file, a URL or a document is missing", cloudsim.ErrConfig)
	case from != nil && o.Software.File == "":
		return done, nil, fmt.Errorf("%w: a stream needs a file of the simulator's folder", cloudsim.ErrConfig)
	}
	if from != nil {
		if size, ok := c.sizeOf(o.Software.File); ok {
			from.Size = size
		}
		if from.Size > maxStreamed {
			return done, nil, fmt.Errorf("%w: a stream has a file of at most %d bytes, %q has %d", cloudsim.ErrConfig, int64(maxStreamed), o.Software.File, from.Size)
		}
	}
	j := job{ID: o.Job, Number: 1, Version: 1, Status: queued, Queued: c.sim.Now().Unix(), Updated: c.sim.Now().Unix(), Stream: from}
	if j.Document, err = checkDocument(document); err != nil {
		return done, nil, err
	}
	out, err = c.changeJobs(o.Device, func(t *thing, _ *cloudsim.Record) (bool, []*job, error) {
		if t.find(o.Job, nil) != nil {
			return false, nil, fmt.Errorf("%w: there is a job %q already; retry it, or push another", cloudsim.ErrConfig, o.Job)
		}
		return true, nil, t.put(j)
	})
	if err != nil {
		return done, nil, full(err)
	}
	done = cloudsim.Done{Job: j.ID, Text: "QUEUED, execution 1"}
	if !ok && from == nil {
		done.URL, err = c.sim.Address(o.Software)
	}
	return done, out, err
}

func (t *thing) put(j job) error {
	if !t.add(j) {
		return fmt.Errorf("%w: %d jobs wait already", cloudsim.ErrConfig, maxJobs)
	}
	return nil
}

// cancelJob ends a job that is not over.
func (c *Cloud) cancelJob(o cloudsim.Order, set *members) (done cloudsim.Done, out []message, err error) {
	force := set.flag("force", true)
	if err := set.done("via", "force"); err != nil {
		return done, nil, err
	}
	out, err = c.changeJobs(o.Device, func(t *thing, _ *cloudsim.Record) (bool, []*job, error) {
		j, err := t.choose(o.Job, "QUEUED or IN_PROGRESS", func(s status) bool { return !s.final() })
		if err != nil {
			return false, nil, err
		}
		if j.Status == inProgress && !force {
			return false, nil, fmt.Errorf("%w: job %s is IN_PROGRESS, and force is false", cloudsim.ErrConfig, j.ID)
		}
		j.set(canceled, nil, c.sim.Now().Unix())
		done = cloudsim.Done{Job: j.ID, Text: fmt.Sprintf("CANCELED, execution %d", j.Number)}
		return true, []*job{j}, nil
	})
	return done, out, full(err)
}

// retryJob makes a new execution of a job that went wrong.
func (c *Cloud) retryJob(o cloudsim.Order, set *members) (done cloudsim.Done, out []message, err error) {
	if err := set.done("via"); err != nil {
		return done, nil, err
	}
	out, err = c.changeJobs(o.Device, func(t *thing, _ *cloudsim.Record) (bool, []*job, error) {
		old, err := t.choose(o.Job, "FAILED or TIMED_OUT", func(s status) bool { return s == failed || s == timedOut })
		if err != nil {
			return false, nil, err
		}
		j := job{ID: old.ID, Number: old.Number + 1, Version: 1, Status: queued, Queued: c.sim.Now().Unix(), Updated: c.sim.Now().Unix(),
			Document: old.Document, Stream: old.Stream}
		done = cloudsim.Done{Job: j.ID, Text: fmt.Sprintf("QUEUED, execution %d", j.Number)}
		return true, nil, t.put(j)
	})
	return done, out, full(err)
}

// choose gives the newest execution of a job, or of the newest job that fits.
func (t *thing) choose(id, want string, fits func(status) bool) (*job, error) {
	if id != "" {
		switch j := t.find(id, nil); {
		case j == nil:
			return nil, fmt.Errorf("%w: there is no job %q", cloudsim.ErrConfig, id)
		case !fits(j.Status):
			return nil, fmt.Errorf("%w: job %s is %s, expected %s", cloudsim.ErrConfig, id, j.Status, want)
		default:
			return j, nil
		}
	}
	for i := len(t.Jobs) - 1; i >= 0; i-- {
		if j := &t.Jobs[i]; fits(j.Status) && t.find(j.ID, nil) == j {
			return j, nil
		}
	}
	return nil, fmt.Errorf("%w: no job is %s", cloudsim.ErrConfig, want)
}

// members are those of an order, taken out one by one. Values may come as text.
type members struct {
	rest map[string]any
	err  error
}

func (m *members) take(name string) (any, bool) {
	v, ok := m.rest[name]
	delete(m.rest, name)
	return v, ok
}

func (m *members) wrong(name, want string) {
	if m.err == nil {
		m.err = fmt.Errorf("%w: %s: want %s", cloudsim.ErrConfig, name, want)
	}
}

func (m *members) text(name string) string {
	v, ok := m.take(name)
	text, isText := v.(string)
	if ok && !isText {
		m.wrong(name, "text")
	}
	return text
}

func (m *members) flag(name string, missing bool) bool {
	switch v, _ := m.take(name); v {
	case nil:
		return missing
	case true, "true":
		return true
	case false, "false":
		return false
	}
	m.wrong(name, "true or false")
	return false
}

func (m *members) whole(name string, least, most int64) int64 {
	v, ok := m.take(name)
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
	if err != nil || n < least || n > most {
		m.wrong(name, fmt.Sprintf("a number from %d to %d", least, most))
	}
	return n
}

// done refuses members that nobody has taken.
func (m *members) done(known ...string) error {
	if m.err == nil && len(m.rest) > 0 {
		m.err = fmt.Errorf("%w: unknown member %q (have %q)", cloudsim.ErrConfig, slices.Sorted(maps.Keys(m.rest))[0], known)
	}
	return m.err
}
