package azurehub

import (
	"time"

	"github.com/updraft-ota/updraft/engine"
)

// shape is one form of reports. A member that is nil is removed from the twin.
type shape interface {
	// called says whether the method asks for updates, and not the desired properties.
	called() bool
	// wrap writes a patch of these members.
	wrap(members map[string]any) []byte
	// members are those that a new update clears, if it does not set them.
	members() []string
	// ready is what a device without an update says at its start, nil for nothing.
	ready(d *Dialect, now time.Time) map[string]any
	// stage is what to say of the stage that an update has reached, coming from another, nil for nothing.
	stage(d *Dialect, j *job, from stage, now time.Time) map[string]any
	// end is what to say at the end, in order. A nil patch removes all.
	end(d *Dialect, j *job, e *ending) []map[string]any
	// status gives the member that says how far the device is, and the
	// words of it that only a running update has.
	status() (member string, running []string)
}

var shapes = map[string]shape{Flat: flat{}, IoTHubDM: nested{}, Firmware: tutorial{}}

// flat is the shape of the Python sample.
type flat struct{}

func (flat) called() bool { return true }

func (flat) wrap(members map[string]any) []byte { return marshal(members) }

func (flat) members() []string {
	return []string{"downloadComplete", "startedApplyingImage", "lastFirmwareUpdate", "error"}
}

func (flat) status() (string, []string) {
	return "firmwareStatus", []string{string(downloading), string(applying)}
}

func (flat) ready(d *Dialect, now time.Time) map[string]any {
	return map[string]any{"firmwareStatus": "standBy", "logTime": d.time(now)}
}

func (flat) stage(d *Dialect, j *job, from stage, now time.Time) map[string]any {
	switch j.Stage.install(from) {
	case downloading:
		return map[string]any{"firmwareStatus": "downloading", "downloadComplete": d.time(now)}
	case applying:
		return map[string]any{"firmwareStatus": "applying", "startedApplyingImage": d.time(now)}
	}
	return nil
}

func (f flat) end(d *Dialect, _ *job, e *ending) []map[string]any {
	switch e.State {
	case engine.Succeeded:
		return one(map[string]any{"firmwareStatus": "completed", "lastFirmwareUpdate": d.time(e.At)})
	case engine.Cancelled:
		return one(f.ready(d, e.At))
	}
	return one(map[string]any{"firmwareStatus": "failed", "error": e.problem()})
}

// nested is the shape of the Node sample.
type nested struct{}

func (nested) called() bool { return true }

func (nested) wrap(members map[string]any) []byte {
	if members == nil {
		return []byte(`{"iothubDM":{"firmwareUpdate":null}}`)
	}
	return marshal(map[string]any{"iothubDM": map[string]any{"firmwareUpdate": members}})
}

func (nested) members() []string {
	return []string{"fwPackageUri", "startedWaitingTime", "downloadCompleteTime", "startedApplyingImage", "lastFirmwareUpdate", "error"}
}

func (nested) status() (string, []string) {
	return "status", []string{"waiting", "downloading", "downloadComplete", "applying"}
}

func (nested) ready(*Dialect, time.Time) map[string]any { return nil }

func (nested) stage(d *Dialect, j *job, from stage, now time.Time) map[string]any {
	switch j.Stage.install(from) {
	case accepted:
		where, _ := identity(j.URL) // was checked
		return map[string]any{"status": "waiting", "fwPackageUri": where, "startedWaitingTime": d.time(now), "error": nil}
	case downloading:
		return map[string]any{"status": "downloading"}
	case verifying:
		return map[string]any{"status": "downloadComplete", "downloadCompleteTime": d.time(now)}
	case applying:
		return map[string]any{"status": "applying", "startedApplyingImage": d.time(now)}
	}
	return nil
}

func (nested) end(d *Dialect, j *job, e *ending) []map[string]any {
	switch {
	case e.State == engine.Succeeded:
		return one(map[string]any{"status": "applyComplete", "lastFirmwareUpdate": d.time(e.At)})
	case e.State == engine.Cancelled:
		return one(nil)
	case e.fetching(j):
		return one(map[string]any{"status": "downloadfailed", "error": e.problem()})
	}
	return one(map[string]any{"status": "applyFailed", "error": e.problem()})
}

// tutorial is the shape of the tutorial that desires firmware.
type tutorial struct{}

func (tutorial) called() bool { return false }

func (tutorial) wrap(members map[string]any) []byte {
	return marshal(map[string]any{"firmware": members})
}

func (tutorial) members() []string {
	return []string{"pendingFwVersion", "fwUpdateSubstatus", "lastFwUpdateStartTime", "lastFwUpdateEndTime"}
}

func (tutorial) status() (string, []string) {
	return "fwUpdateStatus", []string{"downloading", "verifying", "applying", "rebooting"}
}

func (tutorial) ready(d *Dialect, _ time.Time) map[string]any {
	if d.done != nil && d.done.Failed { // it says so still
		return nil
	}
	members := map[string]any{"fwUpdateStatus": "current"}
	if d.now != "" {
		members["currentFwVersion"] = d.now
	}
	return members
}

func (tutorial) stage(d *Dialect, j *job, _ stage, now time.Time) map[string]any {
	if j.Stage == accepted {
		members := map[string]any{"fwUpdateStatus": "current", "fwUpdateSubstatus": "", "lastFwUpdateStartTime": d.time(now)}
		if j.Version != "" {
			members["pendingFwVersion"] = j.Version
		}
		return members
	}
	return map[string]any{"fwUpdateStatus": string(j.Stage), "fwUpdateSubstatus": ""}
}

func (tutorial) end(d *Dialect, j *job, e *ending) []map[string]any {
	if e.State == engine.Succeeded || e.State == engine.Cancelled {
		members := map[string]any{"fwUpdateStatus": "current", "fwUpdateSubstatus": "", "pendingFwVersion": nil, "lastFwUpdateEndTime": d.time(e.At)}
		if e.State == engine.Cancelled {
			members["fwUpdateSubstatus"] = "cancelled"
		}
		if e.version != "" {
			members["currentFwVersion"] = e.version
		}
		return one(members)
	}
	failed := map[string]any{"fwUpdateStatus": "error", "fwUpdateSubstatus": redact(e.Code+": "+e.Message, maxSubstatus), "lastFwUpdateEndTime": d.time(e.At)}
	if j.Version != "" {
		failed["pendingFwVersion"] = j.Version
	}
	if e.State == engine.RolledBack && !e.fetching(j) {
		return []map[string]any{failed, {"fwUpdateStatus": "rolledback"}}
	}
	return one(failed)
}

func one(members map[string]any) []map[string]any { return []map[string]any{members} }

// problem is the member error of a report. Both its members are always there,
// since a twin would mix them with those of an earlier one.
func (e *ending) problem() map[string]string {
	return map[string]string{"code": e.Code, "message": e.Message}
}

// fetching says that an update failed before anything was installed: by how far
// it was, or, since bytes may be installed as they come, by why it failed.
func (e *ending) fetching(j *job) bool {
	switch e.Code {
	case "digest", "untrusted", "size", "network", "not_found", "address", "redirect", "protocol", "slow", "manifest_changed":
		return true
	}
	return j.Stage.before(verifying)
}

// time writes a time, in UTC or as the sample does.
func (d *Dialect) time(now time.Time) string {
	if d.c.Sample {
		return now.Format("2006-01-02 15:04:05.000000")
	}
	return now.UTC().Format(time.RFC3339)
}
