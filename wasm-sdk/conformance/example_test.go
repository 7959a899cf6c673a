package conformance_test

import (
	"context"
	"fmt"

	"github.com/updraft-ota/updraft/wasm-sdk/conformance"
	"github.com/updraft-ota/updraft/wasmhost"
)

// A module is run as an update would run it, and then again and again, ended
// at every point between module and device.
func Example() {
	ctx := context.Background()
	host, err := wasmhost.New(ctx, wasmhost.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	loader := conformance.NewLoader(host, conformance.ReferenceGuest())
	defer loader.Close(ctx)
	module, err := loader.Load(ctx, wasmhost.Limits{}, conformance.Allowed())
	if err != nil {
		fmt.Println(err)
		return
	}
	rig, err := conformance.New(ctx, conformance.ReferenceSetup())
	if err != nil {
		fmt.Println(err)
		return
	}
	outcome, err := rig.Run(ctx, module)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(conformance.ClassName(outcome.Class), outcome.Targets["out"].Committed)
	sweep, err := conformance.KillSweep(ctx, module, conformance.ReferenceSetup())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(sweep.Violations), "violations")
	// Output:
	// ok true
	// 0 violations
}
