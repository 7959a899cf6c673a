package reference

import (
	"context"
	"flag"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/workflow"
)

var update = flag.Bool("update", false, "write the golden page")

// Load gives bytes, as [engine.Filter] says.
//
// It has a second paragraph.
type Load struct {
	// URL is where the bytes
	// are: a | b.
	URL  string `yaml:"url,required"`
	Size int64  `yaml:"size,size"` // in bytes
	// Wait is how long it waits.
	Wait time.Duration `yaml:"wait"`
	// Parts are its parts.
	Parts map[string][]Part `yaml:"parts,literal"`
	// Open is anything.
	Open any `yaml:"open"`
	// Hidden is no field of the workflow.
	Hidden int
}

// Part is a part.
type Part struct {
	// From is where it comes from.
	From string `yaml:"from,target,required"`
	// Share is how much.
	Share float64 `yaml:"share"`
}

// Filter gives nothing.
func (*Load) Filter(context.Context, *engine.Task, []engine.Source) (engine.Source, error) {
	return nil, nil
}

// Mute says nothing.
type Mute struct{}

// Bare lacks a comment.
type Bare struct {
	Field string `yaml:"field"`
}

func source0(t *testing.T) fstest.MapFS {
	t.Helper()
	data, err := os.ReadFile("reference_test.go")
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"verbs.go": {Data: data}, "other_test.go": {Data: []byte("not Go")}}
}

func TestPage(t *testing.T) {
	got, err := Page(map[string]engine.Verb{
		"load": {New: func() any { return new(Load) }, Class: engine.Pure,
			Outputs: map[string]engine.Type{"size": engine.Int, "delta": engine.Bool}},
		"mute": {New: func() any { return new(Mute) }, Class: engine.Resumable},
	}, source0(t))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/page.md", got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/page.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the page is\n%s\nwant testdata/page.md; -update writes it", got)
	}
	for _, word := range workflow.Words {
		if !strings.Contains(string(got), "| `"+word+"` |") {
			t.Errorf("the page does not explain the word %s", word)
		}
	}
}

func TestMissingComment(t *testing.T) {
	for _, tt := range []struct {
		name string
		verb func() any
		want string
	}{
		{"of a field", func() any { return new(Bare) }, "verb x: Bare.Field has no comment"},
		{"of a type elsewhere", func() any { return new(strings.Builder) }, "verb x: Builder has no comment"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Page(map[string]engine.Verb{"x": {New: tt.verb}}, source0(t))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
