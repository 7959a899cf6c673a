package cloudsim

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxDevices = 10_000
	maxEnds    = 1000 // of a device; the oldest are forgotten
	maxReason  = 512  // bytes of the code and of the message of an end
)

// Device is what the cloud keeps of one device.
type Device struct {
	Shadow
	// Ends are the ends of jobs that the device reported, the oldest first.
	Ends []End `json:"ends,omitempty"`
}

// End is a report with a job and a result.
type End struct {
	Job      string    `json:"job"` // jobID, else softwareURL without its query
	Result   string    `json:"result"`
	Code     string    `json:"code,omitempty"`    // member code of error
	Message  string    `json:"message,omitempty"` // member message of error, or error itself if it is text
	Report   string    `json:"report,omitempty"`  // member report or reportID, else the client token
	Arrivals int       `json:"arrivals"`          // how often it came
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

// cloud keeps the devices, in memory and in a file.
type cloud struct {
	file string // "" for none
	now  func() time.Time
	tell func(Event)

	mu      sync.Mutex
	devices map[string]*Device
	changed chan struct{} // closed and replaced with each change
	pushes  int
}

func openCloud(folder string, now func() time.Time, tell func(Event)) (*cloud, error) {
	c := &cloud{now: now, tell: tell, devices: map[string]*Device{}, changed: make(chan struct{})}
	if folder == "" {
		return c, nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	c.file = filepath.Join(folder, "devices.json")
	data, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := decodeStrict(data, &c.devices); err != nil {
		return nil, fmt.Errorf("%w: %s: %w; remove it to begin anew", ErrState, c.file, err)
	}
	return c, nil
}

// replaceFile writes a file so that a kill leaves the old or the new content.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, errors.Join(err, os.Remove(f.Name())))
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return nil
}

// put makes a device durable and then visible. The lock is held.
func (c *cloud) put(name string, d *Device) error {
	old, had := c.devices[name]
	c.devices[name] = d
	if c.file != "" {
		data, err := json.Marshal(c.devices)
		if err == nil {
			err = replaceFile(c.file, data)
		}
		if err != nil {
			if delete(c.devices, name); had {
				c.devices[name] = old
			}
			return err
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
	return nil
}

// update takes what was published to update and gives the answers. An error
// means that nothing is durable.
func (c *cloud) update(prefix, name string, payload []byte) ([]message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := Device{}
	if d, ok := c.devices[name]; ok {
		old = *d
	} else if len(c.devices) >= maxDevices {
		return []message{c.rejected(prefix+"update", "", &refusal{429, "Too many devices"})}, nil
	}
	r, refused := parseRequest(payload, old.Shadow)
	if refused != nil {
		return []message{c.rejected(prefix+"update", r.ClientToken, refused)}, nil
	}
	next, state, refused := old.apply(r)
	if refused != nil {
		return []message{c.rejected(prefix+"update", r.ClientToken, refused)}, nil
	}
	d := &Device{Shadow: next, Ends: old.Ends}
	var end *End
	if reported, ok := state["reported"].(map[string]any); ok {
		d.Ends, end = c.ended(old.Ends, reported, r.ClientToken)
	}
	if err := c.put(name, d); err != nil {
		return nil, err
	}
	if _, ok := state["desired"]; ok {
		c.tell(desiredEvent(name, d))
	}
	if end != nil {
		c.tell(Event{Kind: EventReport, Client: name, Version: d.Version, End: *end})
	}
	out := []message{c.answer(prefix+"update/accepted", map[string]any{"state": state, "version": next.Version}, r.ClientToken)}
	return append(out, c.delta(prefix, d, r.ClientToken)...), nil
}

// textForm is what the first description of the pattern acknowledges with, a
// space between id and result or not.
var textForm = regexp.MustCompile(`^\s*jobID:\s*(\S+?)\s*(SUCCESS|FAILURE)\s*$`)

// parseRequest reads JSON, or the text form as the report that it stands for.
func parseRequest(payload []byte, now Shadow) (r request, refused *refusal) {
	if m := textForm.FindSubmatch(payload); m != nil {
		reported := map[string]any{"jobID": string(m[1]), "result": string(m[2])}
		if url, ok := now.Desired["softwareURL"]; ok && string(m[2]) == "SUCCESS" && now.Desired["jobID"] == string(m[1]) {
			reported["softwareURL"] = url
		}
		var err error
		if r.State.Reported, err = json.Marshal(reported); err != nil {
			return r, &refusal{400, "Payload contains invalid text"}
		}
		return r, nil
	}
	if err := json.Unmarshal(payload, &r); err != nil {
		return r, &refusal{400, "Payload contains invalid json"}
	}
	return r, nil
}

// ended notes a report that has a job and a result. The end is nil if it has not.
func (c *cloud) ended(ends []End, reported map[string]any, token string) ([]End, *End) {
	text := func(names ...string) string {
		for _, n := range names {
			if v, ok := reported[n].(string); ok && v != "" {
				return v
			}
		}
		return ""
	}
	e := End{Job: text("jobID"), Result: text("result"), Report: cmp.Or(text("report", "reportID"), token), Arrivals: 1, First: c.now().UTC()}
	e.Last = e.First
	if e.Job == "" { // such a job is known by its URL without the query
		e.Job, _, _ = strings.Cut(text("softwareURL"), "?")
	}
	if e.Job == "" || e.Result == "" {
		return ends, nil
	}
	e.Code, e.Message = reason(reported["error"])
	ends = slices.Clone(ends)
	for i, known := range ends {
		if known.Job == e.Job && known.Result == e.Result && known.Report == e.Report {
			ends[i].Arrivals++
			ends[i].Last = e.Last
			return ends, &ends[i]
		}
	}
	return append(ends[max(0, len(ends)+1-maxEnds):], e), &e
}

// reason is what a device says of a failure, in bounds: it is kept for each end.
func reason(failure any) (code, message string) {
	bounded := func(v any) string {
		text, _ := v.(string)
		return strings.ToValidUTF8(text[:min(len(text), maxReason)], "")
	}
	if object, ok := failure.(map[string]any); ok {
		return bounded(object["code"]), bounded(object["message"])
	}
	return "", bounded(failure)
}

// get answers the question for the whole shadow.
func (c *cloud) get(prefix, name string, payload []byte) []message {
	c.mu.Lock()
	defer c.mu.Unlock()
	var r request
	if len(payload) > 0 {
		if err := json.Unmarshal(payload, &r); err != nil {
			return []message{c.rejected(prefix+"get", "", &refusal{400, "Payload contains invalid json"})}
		}
	}
	d, ok := c.devices[name]
	if !ok {
		return []message{c.rejected(prefix+"get", r.ClientToken, &refusal{404, "No shadow exists with name: '" + name + "'"})}
	}
	state := map[string]any{}
	put := func(name string, doc map[string]any) {
		if len(doc) > 0 {
			state[name] = doc
		}
	}
	put("desired", d.Desired)
	put("reported", d.Reported)
	put("delta", difference(d.Desired, d.Reported))
	return []message{c.answer(prefix+"get/accepted", map[string]any{"state": state, "version": d.Version}, r.ClientToken)}
}

// again is the delta as it is now, if there is one.
func (c *cloud) again(prefix, name string) []message {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := c.devices[name]; ok {
		return c.delta(prefix, d, "")
	}
	return nil
}

func (c *cloud) delta(prefix string, d *Device, token string) []message {
	state := difference(d.Desired, d.Reported)
	if state == nil {
		return nil
	}
	return []message{c.answer(prefix+"update/delta", map[string]any{"state": state, "version": d.Version}, token)}
}

func (c *cloud) rejected(request, token string, why *refusal) message {
	return c.answer(request+"/rejected", map[string]any{"code": why.code, "message": why.text}, token)
}

func (c *cloud) answer(topic string, body map[string]any, token string) message {
	body["timestamp"] = c.now().Unix()
	if token != "" {
		body["clientToken"] = token
	}
	payload, err := json.Marshal(body)
	if err != nil {
		payload = []byte(`{"code":500,"message":"Internal service failure"}`)
	}
	return message{topic, payload}
}

// Push desires something of a device, as an application does, and gives the
// new version. A member that is nil is deleted. The device hears of it under
// both names of its topics. Errors wrap [ErrConfig] or [ErrState].
func (s *Sim) Push(device string, desired map[string]any) (version int64, err error) {
	if !validID(device) {
		return 0, fmt.Errorf("%w: %q is no device id", ErrConfig, device)
	}
	payload, err := json.Marshal(map[string]any{"state": map[string]any{"desired": desired}, "clientToken": s.cloud.token()})
	if err != nil {
		return 0, fmt.Errorf("%w: desired state: %w", ErrConfig, err)
	}
	names := prefixes(device)
	answers, err := s.cloud.update(names[0], device, payload)
	if err != nil {
		return 0, err
	}
	var first struct {
		Version int64  `json:"version"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(answers[0].payload, &first); err != nil || first.Message != "" {
		return 0, fmt.Errorf("%w: desired state: %s", ErrConfig, first.Message)
	}
	s.publish(answers)
	s.publish(s.cloud.again(names[1], device))
	return first.Version, nil
}

func (c *cloud) token() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pushes++
	return fmt.Sprintf("push-%d", c.pushes)
}

// Device is what the cloud knows of a device.
func (s *Sim) Device(name string) Device {
	d, _ := s.cloud.look(name)
	return d
}

// Devices are the names of all devices that the cloud keeps, sorted.
func (s *Sim) Devices() []string {
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	return slices.Sorted(maps.Keys(s.cloud.devices))
}

// look gives a device and what is closed when anything changes.
func (c *cloud) look(name string) (Device, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := c.devices[name]; ok {
		return *d, c.changed
	}
	return Device{}, c.changed
}

// Wait waits until a device is as ok wants it, or ctx ends.
func (s *Sim) Wait(ctx context.Context, name string, ok func(Device) bool) (Device, error) {
	for {
		d, changed := s.cloud.look(name)
		if ok(d) {
			return d, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return d, fmt.Errorf("wait for %s: %w", name, context.Cause(ctx))
		}
	}
}
