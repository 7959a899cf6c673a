package adu

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"

	"github.com/updraft-ota/updraft/engine"
)

// The states that are reported. All others of the reference agent stay inside it.
const (
	stateIdle   = 0
	stateBegun  = 6
	stateFailed = 255
)

// The result codes that are reported.
const (
	codeFailed    = 0
	codeCancelled = -1
	codeBegun     = 1
	codeIdle      = 200
	codeApplied   = 700
)

// Extended result codes, as the reference agent makes them: an errno, the
// check of a file's hash, or an error of its downloader.
const (
	ercBusy      uint32 = 16  // EBUSY
	ercRefused   uint32 = 22  // EINVAL
	ercNoSpace   uint32 = 28  // ENOSPC
	ercOther     uint32 = 131 // ENOTRECOVERABLE
	ercHash      uint32 = 0x00100003
	ercSignature uint32 = 0x80300001
	ercTimeout   uint32 = 0xD000006E // ETIMEDOUT
	ercNetwork   uint32 = 0xD0004005 // unspecified
)

// ercHTTP is the downloader's code for an HTTP status.
func ercHTTP(status int) uint32 { return 0xD0190000 | uint32(status&0xFFFF) }

// ercOf are the codes of the engine's reports that have one there.
var ercOf = map[string]uint32{
	"digest": ercHash, "size": ercHash, "signature": ercSignature, "untrusted": ercSignature,
	"network": ercNetwork, "slow": ercTimeout, "not_found": ercHTTP(404), "denied": ercHTTP(403), "redirect": ercNetwork, "protocol": ercNetwork,
	"no_space": ercNoSpace, "quota": ercNoSpace, "incompatible": ercRefused, "downgrade": ercRefused, "usage": ercRefused, "address": ercRefused,
	"busy": ercBusy,
}

// ending is how a deployment ended, as the cloud is told.
type ending struct {
	identity
	Action   int    `json:"action,omitempty"` // 0: 3
	State    int    `json:"state"`
	Code     int    `json:"code"`
	Extended uint32 `json:"extended,omitempty"`
	Details  string `json:"details,omitempty"`
	Update   string `json:"update,omitempty"` // installedUpdateId, of a success
	// Steps is how many steps have a result. They went well, but the last one
	// where Broken says that the deployment broke off there.
	Steps  int    `json:"steps,omitempty"`
	Broken bool   `json:"broken,omitempty"`
	Report string `json:"report,omitempty"` // the engine's id; "" if it never became a run
}

func succeeded(i identity, update string, steps int) ending {
	return ending{identity: i, State: stateIdle, Code: codeApplied, Update: update, Steps: steps}
}

func cancelled(i identity) ending { return ending{identity: i, State: stateIdle, Code: codeCancelled} }

func failed(i identity, extended uint32, why string) ending {
	return ending{identity: i, State: stateFailed, Code: codeFailed, Extended: extended, Details: why}
}

// conclude makes an ending of the engine's report. steps is 0 if not known.
func conclude(i identity, r engine.Report, update string, steps int) ending {
	var e ending
	switch r.State {
	case engine.Succeeded:
		e = succeeded(i, update, steps)
	case engine.Cancelled:
		e = cancelled(i)
	default:
		extended, ok := ercOf[r.Code]
		if !ok {
			extended = ercOther
		}
		e = failed(i, extended, redact(fmt.Sprintf("%s: %s", r.Code, r.Message), maxDetails))
		if r.State == engine.RolledBack && !fetching[r.Code] {
			e.State = stateIdle // what was there before is there again
		}
		e.Steps, e.Broken = broken(r.Step, steps)
	}
	e.Report = r.ID
	return e
}

// fetching are the codes of failures before anything is installed, which
// leave nothing to restore.
var fetching = map[string]bool{"digest": true, "size": true, "signature": true, "untrusted": true, "network": true, "slow": true,
	"not_found": true, "denied": true, "redirect": true, "protocol": true, "incompatible": true, "downgrade": true, "address": true}

// stepName is how a workflow's step says which step of the update it does.
var stepName = regexp.MustCompile(`^step_([0-9])(?:$|[_-])`)

// broken says how many steps have a result if the workflow broke off in a step.
func broken(step string, steps int) (int, bool) {
	if steps == 1 {
		return 1, true
	}
	if m := stepName.FindStringSubmatch(step); m != nil {
		if at := int(m[1][0] - '0'); at < steps {
			return at + 1, true
		}
	}
	return 0, false
}

// payload writes the state for the twin. A null takes away what an earlier
// deployment has left there.
func (e ending) payload(begun bool) []byte {
	action := e.Action
	if action == 0 {
		action = actionDeploy
	}
	workflow := map[string]any{"action": action, "id": e.ID}
	if e.Retry != "" {
		workflow["retryTimestamp"] = e.Retry
	}
	if begun {
		e = ending{State: stateBegun, Code: codeBegun}
	}
	last := e.result()
	last["stepResults"] = nil
	if e.Steps > 0 {
		steps := map[string]any{}
		for i := range e.Steps {
			step := ending{Code: codeApplied}
			if e.Broken && i == e.Steps-1 {
				step = e
			}
			steps[fmt.Sprintf("step_%d", i)] = step.result()
		}
		last["stepResults"] = steps
	}
	agent := map[string]any{"state": e.State, "workflow": workflow, "lastInstallResult": last}
	if e.Update != "" {
		agent["installedUpdateId"] = e.Update
	}
	return agentPayload(agent)
}

func (e ending) result() map[string]any {
	return map[string]any{"resultCode": e.Code, "extendedResultCodes": fmt.Sprintf("%08X", e.Extended), "resultDetails": e.Details}
}

// agentPayload writes what the device reports of itself.
func agentPayload(agent map[string]any) []byte {
	return marshal(map[string]any{component: map[string]any{"__t": "c", "agent": agent}})
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
