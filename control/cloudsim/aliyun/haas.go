package aliyun

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	platform "github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

// The topics of the HaaS cloud, without key and name.
const (
	queryPath  = "/sys/thing/event/hli_event_upgrade_query/post"
	resultPath = "/sys/thing/event/hli_event/post"
	repliedTo  = "/sys/thing/service/" + service + "_reply"
)

const service = "hli_service_upgrade_push"

// HaaS is the app upgrade of the HaaS cloud. It may be used by any goroutine.
type HaaS struct{ *door }

var _ cloudsim.Cloud = (*HaaS)(nil)

// NewHaaS makes the app upgrade for the devices of one product. Errors wrap
// [cloudsim.ErrConfig] and name all that is wrong, without the secrets.
func NewHaaS(c Config) (*HaaS, error) {
	d, err := newDoor(c)
	if err != nil {
		return nil, err
	}
	return &HaaS{d}, nil
}

// Take takes a query, a result, the answer to a call, or anything else that a device says.
func (h *HaaS) Take(m cloudsim.Message) ([]cloudsim.Message, error) {
	name, path, err := h.take(m)
	if err != nil {
		h.refuse(cmp.Or(name, m.Device), err)
		return nil, nil
	}
	if path == repliedTo {
		if err := h.replied(name, m.Payload); err != nil {
			h.refuse(name, err)
		}
		return nil, nil
	}
	if path != queryPath && path != resultPath {
		return h.posted(name, path, m.Payload), nil
	}
	r, err := readRequest(m.Payload)
	if err == nil && r.id == "" {
		err = fmt.Errorf("%w: id is missing, so that there is no answer", errMessage)
	}
	var offer []cloudsim.Message
	switch {
	case err != nil:
	case path == resultPath:
		err = h.resulted(name, r.params)
	case h.sim.Throttled(name):
		return h.reply(name, path, r.id, codeMany), nil
	default:
		offer, err = h.queried(name, r.params)
	}
	code := codeDone
	if errors.Is(err, errMessage) || errors.Is(err, cloudsim.ErrTooMany) {
		h.refuse(name, err)
		code = codeInvalid
	} else if err != nil {
		return nil, err
	}
	return append(h.reply(name, path, r.id, code), offer...), nil
}

// queried takes which apps run, and gives the calls for those that are not the newest.
func (h *HaaS) queried(name string, params *platform.Object) ([]cloudsim.Message, error) {
	apps, err := readApps(params)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	var calls []call
	err = change(h.door, name, func(d *haasDoc, n *news) error {
		d.Firmware = platform.Redact(params.Text("firmwareVersion"), platform.MaxVersion)
		for _, a := range apps {
			if err := d.runs(a.id, a.version); err != nil {
				return err
			}
			if p := d.current(a.id); p != nil && p.Version == a.version {
				p.Result = byQuery
				n.ends = append(n.ends, p.end())
			}
		}
		calls = d.calls(h.sim.Now())
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h.offer(name, calls), nil
}

// resulted takes an app.result. Events of other kinds are let pass.
func (h *HaaS) resulted(name string, params *platform.Object) error {
	kind, event := params.Text("eventType"), params.Text("eventName")
	if params.Err == nil && (kind != "haas.upgrade" || event != "app.result") {
		return nil
	}
	code := params.Text("argInt")
	ext, err := readExt(params.Raw("ext"))
	switch {
	case params.Err != nil:
		err = params.Err
	case err != nil:
	case !slices.Contains([]string{"200", "404", "405"}, code):
		err = fmt.Errorf("argInt %q is none of 200, 404 and 405", platform.Redact(code, 20))
	}
	if err != nil {
		return fmt.Errorf("result: %w: %w", errMessage, err)
	}
	app, version := ext.Word("appId"), ext.Word("appNewVersion")
	if ext.Err != nil || app == "" || version == "" {
		return fmt.Errorf("result: %w: expected appId and appNewVersion in ext: %w", errMessage, wrong(ext, "one is missing"))
	}
	return change(h.door, name, func(d *haasDoc, n *news) error { return d.result(app, version, code, n) })
}

// readExt reads an object that is in a text, or stands there as it is.
func readExt(raw []byte) (*platform.Object, error) {
	if len(raw) > 0 && raw[0] == '"' {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return nil, errors.New("ext is no text")
		}
		raw = []byte(text)
	}
	return platform.Read(raw, "ext")
}

// replied notes the device's answer to a call.
func (h *HaaS) replied(name string, payload []byte) error {
	doc, err := platform.Read(payload, "answer")
	if err != nil {
		return fmt.Errorf("%w: %w", errMessage, err)
	}
	id, code := doc.ID("id"), doc.Number("code")
	if doc.Err != nil || code < 0 {
		return fmt.Errorf("answer: %w: %w", errMessage, wrong(doc, "code is missing"))
	}
	job := ""
	if r, ok := h.sim.Book().Look(name); ok {
		var d haasDoc
		if err := r.Read(&d); err != nil {
			return err
		}
		for _, p := range d.Pushes {
			if id != "" && strconv.FormatInt(p.Call, 10) == id {
				job = " for job " + p.Job
			}
		}
	}
	h.note(name, "answers %d to the call %q%s", code, id, job)
	return nil
}

// Subscribed gives nothing: a device that comes back asks.
func (h *HaaS) Subscribed(string, string) []cloudsim.Message { return nil }

// runningApp is one of a query.
type runningApp struct{ id, version string }

func readApps(params *platform.Object) (apps []runningApp, err error) {
	var list []json.RawMessage
	if raw := params.Raw("app"); raw != nil && json.Unmarshal(raw, &list) != nil {
		return nil, fmt.Errorf("%w: app is no list", errMessage)
	}
	if len(list) > maxApps {
		return nil, fmt.Errorf("%w: %d apps, the limit is %d", errMessage, len(list), maxApps)
	}
	for i, raw := range list {
		o, err := platform.Read(raw, fmt.Sprintf("app[%d]", i))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errMessage, err)
		}
		a := runningApp{o.Word("appId"), o.Word("version")}
		if o.Err != nil || a.id == "" || a.version == "" {
			return nil, fmt.Errorf("%w: app[%d]: %w", errMessage, i, wrong(o, "appId or version is missing"))
		}
		apps = append(apps, a)
	}
	params.Text("firmwareVersion")
	if params.Err != nil {
		return nil, fmt.Errorf("%w: %w", errMessage, params.Err)
	}
	return apps, nil
}
