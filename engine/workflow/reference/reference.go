// Package reference writes the reference page of the workflow file from the
// verbs themselves: their fields, tags and comments. It is for tests and
// tools; no program needs it on a device.
//
// [Page] takes the registry and the folder of its source. The committed page
// is compared with it in a test, so that it cannot become stale.
package reference

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/workflow"
	"github.com/updraft-ota/updraft/internal/document"
)

//go:embed intro.md
var intro string

// Page writes the page of all verbs. source holds the Go files that declare
// their types, and the types of their fields; a verb or field that has no comment
// there is an error, since it would have no explanation.
func Page(verbs map[string]engine.Verb, source fs.FS) ([]byte, error) {
	src, err := parse(source)
	if err != nil {
		return nil, err
	}
	p := &page{source: src}
	p.WriteString(strings.ReplaceAll(intro, "FUNCTIONS", "`"+strings.Join(workflow.Functions, "`, `")+"`"))
	p.WriteString("\n## Verbs\n")
	for _, name := range slices.Sorted(maps.Keys(verbs)) {
		if err := p.verb(name, verbs[name]); err != nil {
			return nil, err
		}
	}
	p.codes()
	return p.Bytes(), nil
}

type page struct {
	bytes.Buffer
	source source
}

func (p *page) verb(name string, verb engine.Verb) error {
	v := verb.New()
	t := reflect.TypeOf(v).Elem()
	text, err := p.source.describe(t.Name())
	if err != nil {
		return fmt.Errorf("verb %s: %w", name, err)
	}
	fmt.Fprintf(p, "\n### %s\n\n%s\n", name, text)
	rows, err := p.source.rows(t, "")
	if err != nil {
		return fmt.Errorf("verb %s: %w", name, err)
	}
	if len(rows) > 0 {
		p.WriteString("\n| field | takes | meaning |\n|---|---|---|\n" + strings.Join(rows, ""))
	}
	if said := promises(v, verb); said != "" {
		fmt.Fprintf(p, "\n%s\n", said)
	}
	return nil
}

// promises says what a verb gives and how it behaves.
func promises(v any, verb engine.Verb) string {
	var said []string
	if _, ok := v.(engine.Filter); ok {
		said = append(said, "Gives bytes that other steps read.")
	}
	var outputs []string
	for _, name := range slices.Sorted(maps.Keys(verb.Outputs)) {
		outputs = append(outputs, fmt.Sprintf("`%s` (%s)", name, verb.Outputs[name]))
	}
	if outputs != nil {
		said = append(said, "Outputs: "+strings.Join(outputs, ", ")+".")
	}
	if class := classes[verb.Class]; class != "" {
		said = append(said, class)
	}
	return strings.Join(said, " ")
}

var classes = map[engine.Class]string{
	engine.Pure:       "Changes nothing on the device.",
	engine.Idempotent: "After a power cut it is done again from the start.",
	engine.Resumable:  "After a power cut it goes on where it was.",
	engine.Once:       "Is never done twice: after a power cut it is found out how far it came.",
}

func (p *page) codes() {
	p.WriteString("\n## Error codes\n\n| code | meaning |\n|---|---|\n")
	for _, code := range slices.SortedFunc(maps.Keys(document.Codes), cmp.Compare[string]) {
		fmt.Fprintf(p, "| %s | %s |\n", code, cell(document.Codes[code]))
	}
}

// cell makes a text fit into a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|")
}
