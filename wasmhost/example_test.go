package wasmhost

import (
	"context"
	"fmt"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// A compatibility check, from the bytes of a module to its verdict.
func Example() {
	ctx := context.Background()
	host, err := New(ctx, Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	module, err := host.Load(ctx, guests["compat"], Limits{Memory: 64 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer module.Close(ctx)
	if err := module.Check([]abi.Capability{abi.Facts}); err != nil {
		fmt.Println(err)
		return
	}
	result, err := module.Call(ctx, abi.Compat, Grants{
		Facts:    map[string]string{"model": "gw-300"},
		Settings: []byte(`{"models": ["gw-100", "gw-200"]}`),
	})
	fmt.Println(result.Class == abi.Incompatible, result.Report.Details, err)
	// Output: true model gw-300 is not one of gw-100, gw-200 <nil>
}
