// Package aliyunota speaks the OTA language of Alibaba's IoT platform: the
// device says which version runs, the cloud names another, and the new version
// said by the device is the only word for success.
//
// [New] makes the [Dialect] of one device, from a [Config] and what the last
// one saved. It is a machine without sockets or clock; package control says
// what drives it, and control/aliyun how the device logs in. PK and DN are
// product key and device name:
//
//	/ota/device/inform/PK/DN                     the version of a module: {"id": "1", "params": {"version": "1.0.1", "module": "MCU"}}
//	/ota/device/upgrade/PK/DN                    to the device: {"code": "1000", "id": 1507707025, "data": {"version": "2.0.0", "url": "…", "size": 432945, …}}
//	/ota/device/progress/PK/DN                   {"id": "2", "params": {"step": "35", "desc": "image", "module": "MCU"}}
//	/sys/PK/DN/thing/ota/firmware/get            asks what is pending; the answer, on …/get_reply, has the data of an upgrade
//
// An upgrade becomes the command "update" with the inputs that [Inputs] lists, as
// far as the message has them. They are claims: the workflow checks what
// it fetches. The signature of the whole, digestsign, is handed through and not checked here.
//
// The same module, version, sizes and digests are the same job, whatever the
// URL, which changes between deliveries. A job is done once; an upgrade that
// names a finished one gets its end again. Only an upgrade with another id, after a
// failure was told, is a new attempt.
//
// On each connect the device says its versions and asks what is pending. While
// a job of a module is open, the version that is said stays the old one: a new version on
// trial is no success. A failure is told as progress with the step -1, -2
// (download), -3 (verification) or -4 (burning); busy is -1. The platform has no
// cancel: a cancelled job is told nothing, and the cloud's own time limit ends
// it. Ends go out at quality of service 1 and count as delivered once the broker
// has acknowledged them, since the platform answers none; progress goes at 0.
//
// A failure names neither task nor version: the platform takes it for whatever task it
// has then. So one that may have arrived, since it was sent, whatever became of the
// connection or the program, is not sent again blindly: the device says its version, asks what
// is pending, and sends it only if that is the same job. If it is another, or nothing, the
// platform knows the end or has given the task up, and the end counts as
// delivered. Until there is an answer the device asks again, later each time.
// A new version is told as often as it takes.
//
// What cannot be done here is a download over MQTT (dProtocol mqtt): it is answered with -2.
// What is malformed, too large, retained or meant for another device is
// refused with one log line and changes nothing.
package aliyunota

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/engine"
)

// The dialect's timers.
const (
	timerProgress = aliyun.FirstTimer + iota
	timerInform
)

// informWait is the least time between two informs of one module that nothing
// new caused: a cloud that answers each with an upgrade would be answered for ever.
const informWait = 30 * time.Second

// Dialect is the dialect of one device. It must not be shared.
type Dialect struct {
	c        Config
	versions map[string]string // by module: what runs, "" if not known
	jobs     *aliyun.Jobs
	informed map[string]time.Time
	owed     map[string]bool   // modules to inform of when the timer is due
	gets     map[string]string // module by id of the questions under way
	asked    uint32            // id of the newest
	ids      uint32
	notes    []string

	connected bool
	progress  progress
}

var (
	_ control.Dialect = (*Dialect)(nil)
	_ aliyun.Asker    = (*Dialect)(nil)
)

// New makes a dialect that goes on from save, which is what [Dialect.Save]
// gave, or nil at the first start. A save that cannot be read is said in a log
// line and given up: the engine knows the jobs that it has done. Errors wrap [ErrConfig].
func New(c Config, save []byte) (*Dialect, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	d := &Dialect{c: c, versions: map[string]string{}, informed: map[string]time.Time{}, owed: map[string]bool{}, gets: map[string]string{}}
	d.jobs = aliyun.NewJobs(d, c.Device)
	d.restore(save)
	return d, nil
}

// saved is what survives a restart.
type saved struct {
	Versions map[string]string `json:"versions,omitempty"`
	Jobs     json.RawMessage   `json:"jobs,omitempty"`
}

// Save gives what must survive a restart, as JSON: the versions that were
// proven, and the jobs that run or have ended. It holds no URL.
func (d *Dialect) Save() []byte {
	s := saved{Versions: map[string]string{}}
	for module, version := range d.versions {
		if version != "" {
			s.Versions[module] = version
		}
	}
	if jobs := d.jobs.Save(); jobs != nil {
		s.Jobs = aliyun.Marshal(jobs)
	}
	return aliyun.Marshal(s)
}

// restore takes the versions from where they are the truest: of a module with
// a job that runs, what was proven before it; otherwise what the device's facts say,
// what was saved, and what the configuration says of the first start, in this order.
func (d *Dialect) restore(save []byte) {
	var s saved
	if len(save) > 0 {
		err := json.Unmarshal(save, &s)
		if err == nil {
			err = d.jobs.Restore(s.Jobs)
		}
		if err != nil {
			d.notes = append(d.notes, fmt.Sprintf("%s: saved state cannot be read and is given up: %s", d.c.Device, aliyun.Redact(err.Error(), 100)))
			s = saved{}
		}
	}
	for module, first := range d.c.Versions {
		kept, fact := s.Versions[module], d.c.Running[module]
		if aliyun.CheckWord(kept) != nil {
			kept = ""
		}
		if kept != "" && (fact == "" || d.jobs.Open(module)) {
			fact = kept
		}
		if fact == "" {
			fact = first
		}
		d.versions[module] = fact
	}
}

// Step takes one input.
func (d *Dialect) Step(in control.In, emit func(control.Out)) {
	for _, text := range d.notes {
		aliyun.Log(emit, "%s", text)
	}
	d.notes = nil
	switch in.Kind {
	case control.InConnected:
		d.connected = true
		clear(d.gets)
		clear(d.informed)
		emit(control.Out{Kind: control.OutSubscribe, Topic: d.topic(upgrade), QoS: 1})
		emit(control.Out{Kind: control.OutSubscribe, Topic: d.topic(getReply), QoS: 1})
	case control.InLost:
		d.connected = false
	}
	d.jobs.Step(in, emit)
	switch in.Kind {
	case control.InConnected:
		d.hello(in.Now, emit)
	case control.InMessage:
		d.message(in, emit)
	case control.InEvent:
		d.event(in, emit)
	case control.InTick:
		d.tick(in, emit)
	}
}

// The topics, as prefix and suffix of product key and device name.
type path struct{ prefix, suffix string }

var (
	inform       = path{"/ota/device/inform/", ""}
	upgrade      = path{"/ota/device/upgrade/", ""}
	progressPath = path{"/ota/device/progress/", ""}
	get          = path{"/sys/", "/thing/ota/firmware/get"}
	getReply     = path{"/sys/", "/thing/ota/firmware/get_reply"}
)

func (d *Dialect) topic(p path) string { return d.c.Device.Topic(p.prefix, p.suffix) }

// id counts the messages of this device: text of a number up to 4294967295.
func (d *Dialect) id() string {
	d.ids++
	return strconv.FormatUint(uint64(d.ids), 10)
}

// hello says all versions and asks what is pending.
func (d *Dialect) hello(now time.Time, emit func(control.Out)) {
	under := slices.Collect(maps.Values(d.gets)) // which an end that is in doubt has asked for
	for _, module := range d.c.modules() {
		if slices.Contains(under, module) {
			continue
		}
		d.inform(now, module, emit)
		if d.c.Ask {
			d.ask(now, module, 1, emit)
		}
	}
}

// ask asks what is pending for a module. An answer to an earlier question counts no more,
// not even one that the broker has kept for a device that was away: ids go by the clock,
// so that another program's are others.
func (d *Dialect) ask(now time.Time, module string, qos byte, emit func(control.Out)) {
	maps.DeleteFunc(d.gets, func(_, of string) bool { return of == module })
	d.asked = max(d.asked+1, uint32(now.Unix()))
	id := strconv.FormatUint(uint64(d.asked), 10)
	d.gets[id] = module
	emit(control.Out{Kind: control.OutPublish, Topic: d.topic(get), QoS: qos, Payload: aliyun.Marshal(map[string]any{
		"id": id, "version": "1.0", "params": map[string]string{"module": module}, "method": "thing.ota.firmware.get"})})
}

// inform says the version of a module now.
func (d *Dialect) inform(now time.Time, module string, emit func(control.Out)) {
	out, ok := d.version(module)
	if !ok {
		aliyun.Log(emit, "%s: the version of module %s is not known: nothing is said of it", d.c.Device, module)
		return
	}
	d.informed[module] = now
	delete(d.owed, module)
	emit(out)
}

// informAgain says a version that the cloud should know, but not too often.
func (d *Dialect) informAgain(now time.Time, module string, emit func(control.Out)) {
	since := now.Sub(d.informed[module])
	if since < 0 || since >= informWait {
		d.inform(now, module, emit)
	} else if !d.owed[module] {
		d.owed[module] = true
		emit(control.Out{Kind: control.OutTimer, Token: timerInform, After: informWait})
	}
}

func (d *Dialect) version(module string) (control.Out, bool) {
	version := d.versions[module]
	if version == "" {
		return control.Out{}, false
	}
	return d.publish(inform, 1, module, map[string]string{"version": version}), true
}

func (d *Dialect) step(qos byte, module, step, desc string) control.Out {
	return d.publish(progressPath, qos, module, map[string]string{"step": step, "desc": desc})
}

// publish writes one message; the module "default" is left out.
func (d *Dialect) publish(p path, qos byte, module string, params map[string]string) control.Out {
	if module != DefaultModule {
		params["module"] = module
	}
	return control.Out{Kind: control.OutPublish, Topic: d.topic(p), QoS: qos, Payload: aliyun.Marshal(map[string]any{"id": d.id(), "params": params})}
}

func (d *Dialect) tick(in control.In, emit func(control.Out)) {
	switch in.Token {
	case timerProgress:
		d.progress.timer = false
		d.sendProgress(in.Now, emit)
	case timerInform:
		for _, module := range d.c.modules() {
			if d.owed[module] && d.connected {
				d.inform(in.Now, module, emit)
			}
		}
	}
}

// Taken tells the cloud that a job has begun. It is part of [aliyun.Cloud].
func (d *Dialect) Taken(j *aliyun.Job, anew bool, emit func(control.Out)) {
	if anew && d.connected {
		emit(d.step(0, j.Module(), "0", "accepted"))
	}
}

// Refused has the cloud told. It is part of [aliyun.Cloud].
func (d *Dialect) Refused(*aliyun.Job, error, func(control.Out)) bool { return true }

// Ended takes the version that a job has brought. It is part of [aliyun.Cloud].
func (d *Dialect) Ended(j *aliyun.Job) {
	if module := j.Module(); j.Ending.State == engine.Succeeded && d.c.has(module) && j.NewVersion() != "" {
		d.versions[module] = j.NewVersion()
	}
	if d.progress.job == j {
		d.progress.job = nil
	}
}

// Once says that an end is told as a failure, which names neither task nor version.
// It is part of [aliyun.Asker].
func (d *Dialect) Once(j *aliyun.Job) bool {
	e := j.Ending
	return j.Module() != "" && e.State != engine.Cancelled && (e.Fault() != aliyun.NoFault || j.NewVersion() != j.Version())
}

// Ask says the version, if this connection has not heard it, and asks what is
// pending; at quality of service 0, since the question comes again without an answer, and
// an end should not wait for the broker to acknowledge it. It is part of [aliyun.Asker].
func (d *Dialect) Ask(now time.Time, j *aliyun.Job, emit func(control.Out)) {
	module := j.Module()
	if d.versions[module] != "" && d.informed[module].IsZero() {
		d.inform(now, module, func(o control.Out) {
			o.QoS = 0
			emit(o)
		})
	}
	d.ask(now, module, 0, emit)
}

// Tell says how a job ended. It is part of [aliyun.Cloud].
func (d *Dialect) Tell(j *aliyun.Job) (outs []control.Out) {
	module, e := j.Module(), j.Ending
	if module == "" || e.State == engine.Cancelled {
		return nil
	}
	if e.Fault() != aliyun.NoFault {
		step := map[aliyun.Fault]string{aliyun.DownloadFault: "-2", aliyun.CheckFault: "-3", aliyun.InstallFault: "-4", aliyun.OtherFault: "-1"}[e.Fault()]
		return []control.Out{d.step(1, module, step, e.Reason())}
	}
	if e.Version != "" && e.Version != j.Version() {
		outs = append(outs, d.step(1, module, "-1", fmt.Sprintf("installed %s, which the signed release says, not %s", e.Version, j.Version())))
	}
	if out, ok := d.version(module); ok {
		outs = append(outs, out)
	}
	return outs
}

// progress is what is to be said of a running job, if anything.
type progress struct {
	job   *aliyun.Job // nil: nothing to say
	run   string
	best  int64 // percent that was told last of the run
	step  string
	at    int64 // percent
	sent  time.Time
	timer bool
}

// event keeps the newest progress, and sends it if it is time. Percent never
// go back, although each step of a workflow begins at 0.
func (d *Dialect) event(in control.In, emit func(control.Out)) {
	e := in.Event
	j := d.jobs.Running(e.Run)
	if d.c.Progress < 0 || e.Kind != engine.EventProgress || j == nil || e.Total <= 0 || e.Done < 0 || e.Done > e.Total {
		return
	}
	p := &d.progress
	if p.run != e.Run {
		p.run, p.best = e.Run, 0
	}
	at := int64(float64(e.Done) / float64(e.Total) * 100)
	if at <= p.best {
		return
	}
	p.job, p.step, p.at = j, strings.TrimSpace(aliyun.Redact(e.Step, 64)), at
	d.sendProgress(in.Now, emit)
}

// sendProgress publishes at QoS 0: the next one makes up for a loss.
func (d *Dialect) sendProgress(now time.Time, emit func(control.Out)) {
	p := &d.progress
	if p.job == nil || p.timer || !d.connected {
		return
	}
	every := d.c.every()
	if since := now.Sub(p.sent); since >= 0 && since < every {
		p.timer = true
		emit(control.Out{Kind: control.OutTimer, Token: timerProgress, After: every - since})
		return
	}
	emit(d.step(0, p.job.Module(), strconv.FormatInt(p.at, 10), p.step))
	p.job, p.best, p.sent = nil, p.at, now
}
