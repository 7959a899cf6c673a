package examples_test

import (
	"fmt"
	"io/fs"

	"github.com/updraft-ota/updraft/examples"
)

func Example() {
	sources, err := fs.Glob(examples.Modules, "install-*/main.*")
	fmt.Println(sources, err)
	// Output: [install-assemblyscript/main.ts install-c/main.c install-go/main.go install-rust/main.rs install-zig/main.zig] <nil>
}
