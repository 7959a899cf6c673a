package aliyun

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	platform "github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

// The topics of the OTA service, without key and name.
const (
	informPath   = "/ota/device/inform"
	upgradePath  = "/ota/device/upgrade"
	progressPath = "/ota/device/progress"
	getPath      = "/sys/thing/ota/firmware/get"
)

// OTA is the general OTA service. It may be used by any goroutine.
type OTA struct{ *door }

var _ cloudsim.Cloud = (*OTA)(nil)

// NewOTA makes the OTA service of the devices of one product. Errors wrap
// [cloudsim.ErrConfig] and name all that is wrong, without the secrets.
func NewOTA(c Config) (*OTA, error) {
	d, err := newDoor(c)
	if err != nil {
		return nil, err
	}
	return &OTA{d}, nil
}

// change changes what is kept of a device. What is too late is ended before,
// whatever comes of the change.
func (o *OTA) change(name string, f func(*otaDoc, *news) error) error {
	err := change(o.door, name, func(d *otaDoc, n *news) error {
		if n.ends = d.expire(o.sim.Now()); len(n.ends) == 0 {
			return errSame
		}
		return nil
	})
	if err != nil {
		return err
	}
	return change(o.door, name, f)
}

// Take takes a version, a step, a question, or anything else that a device says.
func (o *OTA) Take(m cloudsim.Message) ([]cloudsim.Message, error) {
	name, path, err := o.take(m)
	var replies []cloudsim.Message
	if err == nil {
		switch path {
		case informPath:
			replies, err = o.informed(name, m.Payload)
		case progressPath:
			err = o.progressed(name, m.Payload)
		case getPath:
			replies, err = o.asked(name, m.Payload)
		default:
			replies = o.posted(name, path, m.Payload)
		}
	}
	if errors.Is(err, errMessage) || errors.Is(err, cloudsim.ErrTooMany) {
		o.refuse(cmp.Or(name, m.Device), err)
		err = nil
	}
	return replies, err
}

// module gives the module that params are of.
func module(params *platform.Object) string {
	if m := params.Word("module"); m != "" {
		return m
	}
	return defaultModule
}

func (o *OTA) informed(name string, payload []byte) ([]cloudsim.Message, error) {
	r, err := readRequest(payload)
	if err != nil {
		return nil, fmt.Errorf("inform: %w", err)
	}
	of, version := module(r.params), r.params.Word("version")
	if r.params.Err != nil || version == "" {
		return nil, fmt.Errorf("inform: %w: expected a version, and the module if it is not the default one: %w", errMessage, wrong(r.params, "version is missing"))
	}
	var show *task
	err = o.change(name, func(d *otaDoc, n *news) error {
		if _, known := d.Versions[of]; !known && len(d.Versions) >= maxModules {
			return fmt.Errorf("inform: %w: %d modules, the limit is %d", errMessage, len(d.Versions)+1, maxModules)
		}
		end, note := d.inform(of, version)
		if end != nil {
			n.ends = append(n.ends, *end)
		}
		if note != "" {
			n.notes = append(n.notes, note)
		}
		if t := d.current(of); t != nil && !t.Silent && d.offered(t) && !o.show(name, t.Job) {
			if t.Status == queued {
				t.Status = notified
			}
			show = t
		}
		return nil
	})
	if err != nil || show == nil {
		return nil, err
	}
	return o.offer(name, show), nil
}

func (o *OTA) progressed(name string, payload []byte) error {
	r, err := readRequest(payload)
	if err != nil {
		return fmt.Errorf("progress: %w", err)
	}
	of, desc := module(r.params), platform.Redact(r.params.Text("desc"), 300)
	step, bad := strconv.Atoi(r.params.Text("step"))
	if r.params.Err != nil || bad != nil || step < -4 || step > 100 {
		return fmt.Errorf("progress: %w: expected a step of -4 to 100: %w", errMessage, wrong(r.params, "step is none"))
	}
	return o.change(name, func(d *otaDoc, n *news) error {
		end, note := d.progress(of, step, desc, o.sim.Now())
		if note != "" {
			n.notes = append(n.notes, note)
			return errSame
		}
		if end != nil {
			n.ends = append(n.ends, *end)
		}
		return nil
	})
}

// wrong is what is wrong with an object, or the text if it only lacks something.
func wrong(o *platform.Object, text string) error {
	if o.Err != nil {
		return o.Err
	}
	return errors.New(text)
}

// asked answers what is pending.
func (o *OTA) asked(name string, payload []byte) ([]cloudsim.Message, error) {
	reply := func(id string, code int, data any) []cloudsim.Message {
		return []cloudsim.Message{o.message(name, "/sys/", "/thing/ota/firmware/get_reply", answer{ID: id, Code: code, Message: codeTexts[code], Data: data})}
	}
	r, err := readRequest(payload)
	of := ""
	if err == nil {
		if of = module(r.params); r.params.Err != nil {
			err = fmt.Errorf("%w: %w", errMessage, r.params.Err)
		}
	}
	switch {
	case err != nil && r.id == "":
		return nil, fmt.Errorf("get: %w", err)
	case err != nil:
		return reply(r.id, codeInvalid, struct{}{}), fmt.Errorf("get: %w", err)
	case r.id == "":
		return nil, fmt.Errorf("get: %w: id is missing, so that there is no answer", errMessage)
	case o.sim.Throttled(name):
		return reply(r.id, codeMany, struct{}{}), nil
	}
	var show *task
	err = o.change(name, func(d *otaDoc, n *news) error {
		show = d.current(of)
		if show == nil || !d.offered(show) {
			show = nil
			return errSame
		}
		o.show(name, show.Job)
		if show.Status == notified || show.Status == inProgress {
			return errSame
		}
		show.Status = notified
		return nil
	})
	if err != nil {
		return nil, err
	}
	if show == nil {
		return reply(r.id, codeDone, struct{}{}), nil
	}
	data, err := o.describe(show)
	if err != nil {
		o.note(name, "job %s cannot be shown: %v", show.Job, err)
		return reply(r.id, codeDone, struct{}{}), nil
	}
	return reply(r.id, codeDone, data), nil
}

// posted answers events, whatever they tell, and nothing else.
func (d *door) posted(name, path string, payload []byte) []cloudsim.Message {
	if !isEvent(path) {
		return nil
	}
	code := codeDone
	r, err := readRequest(payload)
	if err != nil {
		d.refuse(name, err)
		code = codeInvalid
	}
	return d.reply(name, path, r.id, code)
}

// Subscribed shows a device the tasks that it may have missed. One that has
// begun waits until the device has said which version it has come back with.
func (o *OTA) Subscribed(name, filter string) (out []cloudsim.Message) {
	if !matches(filter, platform.Device{ProductKey: o.product, Name: name}.Topic("/ota/device/upgrade/", "")) {
		return nil
	}
	var show []*task
	err := o.change(name, func(d *otaDoc, n *news) error {
		show = slices.DeleteFunc(slices.Clone(d.Tasks), func(t *task) bool { return t.Silent || t.Status == inProgress || !d.offered(t) })
		if len(show) == 0 {
			return errSame
		}
		for _, t := range show {
			t.Status = notified
			o.show(name, t.Job)
		}
		return nil
	})
	if err != nil {
		o.note(name, "nothing is shown: %v", err)
		return nil
	}
	for _, t := range show {
		out = append(out, o.offer(name, t)...)
	}
	return out
}
