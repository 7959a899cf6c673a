package hub

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

// The actions of a workflow.
const (
	actionDeploy = 3
	actionCancel = 255
)

// timestamp is the form of times in device update.
const timestamp = "2006-01-02T15:04:05.0000000Z"

// component is where device update lives in a twin.
const component = "deviceUpdate"

// deployment is what a device is to have.
type deployment struct {
	// Service is the desired property without its workflow. URLs are links.
	Service map[string]any `json:"service"`
	// Pages are the manifests that are files, by name.
	Pages map[string]string `json:"pages,omitempty"`
	// Attempts are those without an end, the newest last. All but the newest are replaced.
	Attempts []attempt `json:"attempts,omitempty"`
	// Newest is the newest attempt, with or without an end.
	Newest attempt `json:"newest"`
	Action int     `json:"action"`
	// Since is the version of the desired side that asks for it.
	Since int64 `json:"since"`
	// Acked is the newest version that the device has acknowledged.
	Acked int64 `json:"acked,omitempty"`
}

// attempt is one doing of a deployment.
type attempt struct {
	ID     string            `json:"id"`
	Retry  string            `json:"retry,omitempty"` // retryTimestamp
	Update manifest.UpdateID `json:"update"`
}

// orderUpdate does what an operator wants of device update.
func (h *Cloud) orderUpdate(o cloudsim.Order) (cloudsim.Done, []cloudsim.Message, error) {
	if o.Verb == cloudsim.VerbPush || o.Verb == cloudsim.VerbReplace {
		return h.deploy(o)
	}
	if len(o.Set) > 0 {
		return cloudsim.Done{}, nil, fmt.Errorf("%w: %s has no members to set, there is %q", cloudsim.ErrConfig, o.Verb, slices.Sorted(maps.Keys(o.Set)))
	}
	done := cloudsim.Done{}
	messages, err := h.desireUpdate(o.Device, &done, func(r *cloudsim.Record, t *twin) (map[string]any, error) {
		d := t.Deployment
		switch {
		case d == nil || o.Job != "" && o.Job != d.Newest.ID:
			return nil, fmt.Errorf("%w: the device has no deployment %.140q", cloudsim.ErrConfig, o.Job)
		case o.Verb == cloudsim.VerbRetry:
			return d.retry(r, h.sim.Now()), nil
		case !slices.ContainsFunc(d.Attempts, d.Newest.same):
			return nil, fmt.Errorf("%w: deployment %s has ended", cloudsim.ErrConfig, d.Newest.ID)
		}
		d.Action = actionCancel
		return map[string]any{"workflow": d.workflow()}, nil
	})
	return done, messages, err
}

// deploy desires another update.
func (h *Cloud) deploy(o cloudsim.Order) (cloudsim.Done, []cloudsim.Message, error) {
	done := cloudsim.Done{Job: o.Job}
	if !validWorkflow(o.Job) {
		return done, nil, fmt.Errorf("%w: job %.140q, expected 1 to 128 letters, digits and ._:~=-", cloudsim.ErrConfig, o.Job)
	}
	address, err := h.address(o.Software)
	if err == nil {
		_, err = h.face()
	}
	if err != nil {
		return done, nil, err
	}
	done.URL = address
	t, err := h.look(o.Device)
	if err != nil {
		return done, nil, err
	}
	made, err := h.build(o, t.reportedCompatibility())
	if err != nil {
		return done, nil, err
	}
	messages, err := h.desireUpdate(o.Device, &done, func(r *cloudsim.Record, t *twin) (map[string]any, error) {
		d := cmp.Or(t.Deployment, &deployment{})
		used := slices.ContainsFunc(d.Attempts, func(a attempt) bool { return a.ID == o.Job }) ||
			slices.ContainsFunc(r.Ends, func(e cloudsim.End) bool { return e.Job == o.Job })
		if used {
			return nil, fmt.Errorf("%w: there was a deployment %.140q of this device before: retry it, or choose another id", cloudsim.ErrConfig, o.Job)
		}
		if o.Verb == cloudsim.VerbReplace && len(d.Attempts) == 0 {
			return nil, fmt.Errorf("%w: no deployment is under way that could be replaced: push", cloudsim.ErrConfig)
		}
		t.Deployment = &deployment{Service: made.service, Pages: made.pages, Attempts: d.Attempts, Action: actionDeploy, Acked: d.Acked}
		t.Deployment.add(r, attempt{ID: o.Job, Update: made.update}, h.sim.Now())
		return t.Deployment.whole(), nil
	})
	return done, messages, err
}

func validWorkflow(id string) bool {
	return id != "" && len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._:~=-", r)
	})
}

// add begins an attempt. The oldest that waits gives way to it.
func (d *deployment) add(r *cloudsim.Record, a attempt, now time.Time) {
	if len(d.Attempts) == maxJobs {
		r.End(d.Attempts[0].replaced(), now)
		d.Attempts = d.Attempts[1:]
	}
	d.Attempts = append(d.Attempts, a)
	d.Newest = a
}

// retry begins the newest attempt again and gives the desired property.
func (d *deployment) retry(r *cloudsim.Record, now time.Time) map[string]any {
	next := attempt{ID: d.Newest.ID, Update: d.Newest.Update, Retry: now.UTC().Format(timestamp)}
	if next.Retry == d.Newest.Retry { // the clock stands still
		next.Retry = strings.TrimSuffix(next.Retry, "Z") + "1Z"
	}
	d.Action = actionDeploy
	d.add(r, next, now)
	return d.whole()
}

func (d *deployment) workflow() map[string]any {
	workflow := map[string]any{"action": d.Action, "id": d.Newest.ID}
	if d.Newest.Retry != "" {
		workflow["retryTimestamp"] = d.Newest.Retry
	}
	return workflow
}

// whole is the desired property with its workflow.
func (d *deployment) whole() map[string]any {
	all := maps.Clone(d.Service)
	all["workflow"] = d.workflow()
	return all
}

func (a attempt) same(b attempt) bool { return a.ID == b.ID && a.Retry == b.Retry }

// replaced is the end of an attempt that another one came after.
func (a attempt) replaced() cloudsim.End {
	return cloudsim.End{Job: a.ID, Report: a.Retry, Outcome: cloudsim.Cancelled, Result: "replaced"}
}

// desireUpdate makes service the desired property, and tells the device.
func (h *Cloud) desireUpdate(device string, done *cloudsim.Done, service func(*cloudsim.Record, *twin) (map[string]any, error)) ([]cloudsim.Message, error) {
	var patch map[string]any
	var version int64
	err := h.change(device, func(r *cloudsim.Record, t *twin) error {
		want, err := service(r, t)
		if err != nil {
			return err
		}
		old, _ := t.Desired.Values[component].(map[string]any)
		patch = map[string]any{component: differ(old, map[string]any{"__t": "c", "service": want})}
		if err := t.Desired.apply(patch, h.sim.Now(), "desired"); err != nil {
			if errors.Is(err, errTwin) {
				err = fmt.Errorf("%w: %w: try it with detached", cloudsim.ErrConfig, err)
			}
			return err
		}
		version = t.Desired.Version
		t.Version, t.Etag = t.Version+1, t.Etag+1
		t.Deployment.Since = version
		done.Job = t.Deployment.Newest.ID
		return nil
	})
	if err != nil {
		return nil, err
	}
	done.Text = fmt.Sprintf("desired, version %d of the twin", version)
	return h.tell(device, patch, version), nil
}
