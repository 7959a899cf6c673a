package hub

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

// The states that are an end, or may be. State 6 says that a deployment is under way.
const (
	stateIdle   = 0
	stateFailed = 255
)

// readAgent finds what a device update agent reports.
func (t *twin) readAgent(r *cloudsim.Record, a arrival, now time.Time) (events []cloudsim.Event) {
	of, _ := a.patch[component].(map[string]any)
	if service, ok := of["service"].(map[string]any); ok {
		events = append(events, t.acknowledged(service))
	}
	agent, _ := of["agent"].(map[string]any)
	state, ok := number(agent["state"])
	if !ok {
		return events
	}
	workflow, _ := agent["workflow"].(map[string]any)
	who := attempt{ID: text(workflow["id"]), Retry: text(workflow["retryTimestamp"])}
	at := t.attempt(who)
	switch {
	case who.ID == "":
		return append(events, noted("state %d is reported without a workflow", state))
	case state != stateIdle && state != stateFailed:
		return events
	}
	action, _ := number(workflow["action"])
	if at < 0 {
		return append(events, t.again(r, who, state, action, agent, now)...)
	}
	who = t.Deployment.Attempts[at]
	e, ended := who.end(state, action, agent)
	if !ended {
		return events
	}
	for _, older := range t.Deployment.Attempts[:at] {
		events = append(events, told(r.End(older.replaced(), now))...)
	}
	t.Deployment.Attempts = slices.Clone(t.Deployment.Attempts[at+1:])
	return append(events, told(r.End(e, now))...)
}

func noted(format string, args ...any) cloudsim.Event {
	return cloudsim.Event{Kind: cloudsim.EventNote, Text: fmt.Sprintf(format, args...)}
}

// attempt gives the place of one without an end, -1 for none.
func (t *twin) attempt(who attempt) int {
	if t.Deployment == nil {
		return -1
	}
	return slices.IndexFunc(t.Deployment.Attempts, who.same)
}

// again takes an end of an attempt that has one.
func (t *twin) again(r *cloudsim.Record, who attempt, state, action int64, agent map[string]any, now time.Time) []cloudsim.Event {
	i := slices.IndexFunc(r.Ends, func(e cloudsim.End) bool { return e.Job == who.ID && e.Report == who.Retry })
	result := resultOf(state, agent)
	switch {
	case i < 0:
		return []cloudsim.Event{noted("%s is reported for the deployment %s, which nobody waits for", result, shown(who.ID))}
	case r.Ends[i].Result == result:
		return told(r.End(r.Ends[i], now))
	case action == actionCancel: // an agent that starts, and finds the wish to cancel what is over
		return nil
	}
	return []cloudsim.Event{noted("%s is reported for the deployment %s after its end, which stays %s", result, shown(who.ID), r.Ends[i].Outcome)}
}

// resultOf is STATE/RESULTCODE.
func resultOf(state int64, agent map[string]any) string {
	last, _ := agent["lastInstallResult"].(map[string]any)
	code, _ := number(last["resultCode"])
	return fmt.Sprintf("%d/%d", state, code)
}

// end judges a report of state 0 or 255. Idleness alone is no end.
func (a attempt) end(state, action int64, agent map[string]any) (cloudsim.End, bool) {
	last, _ := agent["lastInstallResult"].(map[string]any)
	code, _ := number(last["resultCode"])
	e := cloudsim.End{Job: a.ID, Report: a.Retry, Outcome: cloudsim.Failed, Result: resultOf(state, agent)}
	var installed manifest.UpdateID
	reported := text(agent["installedUpdateId"])
	known := json.Unmarshal([]byte(reported), &installed) == nil
	switch {
	case state == stateFailed:
	case code == -1 || code == 800, code == 200 && action == actionCancel:
		e.Outcome = cloudsim.Cancelled
		return e, true
	case code > 0 && known && installed == a.Update:
		e.Outcome = cloudsim.Succeeded
		return e, true
	case code == 200:
		return e, false
	case reported != "":
		e.Message = shown(fmt.Sprintf("installedUpdateId is %s, expected %s", reported, a.Update))
	}
	if e.Code = shown(text(last["extendedResultCodes"])); e.Code == "" {
		if old, ok := number(last["extendedResultCode"]); ok { // of older agents
			e.Code = fmt.Sprintf("%08X", uint32(old))
		}
	}
	if details := shown(text(last["resultDetails"])); e.Message == "" {
		e.Message = details
	}
	return e, true
}

// acknowledged takes what a device says about the wish itself.
func (t *twin) acknowledged(service map[string]any) cloudsim.Event {
	code, _ := number(service["ac"])
	version, ok := number(service["av"])
	value, _ := service["value"].(map[string]any)
	workflow, _ := value["workflow"].(map[string]any)
	switch d := t.Deployment; {
	case !ok || version < 1 || version > t.Desired.Version:
		return refusal("an acknowledgement of version %.40v, the desired properties have %d", service["av"], t.Desired.Version)
	case code != 200:
		return refusal("an acknowledgement with ac %.40v, expected 200", service["ac"])
	case value["updateManifestSignature"] != nil || value["fileUrls"] != nil:
		return refusal("an acknowledgement that repeats updateManifestSignature or fileUrls, expected null")
	case d == nil:
		return noted("version %d is acknowledged, and nothing was deployed", version)
	case version >= d.Since && text(workflow["id"]) != d.Newest.ID:
		return refusal("an acknowledgement of version %d for the deployment %.140q, expected %q", version, text(workflow["id"]), d.Newest.ID)
	default:
		d.Acked = max(d.Acked, version)
		return noted("version %d is acknowledged", version)
	}
}

func refusal(format string, args ...any) cloudsim.Event {
	return cloudsim.Event{Kind: cloudsim.EventRefused, Text: shown(fmt.Sprintf(format, args...))}
}
