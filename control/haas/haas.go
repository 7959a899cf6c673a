// Package haas speaks the app upgrade of Alibaba's HaaS cloud: the cloud calls a
// service of the device with what is new, and the device sends an event that
// says how it went.
//
// [New] makes the [Dialect] of one app on one device, from a [Config] and what
// the last one saved. It is a machine without sockets or clock; package control
// says what drives it, and control/aliyun how the device logs in. PK and DN
// are product key and device name:
//
//	/sys/PK/DN/thing/service/hli_service_upgrade_push        to the device: {"id": "7", "params": {"errorCode": "200", "app": [{"appId": "…", "version": "0.0.2", "url": "…", …}]}}
//	/sys/PK/DN/thing/service/hli_service_upgrade_push_reply  {"id": "7", "code": 200, "data": {}}
//	/sys/PK/DN/thing/event/hli_event_upgrade_query/post      asks on each connect what is pending
//	/sys/PK/DN/thing/event/hli_event/post                    app.result: 200 done, 404 not downloaded, 405 not installed
//
// A push becomes the command "update" with the inputs that [Inputs] lists,
// as far as the message has them. They are claims: the workflow checks size and md5 of
// what it fetches, and unpacks it. Versions are three numbers and compare as numbers. A lower one is
// installed only if the cloud says rollingBack.
//
// A push is answered 200 once the engine has made the command durable, and when
// there is nothing to do: the version runs, or is being installed. It is answered 460 if it
// is malformed, and 400, with a log line, if the device does not do it: it is busy, has no
// workflow, the version is not higher, or the firmware is to be updated first.
// The platform has no event for that. A busy device asks again after five minutes.
//
// The same version, size and md5 are the same job, whatever the URL, which changes
// between deliveries. A job is done once. After a failed download, another push is a new attempt;
// after a failed check or installation it is the same package again, and only gets its result again.
// A result is sent until the broker has acknowledged it. The platform has no
// cancel: of a cancelled job nothing is said.
package haas

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/engine"
)

// timerQuery is the dialect's timer.
const timerQuery = aliyun.FirstTimer

// busyWait is after what time a busy device asks again.
const busyWait = 5 * time.Minute

// The results that an event tells.
const (
	resultDone        = 200
	resultNoDownload  = 404
	resultNoInstalled = 405
)

// The topics, behind /sys/PK/DN.
const (
	pushTopic   = "/thing/service/" + service
	replyTopic  = pushTopic + "_reply"
	queryTopic  = "/thing/event/hli_event_upgrade_query/post"
	resultTopic = "/thing/event/hli_event/post"
)

// Dialect is the dialect of one app on one device. It must not be shared.
type Dialect struct {
	c         Config
	version   string // of the app that is proven to run
	jobs      *aliyun.Jobs
	connected bool
	asks      bool // a query is to be sent when the timer is due
	ids       int64
	notes     []string
}

var _ control.Dialect = (*Dialect)(nil)

// New makes a dialect that goes on from save, which is what [Dialect.Save]
// gave, or nil at the first start. A save that cannot be read is said in a log
// line and given up: the engine knows the jobs that it has done. Errors wrap [ErrConfig].
func New(c Config, save []byte) (*Dialect, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	d := &Dialect{c: c}
	d.jobs = aliyun.NewJobs(d, c.Device)
	d.restore(save)
	return d, nil
}

// saved is what survives a restart.
type saved struct {
	Version string          `json:"version"`
	Jobs    json.RawMessage `json:"jobs,omitempty"`
}

// Save gives what must survive a restart, as JSON: the version that was proven, and
// the jobs that run or have ended. It holds no URL.
func (d *Dialect) Save() []byte {
	s := saved{Version: d.version}
	if jobs := d.jobs.Save(); jobs != nil {
		s.Jobs = aliyun.Marshal(jobs)
	}
	return aliyun.Marshal(s)
}

func (d *Dialect) restore(save []byte) {
	var s saved
	if len(save) > 0 {
		err := json.Unmarshal(save, &s)
		if _, bad := ParseVersion(s.Version); err == nil && bad != nil {
			err = fmt.Errorf("version %w", bad)
		}
		if err == nil {
			err = d.jobs.Restore(s.Jobs)
		}
		if err != nil {
			d.notes = append(d.notes, fmt.Sprintf("%s: saved state cannot be read and is given up: %s", d.c.Device, aliyun.Redact(err.Error(), 100)))
			s = saved{}
		}
	}
	switch {
	case s.Version != "" && (d.c.Running == "" || d.jobs.Open(d.c.App)):
		d.version = s.Version
	case d.c.Running != "":
		d.version = d.c.Running
	default:
		d.version = d.c.Version
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
		emit(control.Out{Kind: control.OutSubscribe, Topic: d.topic(pushTopic), QoS: 1})
	case control.InLost:
		d.connected = false
	}
	d.jobs.Step(in, emit)
	switch in.Kind {
	case control.InConnected:
		d.query(emit)
	case control.InMessage:
		d.message(in, emit)
	case control.InTick:
		if in.Token == timerQuery && d.asks && d.connected {
			d.query(emit)
		}
	}
}

func (d *Dialect) topic(name string) string { return d.c.Device.Topic("/sys/", name) }

// post writes an event; ids count the messages of this device.
func (d *Dialect) post(topic string, params map[string]any) control.Out {
	d.ids++
	return control.Out{Kind: control.OutPublish, Topic: d.topic(topic), QoS: 1, Payload: aliyun.Marshal(map[string]any{"id": d.ids, "version": "1.0", "params": params})}
}

// query asks what is pending.
func (d *Dialect) query(emit func(control.Out)) {
	d.asks = false
	emit(d.post(queryTopic, map[string]any{
		"mac": d.c.MAC, "ip": d.c.IP, "userScenario": d.c.Scenario, "vendorId": d.c.Vendor, "buildType": d.c.Build, "isSecurityOn": 0,
		"firmwareVersion": d.c.Firmware, "app": []map[string]string{{"appId": d.c.App, "version": d.version}},
	}))
}

// reply answers a call, unless it had no id.
func (d *Dialect) reply(id string, code int, emit func(control.Out)) {
	if id != "" && code != 0 && d.connected {
		emit(control.Out{Kind: control.OutPublish, Topic: d.topic(replyTopic), Payload: aliyun.Marshal(map[string]any{"id": id, "code": code, "data": map[string]any{}})})
	}
}

// Taken answers the call that asked for a job. It is part of [aliyun.Cloud].
func (d *Dialect) Taken(j *aliyun.Job, _ bool, emit func(control.Out)) {
	d.reply(j.NewestAsk(), codeTaken, emit)
}

// Refused answers the call that asked for a job. It is part of [aliyun.Cloud].
func (d *Dialect) Refused(j *aliyun.Job, why error, emit func(control.Out)) bool {
	d.reply(j.NewestAsk(), codeRefused, emit)
	if errors.Is(why, aliyun.ErrBusy) {
		d.asks = true
		emit(control.Out{Kind: control.OutTimer, Token: timerQuery, After: busyWait})
	}
	return false
}

// Ended takes the version that a job has brought. It is part of [aliyun.Cloud].
func (d *Dialect) Ended(j *aliyun.Job) {
	if _, err := ParseVersion(j.NewVersion()); j.Ending.Fault() == aliyun.NoFault && j.Module() == d.c.App && err == nil {
		d.version = j.NewVersion()
	}
}

// Tell says how a job ended. It is part of [aliyun.Cloud].
func (d *Dialect) Tell(j *aliyun.Job) []control.Out {
	if j.Module() == "" || j.Ending.State == engine.Cancelled {
		return nil
	}
	result := resultDone
	switch j.Ending.Fault() {
	case aliyun.NoFault:
		if j.NewVersion() != j.Version() { // the signed release is of another version
			result = resultNoInstalled
		}
	case aliyun.DownloadFault:
		result = resultNoDownload
	default:
		result = resultNoInstalled
	}
	ext := aliyun.Marshal(map[string]string{"appId": j.Module(), "appNewVersion": j.Version(), "appOldVersion": j.Old})
	return []control.Out{d.post(resultTopic, map[string]any{"eventType": "haas.upgrade", "eventName": "app.result", "argInt": result, "ext": string(ext)})}
}
