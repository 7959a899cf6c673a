// Package workflow reads a workflow file, checks all of it at once and gives
// the engine a graph whose conditions and bindings are closures.
//
// [Read] is the first call, and the only one that the engine needs: the same
// text read again gives the same graph, so a run is resumed from the stored
// text. [Inputs] brings what a user or a cloud hands over into the declared types.
//
//	apiVersion: updraft/v1
//	kind: Workflow
//	name: gateway-rootfs
//	inputs: {release: {type: string}}
//	steps:
//	  - id: image
//	    fetch: {manifest: "${{ inputs.release }}", artifact: image}
//	    retry: {max: 5, backoff: 2s}
//	  - id: write
//	    install: {artifacts: {image: image}, targets: {out: {target: rootfs@inactive}}}
//
// Steps come in the order of the document. A step depends on the steps whose
// bytes it reads, on those whose outputs its expressions name, and on those in
// its needs. Without needs and without bytes to read it depends on the step before
// it; `needs: []` makes it independent of that.
//
// The errors of Read are [document.Problems]. What can be known before a run is
// checked before a run: verbs, fields and their types, step ids, circles, and,
// if the device is known, targets, slots and facts.
//
// # Expressions
//
// Every scalar of a verb may be or hold an expression in ${{ }}, but for fields
// that must be known before the run (tagged literal, target, fact or file) and what
// Reads and Touches give. An expression sees
//
//	inputs.<name>          the declared inputs
//	facts.<name>           the facts of the device file, all text
//	release.name, .version, .securityVersion   of the manifest fetched last
//	steps.<id>.<output>    what the step's verb gives
//	run.id
//
// and yields the field's type, or text if it stands beside other text. There are
// the usual operators, `a ? b : c`, `a ?? b` for what has no value yet, `in`,
// `matches`, and a few functions whose results are no larger than what they are
// given. Nothing loops, so an expression's cost is bounded by its length.
//
// A verb's Check, Reads and Touches are called while reading, on a value whose
// expressions are replaced by placeholders: the text itself in text fields, 1,
// true or a minute in others. Check should report at the field that is wrong.
package workflow

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/document"
)

// What a workflow may have at the most.
const (
	MaxSteps       = 256
	MaxExpressions = 1000
)

// Env is what a workflow is checked against.
type Env struct {
	// Verbs are those that a step may name. The verb "compat" reads the compat list.
	Verbs map[string]engine.Verb
	// Device, if known, is what the device file says.
	Device *Device
	// File gives a file that the document names, such as a module, for
	// [engine.Graph].Files, without the digest that the document may pin behind
	// the name. It bounds its size. Without it there are no files.
	File func(name string) ([]byte, error)
}

// Device is what of a device file counts for a workflow.
type Device struct {
	Facts   []string
	Targets map[string]Target
}

// Target is a target of a device file.
type Target struct {
	Type  string   // "slots", "directory" or "file"
	Slots []string // of "slots": their names
}

// file is the shape of a workflow; steps are read one by one.
type file struct {
	APIVersion string           `yaml:"apiVersion,required"`
	Kind       string           `yaml:"kind,required"`
	Name       string           `yaml:"name,required"`
	Inputs     *document.Node   `yaml:"inputs"`
	Compat     []*document.Node `yaml:"compat"`
	Steps      []*document.Node `yaml:"steps,required"`
	Report     *document.Node   `yaml:"report"`
}

// Read checks a workflow and makes its graph. name is the file's name in
// messages. Every problem is found in one go; the error is [document.Problems].
func Read(name string, data []byte, env Env) (*engine.Graph, error) {
	doc, err := document.Load(name, data)
	if err != nil {
		return nil, err
	}
	r := &reader{
		doc: doc, env: env, byID: map[string]*step{},
		templates: map[*document.Node]*template{},
		graph:     &engine.Graph{Document: slices.Clone(data), Files: map[string][]byte{}, Inputs: map[string]engine.Input{}},
	}
	r.read()
	if err := r.problems.Err(); err != nil {
		return nil, err
	}
	r.finish()
	r.checkGraph()
	if err := r.problems.Err(); err != nil {
		return nil, err
	}
	return r.graph, nil
}

// reader is one reading of a document.
type reader struct {
	doc       *document.Document
	env       Env
	graph     *engine.Graph
	problems  document.Problems
	compat    []*step
	steps     []*step
	byID      map[string]*step
	templates map[*document.Node]*template // of all scalars with expressions
	report    *document.Node
}

func (r *reader) read() {
	var f file
	probe := struct {
		Kind *document.Node `yaml:"kind"`
	}{}
	_ = r.doc.Root.Decode(&probe, document.Hooks{}) // its other keys are no problem yet
	if k := probe.Kind; k != nil && k.Kind == document.Scalar && k.Text != "Workflow" {
		r.at(k, document.WrongKind, fmt.Sprintf("expected kind Workflow, found %q", k.Text))
		return
	}
	r.decode(r.doc.Root, &f)
	r.head(f)
	r.inputs(f.Inputs)
	r.collect(f)
	for _, s := range slices.Concat(r.compat, r.steps) {
		r.verb(s)
	}
	r.fields(f.Report)
	r.link()
}

var nameShape = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// head checks what stands at the top of the file.
func (r *reader) head(f file) {
	root := r.doc.Root
	if root.Kind != document.Map {
		return
	}
	if n := root.Get("apiVersion"); n != nil && f.APIVersion != "" && f.APIVersion != "updraft/v1" {
		r.at(n, document.WrongKind, fmt.Sprintf("expected apiVersion updraft/v1, found %q", f.APIVersion))
	}
	if f.Name != "" && !nameShape.MatchString(f.Name) {
		r.at(root.Get("name"), document.BadValue, "a name has at most 64 letters, digits, '.', '_' and '-' and begins with a letter or digit")
	}
	switch n := root.Get("steps"); {
	case n == nil || n.Kind != document.List:
	case len(n.Items) == 0:
		r.at(n, document.BadValue, "a workflow has at least one step")
	case len(n.Items) > MaxSteps:
		r.at(n, document.BadValue, fmt.Sprintf("%d steps, %d are possible", len(n.Items), MaxSteps))
	}
	r.graph.Name = f.Name
}

// at notes a problem at a node.
func (r *reader) at(n *document.Node, code, text string) {
	r.problems = append(r.problems, n.Problem(code, text))
}

// decode puts a part without expressions into v and reports whether it fits.
func (r *reader) decode(n *document.Node, v any) bool {
	return r.note(n.Decode(v, document.Hooks{})) && !n.IsBroken()
}

// note keeps the problems of an error of package document and reports whether
// there are none.
func (r *reader) note(err error) bool {
	if ps, ok := err.(document.Problems); ok {
		r.problems = append(r.problems, ps...)
	}
	return err == nil
}

// fields reads the report's fields.
func (r *reader) fields(n *document.Node) {
	if n == nil {
		return
	}
	var report struct {
		Fields *document.Node `yaml:"fields,required"`
	}
	if !r.decode(n, &report) || report.Fields == nil {
		return
	}
	var fields map[string]any
	r.note(report.Fields.Decode(&fields, r.draft(nil, allRoots)))
	r.report = report.Fields
}
