// Package aws plays AWS IoT for package cloudsim: shadows, jobs and streams of
// each thing, and the plain topics of the shadow update pattern.
//
// [New] makes the cloud for [cloudsim.Start], [Start] both at once. A device
// connects with the name of its thing as the MQTT client id. If it shows a
// certificate, the common name must be that name; [Config.Certificate] refuses
// devices without one. User and password are not looked at. A device may
// use its own topics only; publishing elsewhere ends its connection, as does a
// message of more than 128 KB.
//
// # Shadows
//
// Below $aws/things/THING/shadow, and …/shadow/name/NAME for up to 32 named
// ones: get, update and delete, with accepted, rejected, delta and documents,
// metadata, optimistic versions that a deletion does not reset, client tokens, and
// the service's numbers and words of refusal. Answers need a subscription. The
// topics state/THING/update and …/get are a second name of the classic shadow,
// without metadata and documents, where the lines "jobID:J SUCCESS" and
// "jobID:JFAILURE" are taken too. Whoever subscribes to a delta is shown it if
// there is one, as a session that was kept would.
//
// A report with a jobID (or a softwareURL) and a result is an end. If a device
// says another result of the same jobID later, the shadow holds what it said, as the
// service's does, and the end of the job stays as it was; an event says so.
//
// # Jobs
//
// Below $aws/things/THING/jobs: get, start-next, JOB/get, $next/get and
// JOB/update, answered to the requester whether it has subscribed or not;
// notify with at most 15 jobs when one comes or goes, notify-next when another
// one is next. Nothing is shown again on a subscription: a device asks. A placeholder
// ${aws:iot:s3-presigned-url:https://s3.region.amazonaws.com/BUCKET/KEY} in
// a document becomes the URL of the file KEY below Config.Files of the
// simulator, with a query that is another one at each delivery. A step timer that runs
// out makes an execution TIMED_OUT. What is over stays as it is: each later update gets
// InvalidStateTransition with the state, and JOB/get gets TerminalStateReached.
// An end is that of one execution: its Report is the execution's number, its
// Message the statusDetails.
//
// # Streams
//
// Below $aws/things/THING/streams/STREAM: describe and get, in JSON and in CBOR, with
// blocks of 256 bytes to 128 KB at QoS 0, bitmaps, and at most 128 KB for
// each request. The faults of files and messages hold for blocks; the member loseEach of
// an order loses some. There are no streams but those of jobs.
//
// # Orders
//
// Push has the member via in [cloudsim.Order.Set]:
//
//	shadow  the classic shadow desires jobID, softwareURL, version, sha256, size,
//	        and all further members of Set. The default, unless Config.Via says jobs
//	named   the same in the shadow that the member shadow names
//	jobs    a job, with the members below
//
// and for jobs:
//
//	document     the job document, an object; made of the software if missing:
//	             {"url": PLACEHOLDER, "version": …, "sha256": …, "size": …}
//	stream       true: a stream of the job's id has the file, and the document made
//	             is {"stream": JOB, "file": 0, "version": …, "sha256": …, "size": …}
//	file         the number of the file in the stream, 0 to 255
//	loseEach     each so many blocks one is lost, from 2
//
// Cancel makes a job CANCELED, one in progress too unless the member force is false; retry makes a
// new execution of one that is FAILED or TIMED_OUT. Without a job id they mean the
// newest that fits. Shadows have neither; a further push replaces what is desired.
//
// What is not played: the service's own API, groups of things, job templates,
// rollouts, roles and policies, WebSockets. URLs carry no signature that anybody
// checks. At most 64 executions of a thing are kept, those that are over go first.
package aws

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// The ways of an order, of the member via.
const (
	viaShadow = "shadow"
	viaNamed  = "named"
	viaJobs   = "jobs"
)

// Config says what the cloud knows. The zero value lets in whoever has a name.
type Config struct {
	// Accounts are the things, if there are only some. Their secrets are "":
	// devices show certificates. Host and Product say nothing here.
	Accounts cloudsim.Accounts
	// Certificate refuses devices that show no certificate.
	Certificate bool
	// Via is the way of orders that name none: shadow, which is the default, or jobs.
	Via string
}

// Cloud is AWS IoT. Its methods may be called by any goroutine.
type Cloud struct {
	cfg    Config
	sim    *cloudsim.Sim
	pushes atomic.Int64
	timers timers

	mu   sync.Mutex
	sent map[string]int64 // blocks of streams that lose some, by thing and stream
}

// New makes it, for [cloudsim.Start]. Errors wrap [cloudsim.ErrConfig].
func New(cfg Config) (*Cloud, error) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Accounts.Devices)) {
		if !validThing(name) {
			return nil, fmt.Errorf("%w: %q is no name of a thing", cloudsim.ErrConfig, name)
		}
		if cfg.Accounts.Devices[name] != "" {
			return nil, fmt.Errorf("%w: the thing %q has a secret: things have none, they show a certificate", cloudsim.ErrConfig, name)
		}
	}
	switch cfg.Via {
	case "":
		cfg.Via = viaShadow
	case viaShadow, viaJobs:
	default:
		return nil, fmt.Errorf("%w: orders via %q, expected shadow or jobs", cloudsim.ErrConfig, cfg.Via)
	}
	return &Cloud{cfg: cfg, sent: map[string]int64{}, timers: timers{of: map[string]*time.Timer{}}}, nil
}

// Open is of [cloudsim.Cloud]. It makes a record for each thing of the
// accounts, so that an order for all reaches them.
func (c *Cloud) Open(s *cloudsim.Sim) error {
	c.sim = s
	for _, name := range slices.Sorted(maps.Keys(c.cfg.Accounts.Devices)) {
		if _, ok := s.Book().Look(name); ok {
			continue
		}
		if err := s.Book().Change(name, func(r *cloudsim.Record) error { return r.Write(thing{}) }); err != nil {
			return err
		}
	}
	for _, name := range s.Book().Devices() {
		r, _ := s.Book().Look(name)
		t, err := thingOf(r)
		if err != nil {
			return fmt.Errorf("record of %s: %w", name, err)
		}
		c.arm(name, t.deadline())
	}
	return nil
}

// Close stops the step timers, and waits for one that is at work. The
// simulator calls it when it is closed itself; a second call does nothing.
func (c *Cloud) Close() error {
	c.timers.stop()
	return nil
}

// Admit lets in whoever connects under a name of its own.
func (c *Cloud) Admit(who cloudsim.Caller) (device string, until time.Time, err error) {
	switch err := c.refuses(who.Client); {
	case err != nil:
		return "", until, fmt.Errorf("%w: %w", cloudsim.ErrRefused, err)
	case who.Certificate == nil && c.cfg.Certificate:
		return "", until, fmt.Errorf("%w: a client certificate is needed", cloudsim.ErrRefused)
	case !ownCertificate(who.Certificate, who.Client):
		return "", until, fmt.Errorf("%w: the certificate is of %q", cloudsim.ErrRefused, who.Certificate.Subject.CommonName)
	}
	return who.Client, until, nil
}

// refuses says why there is no such thing.
func (c *Cloud) refuses(name string) error {
	if !validThing(name) {
		return fmt.Errorf("%q is no name of a thing", name)
	}
	if _, known := c.cfg.Accounts.Devices[name]; !known && len(c.cfg.Accounts.Devices) > 0 {
		return fmt.Errorf("there is no thing %q", name)
	}
	return nil
}

// ownCertificate says whether a client's certificate, if there is one, names it.
func ownCertificate(shown *x509.Certificate, id string) bool {
	return shown == nil || shown.Subject.CommonName == id
}

func validThing(id string) bool {
	return id != "" && len(id) <= 128 && !strings.ContainsAny(id, "/+#\x00") && !strings.HasPrefix(id, "$")
}

// message is short for what is sent.
type message = cloudsim.Message

// maxPayload is what the service takes at once, in bytes.
const maxPayload = 128 << 10

// Take takes requests for shadows, jobs and streams.
func (c *Cloud) Take(m message) ([]message, error) {
	t, ok := parseTopic(m.Topic)
	if !ok || m.Device != "" && m.Device != t.device {
		return nil, nil
	}
	if err := c.refuses(t.device); err != nil { // an application wants something of it
		c.refused(t.device, fmt.Sprintf("%s: %v", clip(t.text, 200), err))
		return nil, nil
	}
	if len(m.Payload) > maxPayload {
		c.refused(t.device, fmt.Sprintf("%s: %d bytes, the limit is %d", clip(t.text, 200), len(m.Payload), maxPayload))
		if m.Device != "" { // an application is not of this cloud's making
			c.sim.Disconnect(m.Device)
		}
		return nil, nil
	}
	switch t.family {
	case familyJobs:
		return c.jobRequest(t, m)
	case familyStreams:
		return c.streamRequest(t, m)
	}
	return c.shadowRequest(t, m)
}

// refused tells people of a message that was refused.
func (c *Cloud) refused(device, why string) {
	c.sim.Tell(cloudsim.Event{Kind: cloudsim.EventRefused, Client: device, Text: why})
}

// tell tells people of ends.
func (c *Cloud) tell(device string, ends []cloudsim.End) {
	for _, e := range ends {
		c.sim.Tell(cloudsim.Event{Kind: cloudsim.EventReport, Client: device, End: e})
	}
}

// errSame leaves a record as it is.
var errSame = errors.New("nothing has changed")
