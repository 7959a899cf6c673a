package main

import (
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	updraft "github.com/updraft-ota/updraft/wasm-sdk/go"
)

// A step is tested natively, against a device in memory.
func TestInstallThenCommit(t *testing.T) {
	phases := updraft.Phases{Install: install, Commit: commit, Rollback: rollback}
	d := updraft.Double{Artifacts: map[string][]byte{"image": []byte("new system")}}
	for _, phase := range []abi.Phase{abi.Install, abi.Install, abi.Commit} { // again, as after a power cut
		if class, err := d.Call(phases, phase); class != abi.OK {
			t.Fatalf("%s: class %d, %v", phase, class, err)
		}
	}
	if got := string(d.Targets["out"]); got != "new system" {
		t.Errorf("the slot holds %q", got)
	}
}

func TestRollbackDropsTheImage(t *testing.T) {
	phases := updraft.Phases{Install: install, Commit: commit, Rollback: rollback}
	d := updraft.Double{Artifacts: map[string][]byte{"image": []byte("new system")}}
	for _, phase := range []abi.Phase{abi.Install, abi.Rollback} {
		if class, err := d.Call(phases, phase); class != abi.OK {
			t.Fatalf("%s: class %d, %v", phase, class, err)
		}
	}
	if len(d.Staged) != 0 || len(d.Targets) != 0 {
		t.Errorf("staged %q, targets %q; want nothing", d.Staged, d.Targets)
	}
}
