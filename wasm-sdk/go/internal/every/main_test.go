package main

import (
	"testing"
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	updraft "github.com/updraft-ota/updraft/wasm-sdk/go"
)

func TestEveryMethodOnTheDouble(t *testing.T) {
	d := updraft.Double{
		Facts: map[string]string{"model": "gw", "serial": "1"}, Settings: `{"slot": "b"}`,
		Artifacts: map[string][]byte{"image": []byte("0123456789")}, Clock: time.Unix(1000, 0),
	}
	for _, phase := range []abi.Phase{abi.Install, abi.Commit, abi.Health} {
		if class, err := d.Call(phases, phase); class != abi.OK || err != nil {
			t.Fatalf("%s: class %d, error %v", phase, class, err)
		}
	}
	if string(d.Targets["out"]) != "ab5678" || len(d.Staged) != 0 || d.Report.Code != 7 || d.Logged[0] != "1 begin" {
		t.Errorf("targets %q, staged %q, report %+v, log %q", d.Targets, d.Staged, d.Report, d.Logged)
	}
}
