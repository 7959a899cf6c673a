package workflow

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/document"
)

// compiler checks one expression and compiles it.
type compiler struct {
	*reader
	node  *document.Node
	piece piece
	step  *step
	roots []string
	refs  []ref
	err   *document.Problem
}

func (c *compiler) compile() (*expression, *document.Problem) {
	e := &expression{piece: c.piece}
	if strings.TrimSpace(c.piece.text) == "" {
		return nil, c.report(0, len(c.piece.text), document.BadExpression, "the expression is empty")
	}
	if len(c.piece.text) > maxLength {
		return nil, c.report(0, 1, document.BadExpression, fmt.Sprintf("the expression has %d bytes, %d are possible", len(c.piece.text), maxLength))
	}
	tree, over, err := parseExpression(c.piece.text)
	if err != nil {
		return nil, c.reportAt(err.at, document.BadExpression, err.text)
	}
	c.walk(tree)
	if c.err != nil {
		return nil, c.err
	}
	if over != nil {
		return nil, c.reportAt(*over, document.ExpressionType, fmt.Sprintf("expression: more than %d parts, the maximum allowed nodes", maxNodes))
	}
	if err := check(tree, c.refs); err != nil {
		return nil, c.reportAt(err.at, document.ExpressionType, err.text)
	}
	e.tree, e.refs, e.kind = tree, c.refs, tree.typ.kind
	e.direct = len(c.refs) == 1 && tree.path() != nil
	return e, nil
}

// report keeps the first problem, at an offset of the expression in bytes.
func (c *compiler) report(offset, width int, code, text string) *document.Problem {
	if c.err == nil {
		p := c.node.Part(c.piece.offset+offset, width, code, text)
		c.err = &p
	}
	return c.err
}

// part turns a part of the expression into offset and width, which is in characters.
func (e piece) part(at span) (offset, width int) {
	return at.from, utf8.RuneCountInString(e.text[at.from:at.to])
}

func (c *compiler) reportAt(at span, code, text string) *document.Problem {
	offset, width := c.piece.part(at)
	return c.report(offset, width, code, text)
}

// walk finds names, and elements that are not chosen by a number.
func (c *compiler) walk(n *node) {
	if n.form == name || n.form == element {
		c.member(n)
		return
	}
	for _, part := range n.parts {
		if part != nil { // a bound of a slice that is absent
			c.walk(part)
		}
	}
}

// member checks a name such as inputs.release, or an element such as
// split(facts.version, ".")[0].
func (c *compiler) member(n *node) {
	path := n.nodes()
	if path == nil {
		if _, number := n.parts[1].value.(int); !number {
			c.reportAt(n.parts[1].at, document.BadExpression, "the name of a value must stand there as it is")
			return
		}
		c.walk(n.parts[0])
		return
	}
	root := path[0].word()
	if !slices.Contains(c.roots, root) {
		problem := document.Unknown("name", root, c.roots)
		if slices.Contains(allRoots, root) {
			problem = fmt.Sprintf("%s has no values here, the compat list comes before every step (have %q)", root, c.roots)
		}
		c.reportAt(path[0].at, document.BadExpression, problem)
		return
	}
	want := 2
	if root == "steps" {
		want = 3
	}
	if len(path) > 1 {
		f := ref{root: root, name: path[len(path)-1].word()}
		c.names(f, path, want)
	}
	if len(path) != want && c.err == nil {
		form := map[int]string{2: root + ".<name>", 3: "steps.<id>.<output>"}[want]
		c.reportAt(path[len(path)-1].at, document.BadExpression, "expected "+form)
	}
}

// names checks the names behind the root and keeps the ref.
func (c *compiler) names(f ref, path []*node, want int) {
	known := map[string]engine.Type{}
	code := document.UnknownOutput
	switch f.root {
	case "inputs":
		code = document.UnknownInput
		for name, in := range c.graph.Inputs {
			known[name] = in.Type
		}
	case "facts":
		code = document.UnknownFact
		known = c.facts(path[1].word())
	case "release":
		known = releaseFields
	case "run":
		known = runFields
	case "steps":
		f.step = path[1].word()
		from := c.byID[f.step]
		if from == nil {
			c.reportAt(path[1].at, document.UnknownStep, c.unknownStep(f.step))
			return
		}
		c.link(f.step)
		if known = from.verb.Outputs; from.body == nil && len(path) == want {
			known = map[string]engine.Type{path[2].word(): ""} // that it has no verb is problem enough
		}
	}
	if len(path) < want {
		return
	}
	at := path[want-1]
	kind, ok := known[at.word()]
	kindText := map[string]string{"inputs": "input", "facts": "fact", "steps": "output of " + f.step}[f.root]
	if !ok {
		c.reportAt(at.at, code, document.Unknown(cmp.Or(kindText, "value of "+f.root), at.word(), slices.Collect(maps.Keys(known))))
		return
	}
	f.name, f.kind = at.word(), kind
	if !slices.Contains(c.refs, f) {
		c.refs = append(c.refs, f)
	}
}

// facts are those of the device; without one every name is a fact.
func (c *compiler) facts(name string) map[string]engine.Type {
	known := map[string]engine.Type{}
	if c.env.Device == nil {
		known[name] = engine.String
		return known
	}
	for _, f := range c.env.Device.Facts {
		known[f] = engine.String
	}
	return known
}

// unknownStep explains; an id with a dash reads as a subtraction.
func (c *compiler) unknownStep(id string) string {
	for _, known := range slices.Sorted(maps.Keys(c.byID)) {
		if strings.HasPrefix(known, id+"-") {
			return fmt.Sprintf(`unknown step %q, did you mean steps[%q]?`, id, known)
		}
	}
	return document.Unknown("step", id, slices.Collect(maps.Keys(c.byID)))
}

// link makes the step that an expression stands in depend on the one it names.
func (c *compiler) link(id string) {
	if c.step != nil {
		c.step.refs = append(c.step.refs, link{id: id, at: c.node})
	}
}
