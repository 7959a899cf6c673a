package stages

import (
	"testing"

	"github.com/updraft-ota/updraft/engine"
)

// What a module does beside the device's targets leaves no stamp, so that a
// step that was cut short must run again.
func TestModuleWithoutTargetsIsNotTakenForDone(t *testing.T) {
	for name, targets := range map[string]map[string]Grant{
		"no target":              nil,
		"one that it only reads": {"old": {Target: "rootfs@active", Mode: "read"}},
	} {
		s := &Install{Module: "m.wasm", Targets: targets}
		if found, err := s.Probe(t.Context(), &engine.Task{}); found != engine.Partial || err != nil {
			t.Errorf("%s: found %v, error %v, want partial", name, found, err)
		}
	}
}
