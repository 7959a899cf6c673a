package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// maxJobs bounds the updates of a device that wait for an end.
const maxJobs = 16

// The shapes of a push.
const (
	shapeMethod = "method"
	shapeNode   = "node"
	shapeTwin   = "twin"
)

// job is an update that has no end yet.
type job struct {
	ID      string `json:"id"`
	Shape   string `json:"shape"`
	Link    string `json:"link"`              // of what is to be installed
	Version string `json:"version,omitempty"` // of it, "" if nobody said
	Taken   bool   `json:"taken,omitempty"`   // the device has answered the call with 2xx, or it was desired
	Begun   bool   `json:"begun,omitempty"`   // it has reported a stage since
}

// settings are the members of Order.Set.
type settings struct {
	shape, method, check string
	patience             time.Duration
}

// Order does what an operator wants of one device.
func (h *Cloud) Order(ctx context.Context, o cloudsim.Order) (cloudsim.Done, []cloudsim.Message, error) {
	if _, known := h.keys[o.Device]; !known {
		return cloudsim.Done{}, nil, fmt.Errorf("%w: the hub has no device %.140q", cloudsim.ErrConfig, o.Device)
	}
	if h.c.Update {
		return h.orderUpdate(o)
	}
	set, err := readSettings(o)
	if err != nil {
		return cloudsim.Done{}, nil, err
	}
	address, err := h.address(o.Software)
	if err != nil {
		return cloudsim.Done{}, nil, err
	}
	done := cloudsim.Done{Job: o.Job, URL: address}
	if set.shape == shapeTwin {
		messages, err := h.desire(o, set, &done)
		return done, messages, err
	}
	messages, err := h.callFor(ctx, o, set, address, &done)
	return done, messages, err
}

var methodName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

func readSettings(o cloudsim.Order) (settings, error) {
	s := settings{shape: shapeMethod, method: "firmwareUpdate", patience: defaultResponse}
	known := []string{"check", "methodName", "responseTimeoutInSeconds", "shape"}
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(o.Set)) {
		text, _ := o.Set[name].(string)
		switch {
		case name == "shape" && slices.Contains([]string{shapeMethod, shapeNode, shapeTwin}, text):
			s.shape = text
		case name == "check" && slices.Contains([]string{"sha256", "md5", "none"}, text):
			s.check = text
		case name == "methodName" && methodName.MatchString(text):
			s.method = text
		case name == "responseTimeoutInSeconds":
			seconds, _ := number(o.Set[name])
			if s.patience = time.Duration(seconds) * time.Second; s.patience < minResponse || s.patience > maxResponse {
				wrong = append(wrong, fmt.Errorf("%w: responseTimeoutInSeconds, expected 5 to 300", cloudsim.ErrConfig))
			}
		case !slices.Contains(known, name):
			wrong = append(wrong, fmt.Errorf("%w: unknown member %.40q (have %q)", cloudsim.ErrConfig, name, known))
		default:
			wrong = append(wrong, fmt.Errorf("%w: %s %.40q (shape is method, node or twin; check is sha256, md5 or none)", cloudsim.ErrConfig, name, fmt.Sprint(o.Set[name])))
		}
	}
	if s.check == "" {
		s.check = map[bool]string{true: "sha256", false: "none"}[s.shape == shapeTwin]
	}
	return s, errors.Join(wrong...)
}

// number takes a whole number from JSON, from a program, or from text.
func number(v any) (int64, bool) {
	var n int64
	text := fmt.Sprint(v)
	_, err := fmt.Sscan(text, &n)
	return n, err == nil && fmt.Sprint(n) == text
}

// members says what is to be installed; the name of the URL differs.
func members(o cloudsim.Order, set settings, uri, address string) map[string]any {
	all := map[string]any{uri: address}
	if o.Software.Version != "" {
		all["fwVersion"] = o.Software.Version
	}
	if sum := map[string]string{"sha256": o.Software.SHA256, "md5": o.Software.MD5}[set.check]; sum != "" {
		all["fwPackageCheckValue"] = sum
	}
	return all
}

// add notes a job that waits for an end. The oldest gives way to it.
func (t *twin) add(r *cloudsim.Record, j job, now time.Time) error {
	used := func(id string) bool { return id == j.ID }
	if slices.ContainsFunc(t.Jobs, func(k job) bool { return used(k.ID) }) || slices.ContainsFunc(r.Ends, func(e cloudsim.End) bool { return used(e.Job) }) {
		return fmt.Errorf("%w: there was a job %.140q of this device before", cloudsim.ErrConfig, j.ID)
	}
	if len(t.Jobs) == maxJobs {
		r.End(unknown(t.Jobs[0]), now)
		t.Jobs = t.Jobs[1:]
	}
	t.Jobs = append(t.Jobs, j)
	return nil
}

// unknown is the end of a job of which nothing was heard any more.
func unknown(j job) cloudsim.End {
	return cloudsim.End{Job: j.ID, Outcome: cloudsim.TimedOut, Result: "unknown", Message: "the device reported a later update, or too many were pushed"}
}

// desire puts the update into the desired properties.
func (h *Cloud) desire(o cloudsim.Order, set settings, done *cloudsim.Done) ([]cloudsim.Message, error) {
	var patch map[string]any
	var version int64
	err := h.change(o.Device, func(r *cloudsim.Record, t *twin) error {
		want := members(o, set, "fwPackageURI", link(o.Software))
		old, _ := t.Desired.Values["firmware"].(map[string]any)
		patch = map[string]any{"firmware": differ(old, want)}
		version = t.Desired.Version + 1
		if err := t.Desired.apply(patch, h.sim.Now(), "desired"); err != nil {
			return fmt.Errorf("%w: %w", cloudsim.ErrConfig, err)
		}
		t.Version, t.Etag = t.Version+1, t.Etag+1
		return t.add(r, job{ID: o.Job, Shape: shapeTwin, Link: link(o.Software), Version: o.Software.Version, Taken: true}, h.sim.Now())
	})
	if err != nil {
		return nil, err
	}
	done.Text = fmt.Sprintf("desired, version %d of the twin", version)
	return h.tell(o.Device, patch, version), nil
}

// callFor asks for the update with a method call.
func (h *Cloud) callFor(ctx context.Context, o cloudsim.Order, set settings, address string, done *cloudsim.Done) ([]cloudsim.Message, error) {
	payload := marshal(members(o, set, "fwPackageUri", address))
	if set.shape == shapeNode {
		payload = marshal(string(payload))
	}
	if !h.online(o.Device) {
		if done.Text = errOffline.Error(); o.All {
			return nil, nil
		}
		return nil, fmt.Errorf("%w: %w", cloudsim.ErrConfig, errOffline)
	}
	err := h.change(o.Device, func(r *cloudsim.Record, t *twin) error {
		return t.add(r, job{ID: o.Job, Shape: set.shape, Link: link(o.Software), Version: o.Software.Version}, h.sim.Now())
	})
	if err != nil {
		return nil, err
	}
	if o.All {
		m, _ := h.begin(o.Device, o.Job, set.method, payload, set.patience)
		done.Text = "method " + set.method + " called"
		return []cloudsim.Message{m}, nil
	}
	r, err := h.invoke(ctx, o.Device, o.Job, set.method, payload, set.patience)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cloudsim.ErrConfig, err)
	}
	done.Text = fmt.Sprintf("method %s answered with %d %s", set.method, r.status, shown(string(r.payload)))
	return nil, nil
}

// settle notes what the device has answered to the call of a job.
func (h *Cloud) settle(device, id string, res result) error {
	var e cloudsim.End
	err := h.change(device, func(r *cloudsim.Record, t *twin) error {
		i := slices.IndexFunc(t.Jobs, func(j job) bool { return j.ID == id })
		if i < 0 {
			return nil
		}
		if res.status/100 == 2 {
			t.Jobs[i].Taken = true
			return nil
		}
		t.Jobs = slices.Delete(t.Jobs, i, i+1)
		e = r.End(cloudsim.End{Job: id, Outcome: cloudsim.Rejected, Result: fmt.Sprint(res.status), Code: fmt.Sprint(res.status), Message: reason(res.payload)}, h.sim.Now())
		return nil
	})
	if err == nil && e.Job != "" {
		h.sim.Tell(cloudsim.Event{Kind: cloudsim.EventReport, Client: device, End: e})
	}
	return err
}

// reason is the text in the answer to a call.
func reason(payload json.RawMessage) string {
	var said struct{ Response string }
	if json.Unmarshal(payload, &said) != nil || said.Response == "" {
		return shown(string(payload))
	}
	return shown(said.Response)
}
