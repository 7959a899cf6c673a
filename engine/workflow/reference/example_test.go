package reference_test

import (
	"bytes"
	"context"
	"fmt"
	"testing/fstest"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/workflow/reference"
)

// Notify is a verb of a maker's own.
type Notify struct {
	// Text is what the screen shows.
	Text string `yaml:"text,required"`
}

// Do shows the text.
func (n *Notify) Do(_ context.Context, t *engine.Task) error {
	t.Report(n.Text)
	return nil
}

// The section of one verb, from the source file that declares it.
func ExamplePage() {
	source := fstest.MapFS{"notify.go": {Data: []byte(`package verbs

// Notify shows a text on the device's screen.
type Notify struct {
	// Text is what the screen shows.
	Text string
}
`)}}
	page, err := reference.Page(map[string]engine.Verb{
		"notify": {New: func() any { return new(Notify) }, Class: engine.Idempotent},
	}, source)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, verbs, _ := bytes.Cut(page, []byte("## Verbs\n\n"))
	section, _, _ := bytes.Cut(verbs, []byte("## "+"Error"))
	fmt.Printf("%s", section)
	// Output:
	// ### notify
	//
	// Notify shows a text on the device's screen.
	//
	// | field | takes | meaning |
	// |---|---|---|
	// | `text` | text, required | Text is what the screen shows. |
	//
	// After a power cut it is done again from the start.
}
