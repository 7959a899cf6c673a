package hawkbit

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// Bounds of what is kept of a target.
const (
	maxActions  = 32
	maxMessages = 20 // of an action
	maxText     = 512
)

// target is what the server knows of a device: the Doc of its record.
type target struct {
	Attributes map[string]string `json:"attributes,omitempty"`
	// Told says that the attributes need not be asked for.
	Told bool `json:"told,omitempty"`
	// Auto is the automatic confirmation, nil if it is off.
	Auto *auto `json:"auto,omitempty"`
	// Installed is the action that was finished last, 0 for none.
	Installed int64    `json:"installed,omitempty"`
	Actions   []action `json:"actions,omitempty"` // the oldest first
}

// auto is automatic confirmation that is on.
type auto struct {
	Initiator string `json:"initiator,omitempty"`
	Remark    string `json:"remark,omitempty"`
	Since     int64  `json:"activatedAt"` // milliseconds since 1970
}

// status is hawkBit's name for how far an action is.
type status string

const (
	unconfirmed status = "WAIT_FOR_CONFIRMATION"
	running     status = "RUNNING"
	retrieved   status = "RETRIEVED" // running, and the device has seen it
	canceling   status = "CANCELING"
	canceled    status = "CANCELED"
	finished    status = "FINISHED"
	failed      status = "ERROR"
	downloaded  status = "DOWNLOADED" // the end of an action that is downloadonly
)

// action is software that was assigned to a device.
type action struct {
	ID     int64  `json:"id"`
	Status status `json:"status"`
	plan
	Software cloudsim.Software `json:"software"`
	// Reports counts the reports that were no end.
	Reports int `json:"reports,omitempty"`
	// Messages are what the device said, the newest first.
	Messages []string `json:"messages,omitempty"`
}

// plan is what Order.Set says of an action.
type plan struct {
	Type     string            `json:"type"`            // forced, soft, timeforced, downloadonly
	Force    int64             `json:"force,omitempty"` // of timeforced: milliseconds since 1970
	Window   bool              `json:"window,omitempty"`
	Opens    int64             `json:"opens,omitempty"` // of a window: milliseconds since 1970, 0 for never
	Confirm  bool              `json:"confirm,omitempty"`
	Part     string            `json:"part"`
	Name     string            `json:"name"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

func readTarget(r cloudsim.Record) (t target, err error) {
	err = r.Read(&t)
	return t, err
}

// find gives an action, or nil.
func (t *target) find(id int64) *action {
	i := slices.IndexFunc(t.Actions, func(a action) bool { return a.ID == id })
	if i < 0 {
		return nil
	}
	return &t.Actions[i]
}

// current is the action that a device is shown, or nil: the oldest that is active.
func (t *target) current() *action {
	i := slices.IndexFunc(t.Actions, func(a action) bool { return a.active() })
	if i < 0 {
		return nil
	}
	return &t.Actions[i]
}

// add makes room for an action and appends it.
func (t *target) add(a action) error {
	for len(t.Actions) >= maxActions {
		i := slices.IndexFunc(t.Actions, func(a action) bool { return !a.active() && a.ID != t.Installed })
		if i < 0 {
			return wrong("too many actions of this device are active; it has to answer some of them first")
		}
		t.Actions = slices.Delete(t.Actions, i, i+1)
	}
	t.Actions = append(t.Actions, a)
	return nil
}

func (a *action) active() bool {
	return slices.Contains([]status{unconfirmed, running, retrieved, canceling}, a.Status)
}

// cancelled says that the action is being cancelled, or was.
func (a *action) cancelled() bool { return a.Status == canceling || a.Status == canceled }

func (a *action) job() string { return strconv.FormatInt(a.ID, 10) }

// open says whether the maintenance window is open, true if there is none.
func (p *plan) open(now time.Time) bool {
	return !p.Window || p.Opens > 0 && now.UnixMilli() >= p.Opens
}

// forced says whether the device has to do it now, and not when it likes.
func (p *plan) forced(now time.Time) bool {
	return p.Type == typeForced || p.Type == typeDownload || p.Type == typeTime && now.UnixMilli() >= p.Force
}

// version changes when the deployment does, so that its link does too.
func (a *action) version(now time.Time) int32 {
	text := fmt.Sprint(a.ID, a.forced(now), a.open(now))
	return int32(crc32.ChecksumIEEE([]byte(text))) // hawkBit's is a Java hash, with a sign as well
}

// note keeps what a device said.
func (a *action) note(texts []string) {
	for _, text := range texts {
		a.Messages = slices.Insert(a.Messages, 0, bounded(text))
	}
	a.Messages = a.Messages[:min(len(a.Messages), maxMessages)]
}
