// Package tencent plays the firmware upgrade of Tencent Cloud IoT Hub, for one
// product, behind a [cloudsim.Sim].
//
// [New] makes the [Cloud] of a product from the secrets of its devices;
// [cloudsim.Start] opens it. What an operator of the vendor's console does is
// one order: push, which makes a task for a device.
//
//	push    Software with a version of 1 to 32 characters; a file of the
//	        simulator, or a URL with size and MD5. No Set members, no Delta.
//
// A device comes with the user name "{product}{device};{sdkappid};{connection};{expiry}"
// and the password "{hex};hmacsha1" or "{hex};hmacsha256", or with a
// certificate whose common name is {product}{device}; see [Cloud.Admit]. Two
// topics are open to it, and it is refused all others:
//
//	$ota/report/{product}/{device}  the device: report_version, report_progress
//	$ota/update/{product}/{device}  the cloud: report_version_rsp, update_firmware
//
// report_version is answered with report_version_rsp. If there is a task,
// update_firmware follows, after each report_version again and with a URL of
// that moment. A push is sent at once too, for a device that is there, and
// nothing is sent on subscribing. All the cloud's messages are QoS 0, so one that is
// lost comes after the next report_version. report_progress has no answer.
//
// A task ends with "done", with "fail", with a report of its version, or, as
// cancelled, when another push takes its place: the vendor has no message that
// cancels, so the device may carry the old one out all the same. The messages
// name no task. An end counts for the task that is open for that version, unless
// the device cannot know it yet and an earlier one for that version has ended:
// then it is that one's again. The first
// "fail" is the cause, and what some devices send after it is counted as the
// same report; a "done" after "fail", or the reverse, changes nothing and is
// noted. A version that has failed may be pushed again, as a new task.
//
// The vendor documents one number of report_version_rsp, 0. A version that it
// cannot take, and [cloudsim.FaultThrottled], are answered with -1 here and
// with words of our own. It has no word for a report_progress that is wrong;
// nor is there one here, but an event. What the vendor's console has besides
// (groups, automatic retries, time limits of tasks, the history of versions)
// is missing, and so are all its topics but the two.
//
// One of the vendor's SDKs takes no port in a URL: give the simulator a
// FilesURL without one for it.
package tencent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	device "github.com/updraft-ota/updraft/control/tencent"
)

// Config says whom the cloud knows.
type Config struct {
	// Accounts need the Product, and for each device the secret in base64, as
	// the console shows it, or "" for a device with a certificate. The host is
	// not used: no token names it.
	Accounts cloudsim.Accounts
}

// Cloud is the vendor's half for one product. It may be shared.
type Cloud struct {
	accounts cloudsim.Accounts
	sim      *cloudsim.Sim
}

var _ cloudsim.Cloud = (*Cloud)(nil)

// New checks names and secrets. Errors wrap [cloudsim.ErrConfig] and name all
// that is wrong, without a secret.
func New(c Config) (*Cloud, error) {
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(c.Accounts.Devices)) {
		if err := checkAccount(c.Accounts.Product, name, c.Accounts.Devices[name]); err != nil {
			wrong = append(wrong, fmt.Errorf("%w: device %.80q: %w", cloudsim.ErrConfig, name, err))
		}
	}
	if len(c.Accounts.Devices) == 0 {
		wrong = append(wrong, fmt.Errorf("%w: no devices; each needs a name and a secret in base64, or \"\" for a certificate", cloudsim.ErrConfig))
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return &Cloud{accounts: c.Accounts}, nil
}

// checkAccount asks the device's side for a password, which needs all of it.
func checkAccount(product, name, secret string) error {
	var key []byte
	if secret != "" {
		key = []byte(secret)
	}
	_, _, _, _, err := device.Connection(device.Config{Product: product, Device: name, Version: "0"}, key, time.Time{})
	return err
}

// Open makes a record for each device that has none, so that a push to all
// reaches those too that have never come.
func (c *Cloud) Open(sim *cloudsim.Sim) error {
	c.sim = sim
	for _, name := range slices.Sorted(maps.Keys(c.accounts.Devices)) {
		record, known := sim.Book().Look(name)
		if !known {
			if err := sim.Book().Change(name, func(r *cloudsim.Record) error { return r.Write(state{}) }); err != nil {
				return err
			}
		}
		var s state
		if err := record.Read(&s); err != nil {
			return fmt.Errorf("device %s: %w", name, err)
		}
	}
	return nil
}

func (c *Cloud) up() string              { return "$ota/report/" + c.accounts.Product + "/" }
func (c *Cloud) down(name string) string { return "$ota/update/" + c.accounts.Product + "/" + name }

func (c *Cloud) knows(name string) bool {
	_, ok := c.accounts.Devices[name]
	return ok
}

func (c *Cloud) note(name, text string) {
	c.sim.Tell(cloudsim.Event{Kind: cloudsim.EventNote, Client: name, Text: text})
}

func (c *Cloud) refuse(name string, err error) {
	c.sim.Tell(cloudsim.Event{Kind: cloudsim.EventRefused, Client: name, Text: err.Error()})
}

// Permit lets a device subscribe to its one topic, and publish to the other.
func (c *Cloud) Permit(name, filter string, publish bool) cloudsim.Permission {
	if publish && filter == c.up()+name || !publish && filter == c.down(name) {
		return cloudsim.Allowed
	}
	return cloudsim.Refused
}

// Subscribed gives nothing: the vendor waits for the version.
func (c *Cloud) Subscribed(string, string) []cloudsim.Message { return nil }

// Verbs are push alone.
func (c *Cloud) Verbs() []cloudsim.Verb { return []cloudsim.Verb{cloudsim.VerbPush} }

// Take takes a report. An application's names its device by the topic.
func (c *Cloud) Take(m cloudsim.Message) ([]cloudsim.Message, error) {
	name, own := strings.CutPrefix(m.Topic, c.up())
	if !own || !c.knows(name) {
		c.refuse(m.Device, fmt.Errorf("%w: %.200q is the topic of no device of product %s", errMessage, m.Topic, c.accounts.Product))
		return nil, nil
	}
	r, err := readReport(m.Payload)
	if err != nil {
		c.refuse(name, err)
	}
	switch {
	case r.Type == typeVersion && err != nil:
		return []cloudsim.Message{c.answer(name, r.Version, err)}, nil
	case r.Type == typeVersion && c.sim.Throttled(name):
		return []cloudsim.Message{c.answer(name, r.Version, errTooMany)}, nil
	case err != nil:
		return nil, nil
	}
	open, err := c.change(name, r.apply)
	switch {
	case errors.Is(err, errMessage):
		c.refuse(name, err)
		return nil, nil
	case err != nil || r.Type != typeVersion:
		return nil, err
	case open == nil:
		return []cloudsim.Message{c.answer(name, r.Version, nil)}, nil
	}
	address, err := c.sim.Address(open.Software)
	if err != nil {
		c.note(name, fmt.Sprintf("version %q is not pushed: %v", open.Software.Version, err))
		return []cloudsim.Message{c.answer(name, r.Version, nil)}, nil
	}
	return []cloudsim.Message{c.answer(name, r.Version, nil), c.offer(name, open.Software, address)}, nil
}

// change changes what is known of a device, tells people what came of it, and
// gives the task that is open then. Errors of change are given as they are.
func (c *Cloud) change(name string, change func(*state) (effect, error)) (open *task, err error) {
	var e effect
	err = c.sim.Book().Change(name, func(r *cloudsim.Record) (err error) {
		var s state
		if err := r.Read(&s); err != nil {
			return err
		}
		if e, err = change(&s); err != nil {
			return err
		}
		if e.end != nil {
			noted := r.End(*e.end, c.sim.Now())
			e.end = &noted
		}
		open = s.Task
		return r.Write(s)
	})
	switch {
	case err != nil:
		return nil, err
	case e.end != nil:
		c.sim.Tell(cloudsim.Event{Kind: cloudsim.EventReport, Client: name, Text: e.note, End: *e.end})
	case e.note != "":
		c.note(name, e.note)
	}
	return open, nil
}

// Order makes a task, in place of an open one. It is sent at once, and after
// each report_version until it ends.
func (c *Cloud) Order(_ context.Context, o cloudsim.Order) (cloudsim.Done, []cloudsim.Message, error) {
	if err := c.checkOrder(o); err != nil {
		return cloudsim.Done{}, nil, err
	}
	address, err := c.sim.Address(o.Software)
	if err != nil {
		return cloudsim.Done{}, nil, err
	}
	t := task{Job: o.Job, Software: o.Software, State: statePending, Sent: c.sim.Connected(o.Device)}
	if _, err := c.change(o.Device, t.begin); err != nil {
		return cloudsim.Done{}, nil, err
	}
	text := fmt.Sprintf("version %q waits for the device", o.Software.Version)
	if t.Sent {
		text = fmt.Sprintf("version %q is pushed", o.Software.Version)
	}
	// It is sent in any case: behind another broker nobody here sees who is connected.
	return cloudsim.Done{Job: o.Job, URL: address, Text: text}, []cloudsim.Message{c.offer(o.Device, o.Software, address)}, nil
}

func (c *Cloud) checkOrder(o cloudsim.Order) error {
	s := o.Software
	var why string
	switch {
	case o.Verb != cloudsim.VerbPush:
		why = fmt.Sprintf("this cloud knows no %q (have %q)", o.Verb, c.Verbs())
	case !c.knows(o.Device):
		why = fmt.Sprintf("product %s has no device %.80q", c.accounts.Product, o.Device)
	case len(o.Set) > 0:
		why = fmt.Sprintf("this cloud has no further members, got %q", slices.Sorted(maps.Keys(o.Set)))
	case o.Delta != nil || o.Source != nil:
		why = "this cloud has no patches; push the whole file"
	case !isVersion(s.Version):
		why = fmt.Sprintf("version %.80q, expected 1 to %d characters", s.Version, maxVersion)
	case s.File == "" && s.URL == "":
		why = "no software, expected a file or a URL"
	case s.Size <= 0 || !isMD5(s.MD5):
		why = fmt.Sprintf("size %d and md5 %.80q, expected bytes above 0 and 32 hexadecimal digits in lower case", s.Size, s.MD5)
	default:
		return nil
	}
	return fmt.Errorf("%w: %s", cloudsim.ErrConfig, why)
}
