package abi_test

import (
	"fmt"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// A module gets its manifest after it was linked, and anybody can read it
// without running code.
func ExampleWithManifest() {
	linked := []byte("\x00asm\x01\x00\x00\x00") // the shortest module that there is
	module, err := abi.WithManifest(linked, abi.Manifest{
		Name: "model-check", Version: "1.0.0", Kind: abi.KindCompat, ABI: abi.Range{Min: "1.0"},
		Phases: []string{abi.Compat.String()}, Capabilities: []abi.Capability{abi.Facts},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := abi.ReadManifest(module)
	fmt.Println(m.Name, m.Version, err)
	fmt.Println("asked before anything is fetched:", m.Serves(abi.Compat))
	fmt.Println("wants to write:", m.Wants(abi.Target))
	// Output:
	// model-check 1.0.0 <nil>
	// asked before anything is fetched: true
	// wants to write: false
}
