package aws

import (
	"maps"
	"slices"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// thing is the Doc of a device.
type thing struct {
	shadow                   // the classic one
	Named  map[string]shadow `json:"named,omitempty"`
	Jobs   []job             `json:"jobs,omitempty"` // executions in the order of their making
}

// maxNamed bounds the named shadows of a thing.
const maxNamed = 32

func thingOf(r cloudsim.Record) (t thing, err error) {
	err = r.Read(&t)
	return t, err
}

// shadowNamed gives a shadow, the zero one if there is none. "" is the classic one.
func (t *thing) shadowNamed(name string) shadow {
	if name == "" {
		return t.shadow
	}
	return t.Named[name]
}

// putShadow says whether there was room for one more.
func (t *thing) putShadow(name string, s shadow) bool {
	if name == "" {
		t.shadow = s
		return true
	}
	if _, known := t.Named[name]; !known && len(t.Named) >= maxNamed {
		return false
	}
	if t.Named == nil {
		t.Named = map[string]shadow{}
	}
	t.Named[name] = s
	return true
}

// shadowNames are those of the named shadows, sorted.
func (t *thing) shadowNames() []string { return slices.Sorted(maps.Keys(t.Named)) }

// look gives what is kept of a thing, nothing if there is no record.
func (c *Cloud) look(device string) (thing, error) {
	r, _ := c.sim.Book().Look(device)
	return thingOf(r)
}

// Shadow is what is kept of a device's classic shadow.
func (c *Cloud) Shadow(device string) (Shadow, error) {
	t, err := c.look(device)
	return t.Shadow, err
}

// NamedShadow is a named shadow of a device, the zero value if there is none.
func (c *Cloud) NamedShadow(device, name string) (Shadow, error) {
	t, err := c.look(device)
	return t.Named[name].Shadow, err
}
