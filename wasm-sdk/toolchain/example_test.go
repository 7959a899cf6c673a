package toolchain_test

import (
	"fmt"

	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
)

func ExampleDetect() {
	fmt.Println(toolchain.Detect("../../examples/install-c"))
	// Output: c <nil>
}
