package meter_test

import (
	"errors"
	"fmt"

	"github.com/updraft-ota/updraft/wasmhost/meter"
)

// A module is judged before anything compiles it. An error says at which byte
// of the file it was refused.
func ExampleRewrite() {
	module := []byte("\x00asm\x01\x00\x00\x00" +
		"\x01\x04\x01\x60\x00\x00" + // a type: no parameters, no results
		"\x03\x02\x01\x00" + // a function of it
		"\x07\x07\x01\x03run\x00\x00" + // exported as run
		"\x0a\x09\x01\x07\x00\x03\x40\x0c\x00\x0b\x0b") // it loops for ever
	p, err := meter.Rewrite(module, meter.Budget{Memory: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	f := p.Info.Functions[0]
	fmt.Printf("%s%s: each turn of its loop costs %d\n", f.Name, f.Type, f.Largest)

	_, err = meter.Rewrite(module[:30], meter.Budget{})
	if e := new(meter.Error); errors.As(err, &e) {
		fmt.Println(e.Code, e.Offset, e.Detail)
	}
	// Output:
	// run:: each turn of its loop costs 1
	// invalid-module 27 the module is truncated: section "code" has 9 bytes, 1 are left
}
