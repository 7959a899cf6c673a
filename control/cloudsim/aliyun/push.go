package aliyun

import (
	"fmt"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/haas"
)

// The results of a push that devices do not report in so many words.
const (
	byQuery  = "query"
	replaced = "replaced"
)

// outcomes by result.
var outcomes = map[string]cloudsim.Outcome{
	"200": cloudsim.Succeeded, byQuery: cloudsim.Succeeded,
	"404": cloudsim.Failed, "405": cloudsim.Failed,
	replaced: cloudsim.Cancelled,
}

var reasons = map[string]string{"404": "package download failed", "405": "install failed", replaced: "another version is wanted"}

// push is one update of one app.
type push struct {
	Job       string            `json:"job"`
	App       string            `json:"app"`
	Version   string            `json:"version"`
	Package   cloudsim.Software `json:"package"`
	Back      bool              `json:"back,omitempty"`
	Restart   bool              `json:"restart,omitempty"`
	Firmware  bool              `json:"firmware,omitempty"` // is to be updated first
	ErrorCode string            `json:"errorCode"`
	Call      int64             `json:"call,omitempty"`   // id of the newest one that it was in
	Result    string            `json:"result,omitempty"` // "" while it is open
}

func (p *push) end() cloudsim.End {
	e := cloudsim.End{Job: p.Job, Outcome: outcomes[p.Result], Result: p.Result, Message: reasons[p.Result]}
	if e.Outcome == cloudsim.Failed {
		e.Code = p.Result
	}
	return e
}

// haasDoc is what the HaaS cloud keeps of a device.
type haasDoc struct {
	Apps     map[string]string `json:"apps"` // version by id, as the device said
	Firmware string            `json:"firmware,omitempty"`
	Last     int64             `json:"_last"`  // id of the newest call
	Pushes   []*push           `json:"pushes"` // the newest last
}

// Limits of what is kept of a device.
const (
	maxApps   = 64
	maxPushes = 128 // more than open ones, of which each app has one
)

// runs notes which version of an app a device has.
func (d *haasDoc) runs(app, version string) error {
	if _, known := d.Apps[app]; !known && len(d.Apps) >= maxApps {
		return fmt.Errorf("%w: %d apps, the limit is %d", errMessage, len(d.Apps)+1, maxApps)
	}
	if d.Apps == nil {
		d.Apps = map[string]string{}
	}
	d.Apps[app] = version
	return nil
}

// current gives the open push of an app, nil if there is none.
func (d *haasDoc) current(app string) *push {
	for _, p := range d.Pushes {
		if p.App == app && p.Result == "" {
			return p
		}
	}
	return nil
}

// news says whether a push is still something new for the device.
func (d *haasDoc) news(p *push) bool {
	runs, errRuns := haas.ParseVersion(d.Apps[p.App])
	wanted, _ := haas.ParseVersion(p.Version) // checked when it was ordered
	if errRuns != nil {
		return true
	}
	return wanted.Compare(runs) > 0 || p.Back && wanted != runs
}

// result takes what a device says of an app and a version. Of two that differ
// the first counts.
func (d *haasDoc) result(app, version, code string, n *news) error {
	var p *push
	for _, known := range slices.Backward(d.Pushes) {
		if known.App == app && known.Version == version {
			p = known
			break
		}
	}
	switch {
	case p == nil:
		n.note("result %s of app %s, version %s, which nobody has pushed", code, app, version)
	case p.Result == "":
		p.Result = code
		n.ends = append(n.ends, p.end())
	case p.Result == code || p.Result == byQuery && code == "200":
		n.ends = append(n.ends, p.end())
	default:
		n.note("result %s is dropped: job %s has ended as %s", code, p.Job, p.Result)
	}
	if code == "200" {
		return d.runs(app, version)
	}
	if len(n.ends) == 0 {
		return errSame
	}
	return nil
}

// call is one message of the service: pushes with the same errorCode.
type call struct {
	id     int64
	pushes []*push
}

// calls gives those for all that is news.
func (d *haasDoc) calls(now time.Time) (calls []call) {
	for _, p := range d.Pushes {
		if p.Result != "" || !d.news(p) {
			continue
		}
		i := slices.IndexFunc(calls, func(c call) bool { return c.pushes[0].ErrorCode == p.ErrorCode })
		if i < 0 {
			i = len(calls)
			calls = append(calls, call{id: nextID(&d.Last, now)})
		}
		p.Call = calls[i].id
		calls[i].pushes = append(calls[i].pushes, p)
	}
	return calls
}
