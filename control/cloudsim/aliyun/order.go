package aliyun

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	platform "github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

// Verbs are what the platform's console has.
func (o *OTA) Verbs() []cloudsim.Verb { return cloudsim.Verbs() }

// Order makes a task, or changes one.
func (o *OTA) Order(_ context.Context, order cloudsim.Order) (done cloudsim.Done, out []cloudsim.Message, err error) {
	if err := o.checkOrder(order); err != nil {
		return done, nil, err
	}
	var t *task
	switch order.Verb {
	case cloudsim.VerbPush, cloudsim.VerbReplace:
		t, err = o.push(order)
	case cloudsim.VerbCancel:
		t, err = o.cancel(order)
	case cloudsim.VerbRetry:
		t, err = o.retry(order)
	default:
		err = fmt.Errorf("%w: unknown order %q", cloudsim.ErrConfig, order.Verb)
	}
	if err != nil {
		return left(order, err)
	}
	done = cloudsim.Done{Job: t.Job, Text: fmt.Sprintf("%s: module %s to %s", t.Status, t.Module, t.Version)}
	if t.Status == notified {
		o.show(order.Device, t.Job)
		out = o.offer(order.Device, t)
	}
	if address, err := o.sim.Address(t.Package); err == nil && t.open() {
		done.URL = address
	}
	return done, out, nil
}

// skipped is why a device gets nothing, although the order as such is right.
type skipped struct{ why string }

func (s skipped) Error() string { return s.why }

// left makes what is told of a device that gets nothing: among all of them it
// is skipped, alone it is an error.
func left(order cloudsim.Order, err error) (cloudsim.Done, []cloudsim.Message, error) {
	skip, ok := errors.AsType[skipped](err)
	switch {
	case ok && order.All:
		return cloudsim.Done{Text: "skipped: " + skip.why}, nil, nil
	case ok:
		return cloudsim.Done{}, nil, fmt.Errorf("%w: %w", cloudsim.ErrConfig, skip)
	}
	return cloudsim.Done{}, nil, err
}

// maxFiles is how many files a package may have.
const maxFiles = 20

// newTask makes a task of an order.
func newTask(o cloudsim.Order) (*task, error) {
	set, err := settings(o.Set, "digestsign", "extData", "files", "module", "needPush", "signMethod", "timeoutMinutes")
	if err != nil {
		return nil, err
	}
	t := &task{Job: o.Job, Status: queued, Module: module(set), Version: o.Software.Version, Package: o.Software,
		Method: cmp.Or(set.Text("signMethod"), "MD5"), Digest: set.Text("digestsign"), Extra: json.RawMessage(set.Raw("extData")),
		Silent: set.Raw("needPush") != nil && !set.Flag("needPush"), Minutes: max(0, set.Number("timeoutMinutes"))}
	switch {
	case set.Err != nil:
		return nil, fmt.Errorf("%w: set: %w", cloudsim.ErrConfig, set.Err)
	case t.Method != "MD5" && t.Method != "SHA256":
		return nil, fmt.Errorf("%w: signMethod %q, expected MD5 or SHA256", cloudsim.ErrConfig, t.Method)
	case set.Raw("timeoutMinutes") != nil && (t.Minutes < 1 || t.Minutes > 1440):
		return nil, fmt.Errorf("%w: timeoutMinutes is %d, expected 1 to 1440", cloudsim.ErrConfig, t.Minutes)
	case t.Extra != nil && t.Extra[0] != '{':
		return nil, fmt.Errorf("%w: extData is no object", cloudsim.ErrConfig)
	case platform.CheckWord(t.Version) != nil:
		return nil, fmt.Errorf("%w: version %w", cloudsim.ErrConfig, platform.CheckWord(t.Version))
	case (o.Delta == nil) != (o.Source == nil):
		return nil, fmt.Errorf("%w: a delta needs its source, and a source its delta", cloudsim.ErrConfig)
	}
	if o.Delta != nil {
		t.Package, t.Source = *o.Delta, o.Source.Version
		if t.Source != "" && platform.CheckWord(t.Source) != nil {
			return nil, fmt.Errorf("%w: version of the source %w", cloudsim.ErrConfig, platform.CheckWord(t.Source))
		}
	}
	if err := checkSoftware(t.Package, t.Method); err != nil {
		return nil, err
	}
	t.Files, err = moreFiles(set.Raw("files"), t.Method)
	return t, err
}

// moreFiles reads the member files of Set.
func moreFiles(raw []byte, method string) (files []cloudsim.Software, err error) {
	if raw == nil {
		return nil, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || len(list) >= maxFiles {
		return nil, fmt.Errorf("%w: files, expected a list of fewer than %d", cloudsim.ErrConfig, maxFiles)
	}
	for i, raw := range list {
		o, err := platform.Read(raw, fmt.Sprintf("files[%d]", i))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", cloudsim.ErrConfig, err)
		}
		f := cloudsim.Software{Version: o.Word("fileName"), URL: o.URL("fileUrl"), Size: o.Number("fileSize"), MD5: o.Hex("fileMd5", 32), SHA256: o.Hex("fileSha256", 64)}
		if o.Err != nil || f.Version == "" {
			return nil, fmt.Errorf("%w: files[%d]: %w", cloudsim.ErrConfig, i, wrong(o, "fileName is missing"))
		}
		if f.URL == "" {
			f.File = f.Version
		}
		if err := checkSoftware(f, method); err != nil {
			return nil, fmt.Errorf("files[%d]: %w", i, err)
		}
		files = append(files, f)
	}
	return files, nil
}

// push makes a task and shows it, if the device is there.
func (o *OTA) push(order cloudsim.Order) (*task, error) {
	t, err := newTask(order)
	if err != nil {
		return nil, err
	}
	if _, err := o.sim.Address(t.Package); err != nil {
		return nil, err
	}
	return t, o.change(order.Device, func(d *otaDoc, n *news) error {
		if order.Source != nil && t.Source == "" { // a file alone: it is what runs
			if t.Source = d.Versions[t.Module]; t.Source == "" {
				return skipped{fmt.Sprintf("a delta, but the device has not informed of a version of module %s", t.Module)}
			}
		}
		if err := d.place(t, order.Verb == cloudsim.VerbReplace, n); err != nil {
			return err
		}
		d.begin(t, o.sim.Connected(order.Device), o.sim.Now())
		d.add(t)
		return nil
	})
}

// begin makes a task one that is to be shown.
func (d *otaDoc) begin(t *task, there bool, now time.Time) {
	t.ID, t.From, t.Status = nextID(&d.Last, now), d.Versions[t.Module], queued
	if there && !t.Silent && d.offered(t) {
		t.Status = notified
	}
}

// place says whether a device can have a task besides those that it has.
func (d *otaDoc) place(t *task, replace bool, n *news) error {
	if slices.ContainsFunc(d.Tasks, func(known *task) bool { return known.Job == t.Job }) {
		return fmt.Errorf("%w: there is a job %s already", cloudsim.ErrConfig, t.Job)
	}
	runs := d.Versions[t.Module]
	if _, known := d.Versions[t.Module]; !known && len(d.Versions) >= maxModules {
		return fmt.Errorf("%w: %d modules, the limit is %d", cloudsim.ErrConfig, len(d.Versions)+1, maxModules)
	}
	if runs == t.Version {
		return skipped{fmt.Sprintf("module %s runs %s already", t.Module, t.Version)}
	}
	if t.Source != "" && t.Source != runs {
		return skipped{fmt.Sprintf("a delta from %s, but the device has informed of %q", t.Source, runs)}
	}
	now := d.current(t.Module)
	switch {
	case now == nil:
	case replace && now.Status != inProgress:
		now.Status = canceled
		n.ends = append(n.ends, now.end(cloudsim.Cancelled, "replaced by "+t.Job))
	default:
		return skipped{fmt.Sprintf("job %s is %s; a module has one task at a time", now.Job, now.Status)}
	}
	return nil
}

// pick finds the task that an order is about: its job, or the newest of its module.
func (d *otaDoc) pick(order cloudsim.Order) (*task, error) {
	set, err := settings(order.Set, "module")
	if err != nil {
		return nil, err
	}
	of := module(set)
	if set.Err != nil {
		return nil, fmt.Errorf("%w: set: %w", cloudsim.ErrConfig, set.Err)
	}
	if order.Job == "" {
		if t := d.newest(of); t != nil {
			return t, nil
		}
		return nil, skipped{fmt.Sprintf("module %s has no task", of)}
	}
	for _, t := range d.Tasks {
		if t.Job == order.Job {
			return t, nil
		}
	}
	return nil, skipped{fmt.Sprintf("there is no job %s", order.Job)}
}

// cancel ends a task in the cloud. The device is not told.
func (o *OTA) cancel(order cloudsim.Order) (t *task, err error) {
	err = o.change(order.Device, func(d *otaDoc, n *news) (err error) {
		if t, err = d.pick(order); err != nil {
			return err
		}
		if !t.open() {
			return skipped{fmt.Sprintf("job %s has ended as %s", t.Job, t.Status)}
		}
		t.Status = canceled
		n.ends = append(n.ends, t.end(cloudsim.Cancelled, "cancelled by an operator"))
		return nil
	})
	return t, err
}

// retry shows a task again that did not go well.
func (o *OTA) retry(order cloudsim.Order) (t *task, err error) {
	err = o.change(order.Device, func(d *otaDoc, _ *news) (err error) {
		if t, err = d.pick(order); err != nil {
			return err
		}
		switch now := d.current(t.Module); {
		case t.open() || t.Status == succeeded:
			return skipped{fmt.Sprintf("job %s is %s, expected FAILED or CANCELED", t.Job, t.Status)}
		case now != nil:
			return skipped{fmt.Sprintf("job %s is %s; a module has one task at a time", now.Job, now.Status)}
		case d.Versions[t.Module] == t.Version:
			return skipped{fmt.Sprintf("module %s runs %s already", t.Module, t.Version)}
		}
		t.Attempt++
		t.Began, t.Step, t.Desc, t.Code = time.Time{}, 0, "", ""
		d.begin(t, o.sim.Connected(order.Device), o.sim.Now())
		d.Tasks = append(slices.DeleteFunc(d.Tasks, func(known *task) bool { return known == t }), t)
		return nil
	})
	return t, err
}
