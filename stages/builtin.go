package stages

import (
	"cmp"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// Builtin is the registry of the built-in verbs.
func Builtin(c Config) map[string]engine.Verb {
	c.HTTP = cmp.Or(c.HTTP, NewTransport(nil))
	if c.Disk == nil {
		c.Disk = disk.OS()
	}
	c.DeltaMemory = cmp.Or(c.DeltaMemory, 64<<20)
	c.MinRate = cmp.Or(c.MinRate, 1<<10)
	c.RateWindow = cmp.Or(c.RateWindow, 30*time.Second)
	c.modules = &modules{compiled: map[string]*kept{}}
	return map[string]engine.Verb{
		"compat":  {New: func() any { return &Compat{c: &c} }, Class: engine.Pure},
		"fetch":   {New: func() any { return &Fetch{c: &c} }, Class: engine.Pure, Outputs: map[string]engine.Type{"version": engine.String, "size": engine.Int, "sha256": engine.String, "delta": engine.Bool}},
		"inflate": {New: func() any { return &Inflate{c: &c} }, Class: engine.Pure},
		"patch":   {New: func() any { return &Patch{c: &c} }, Class: engine.Pure},
		"verify":  {New: func() any { return &Verify{c: &c} }, Class: engine.Pure},
		"install": {New: func() any { return &Install{c: &c} }, Class: engine.Resumable, Outputs: map[string]engine.Type{"size": engine.Int, "sha256": engine.String}},
		"confirm": {New: func() any { return &Confirm{c: &c} }, Class: engine.Resumable},
		"report":  {New: func() any { return &Report{} }, Class: engine.Idempotent},
	}
}
