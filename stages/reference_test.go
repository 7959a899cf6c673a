package stages

import (
	"flag"
	"os"
	"testing"

	"github.com/updraft-ota/updraft/engine/workflow/reference"
)

var update = flag.Bool("update", false, "write docs/workflow.md anew")

// TestReference holds docs/workflow.md to the verbs' fields and comments.
func TestReference(t *testing.T) {
	const page = "../docs/workflow.md"
	got, err := reference.Page(Builtin(Config{}), os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(page, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is not what the verbs say: run make docs", page)
	}
}
