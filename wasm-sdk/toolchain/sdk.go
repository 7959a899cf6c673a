package toolchain

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	sdk "github.com/updraft-ota/updraft/wasm-sdk"
)

// goModule lets a project in Go build without any download: the SDK is a
// module beside it.
const goModule = `module %s

go 1.26

require github.com/updraft-ota/updraft v0.0.0

replace github.com/updraft-ota/updraft => ./updraft-sdk
`

// SDK gives the files that a project in l needs besides its manifest and its
// source: the SDK, and for Go a go.mod. Keys are slash-separated paths in
// the project; name becomes the path of the Go module. In C and in Rust,
// updraft_double.h and the SDK itself hold the device for unit tests.
func SDK(l Language, name string) (map[string][]byte, error) {
	folders, ok := map[Language]map[string]string{
		Go:             {"abi": "updraft-sdk/wasm-sdk/abi", "go": "updraft-sdk/wasm-sdk/go"},
		C:              {"c": "."},
		Rust:           {"rust": "."},
		AssemblyScript: {"assemblyscript": "."},
		Zig:            {"zig": "."},
	}[l]
	if !ok {
		return nil, fmt.Errorf("unknown language %q (have %q)", l, Languages())
	}
	files := map[string][]byte{}
	for from, to := range folders {
		entries, err := fs.ReadDir(sdk.Files, from)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			text, err := fs.ReadFile(sdk.Files, path.Join(from, e.Name()))
			if err != nil {
				return nil, err
			}
			files[path.Join(to, e.Name())] = text
		}
	}
	if l == Go {
		files["go.mod"] = fmt.Appendf(nil, goModule, name)
		files["updraft-sdk/go.mod"] = []byte("module github.com/updraft-ota/updraft\n\ngo 1.26\n")
	}
	return files, nil
}
