package adu

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/updraft-ota/updraft/control/adu/manifest"
)

// saved is what survives a restart.
type saved struct {
	Job       *job               `json:"job,omitempty"`
	Done      *identity          `json:"done,omitempty"`
	Installed *manifest.UpdateID `json:"installed,omitempty"`
	Have      []string           `json:"have,omitempty"`
	Ends      []ending           `json:"ends,omitempty"`
	Told      []string           `json:"told,omitempty"`
	RootKeys  string             `json:"rootKeys,omitempty"`
}

// Save gives what must survive a restart, as JSON: the deployment whose command
// was given, ends that the hub has not taken, what is installed, and the root key package
// in force. It holds no URL and no manifest.
func (d *Dialect) Save() []byte {
	s := saved{Have: d.have, Told: d.told, RootKeys: d.store}
	if d.job != nil && d.job.given {
		s.Job = d.job
	}
	if d.done.ID != "" {
		s.Done = &d.done
	}
	if d.installed != (manifest.UpdateID{}) {
		s.Installed = &d.installed
	}
	for _, n := range d.queue {
		if n.Kind == kindEnd {
			s.Ends = append(s.Ends, n.ending)
		}
	}
	return marshal(s)
}

func (d *Dialect) restore(save []byte) {
	if len(save) == 0 {
		return
	}
	var s saved
	err := json.Unmarshal(save, &s)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		d.notes = append(d.notes, "saved state cannot be read and is given up: "+redact(err.Error(), 100))
		return
	}
	if s.RootKeys != "" {
		if err := d.takeRoots([]byte(s.RootKeys)); err != nil { // the configuration trusts others now
			d.notes = append(d.notes, "the saved root key package is given up: "+redact(err.Error(), 200))
		}
	}
	d.have, d.told = s.Have, s.Told
	if s.Done != nil {
		d.done = *s.Done
	}
	if s.Installed != nil {
		d.installed = *s.Installed
	}
	for _, e := range s.Ends {
		d.last++
		d.queue = append(d.queue, &note{Kind: kindEnd, ending: e, number: d.last})
	}
	if d.job = s.Job; d.job != nil {
		d.job.stage, d.job.given = running, true
		d.last++
		d.queue = append(d.queue, &note{Kind: kindBegun, ending: ending{identity: d.job.identity}, number: d.last})
	}
}

// check holds a saved state to what the rest relies on.
func (s saved) check() error {
	ids := []identity{}
	if s.Job != nil {
		ids = append(ids, s.Job.identity)
	}
	for _, e := range s.Ends {
		ids = append(ids, e.identity)
	}
	for _, i := range ids {
		if !idShape.MatchString(i.ID) || len(i.Retry) > maxID || strings.ContainsRune(i.ID, '@') {
			return fmt.Errorf("a deployment with the id %.40q", i.ID)
		}
	}
	return nil
}
