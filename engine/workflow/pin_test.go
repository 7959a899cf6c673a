package workflow

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
)

// A document may pin what a file that it names must hold. The file is then
// stored under the whole text, as the verbs ask for it.
func TestPinnedFile(t *testing.T) {
	const text = `apiVersion: updraft/v1
kind: Workflow
name: pinned
compat:
  - {module: %q}
steps:
  - id: say
    note: {text: hello}
`
	right := fmt.Sprintf("%x", sha256.Sum256([]byte("model.wasm")))
	for _, tt := range []struct{ name, module, wrong string }{
		{"the right digest", "model.wasm@sha256:" + right, ""},
		{"capital digits", "model.wasm@sha256:" + strings.ToUpper(right), ""},
		{"another digest", "model.wasm@sha256:" + strings.Repeat("0", 64), "E012 file model.wasm has the digest sha256:" + right + ", which is not the pinned one"},
		{"a short digest", "model.wasm@sha256:" + right[:62], "E012 expected FILE@sha256: and 64 hex digits"},
		{"no digits", "model.wasm@sha256:" + strings.Repeat("x", 64), "E012 expected FILE@sha256: and 64 hex digits"},
		{"no file", "@sha256:" + right, "E012 expected FILE@sha256: and 64 hex digits"},
		{"a missing file", "none.wasm@sha256:" + right, "open none.wasm: no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, err := Read("f.yaml", fmt.Appendf(nil, text, tt.module), env())
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), "f.yaml:5:14: ") || !strings.Contains(err.Error(), tt.wrong) {
					t.Fatalf("error = %v, want one at f.yaml:5:14 with %q", err, tt.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(g.Files[tt.module]); got != "model.wasm" {
				t.Errorf("stored %q under the whole text, want %q", got, "model.wasm")
			}
		})
	}
}
