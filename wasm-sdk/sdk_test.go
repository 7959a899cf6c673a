package sdk_test

import (
	"fmt"
	"io/fs"

	sdk "github.com/updraft-ota/updraft/wasm-sdk"
)

func Example() {
	headers, err := fs.Glob(sdk.Files, "c/*.h")
	fmt.Println(headers, err)
	// Output: [c/updraft.h c/updraft_double.h] <nil>
}
