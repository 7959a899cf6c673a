package workflow

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/conf"
	exprfile "github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"

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
	tree, err := c.parse()
	if err != nil {
		p := e.problem(c.node, document.BadExpression, err)
		return nil, &p
	}
	c.walk(tree.Node)
	if c.err != nil {
		return nil, c.err
	}
	if e.tree, err = c.check(); err != nil {
		p := e.problem(c.node, document.ExpressionType, err)
		return nil, &p
	}
	_, name := tree.Node.(*ast.MemberNode)
	e.refs, e.direct = c.refs, name && len(c.refs) == 1 && len(c.path(tree.Node)) > 0
	e.kind = kindOfType(e.tree.Type())
	return e, nil
}

// parse reads the text. The library's panics, if it has any, are its errors.
func (c *compiler) parse() (tree *parser.Tree, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot be read: %v", p)
		}
	}()
	return parser.Parse(c.piece.text)
}

// check gives the tree with the types of all its parts, which follow from
// those of the names in it.
func (c *compiler) check() (tree ast.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot be compiled: %v", p)
		}
	}()
	config := conf.New(namesOf(c.refs))
	config.MaxNodes = maxNodes
	for _, name := range builtin.Names {
		if !slices.Contains(Functions, name) {
			config.Disabled[name] = true
			delete(config.Builtins, name)
		}
	}
	checked, err := checker.ParseCheck(c.piece.text, config)
	if err != nil {
		return nil, err
	}
	return checked.Node, nil
}

// namesOf gives the library the types of names.
func namesOf(refs []ref) types.Map {
	names := types.Map{}
	for _, f := range refs {
		at := names
		for _, key := range f.path()[:len(f.path())-1] {
			if at[key] == nil {
				at[key] = types.Map{}
			}
			at = at[key].(types.Map)
		}
		at[f.name] = exprTypes[f.kind]
	}
	return names
}

// report keeps the first problem, at an offset of the expression in bytes.
func (c *compiler) report(offset, width int, code, text string) *document.Problem {
	if c.err == nil {
		p := c.node.Part(c.piece.offset+offset, width, code, text)
		c.err = &p
	}
	return c.err
}

// bytes turns a place of the library, in characters, into offset and width.
func (e piece) bytes(l exprfile.Location) (offset, width int) {
	runes := []rune(e.text)
	from := max(0, min(l.From, len(runes)))
	to := max(from, min(l.To, len(runes)))
	return len(string(runes[:from])), to - from
}

func (c *compiler) reportAt(n ast.Node, code, text string) {
	offset, width := c.piece.bytes(n.Location())
	c.report(offset, width, code, text)
}

// problem turns an error of the expression library into a problem.
func (e *expression) problem(n *document.Node, code string, err error) document.Problem {
	var place *exprfile.Error
	if !errors.As(err, &place) {
		return n.Part(e.piece.offset, len(e.piece.text), code, "expression "+err.Error())
	}
	offset, width := e.piece.bytes(place.Location)
	return n.Part(e.piece.offset+offset, width, code, "expression: "+place.Message)
}

// walk finds names and refuses what an expression may not have.
func (c *compiler) walk(node ast.Node) {
	switch n := node.(type) {
	case *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode:
	case *ast.IdentifierNode, *ast.MemberNode:
		c.member(node)
	case *ast.UnaryNode:
		c.walk(n.Node)
	case *ast.BinaryNode:
		if slices.Contains(noOperators, n.Operator) {
			c.reportAt(n, document.BadExpression, fmt.Sprintf("operator %s is not possible", n.Operator))
		}
		c.walk(n.Left)
		c.walk(n.Right)
	case *ast.ConditionalNode:
		c.walk(n.Cond)
		c.walk(n.Exp1)
		c.walk(n.Exp2)
	case *ast.ArrayNode:
		for _, item := range n.Nodes {
			c.walk(item)
		}
	case *ast.BuiltinNode:
		if !slices.Contains(Functions, n.Name) {
			c.reportAt(n, document.BadExpression, document.Unknown("function", n.Name, Functions))
		}
		for _, a := range n.Arguments {
			c.walk(a)
		}
	case *ast.SliceNode:
		for _, part := range []ast.Node{n.Node, n.From, n.To} {
			if part != nil {
				c.walk(part)
			}
		}
	case *ast.CallNode:
		name := "call"
		if f, ok := n.Callee.(*ast.IdentifierNode); ok {
			name = f.Value
		}
		c.reportAt(n, document.BadExpression, document.Unknown("function", name, Functions))
	default:
		c.reportAt(node, document.BadExpression, "this is not possible in an expression")
	}
}

// path gives the names of a.b["c"], or nothing if n is something else.
func (c *compiler) path(n ast.Node) []ast.Node {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return []ast.Node{n}
	case *ast.MemberNode:
		up := c.path(n.Node)
		if _, ok := n.Property.(*ast.StringNode); ok && up != nil && !n.Optional {
			return append(up, n.Property)
		}
	}
	return nil
}

func nameOf(n ast.Node) string {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n.Value
	case *ast.StringNode:
		return n.Value
	}
	return ""
}

// member checks a name such as inputs.release, or an element such as
// split(facts.version, ".")[0].
func (c *compiler) member(node ast.Node) {
	path := c.path(node)
	if path == nil {
		m := node.(*ast.MemberNode)
		if _, element := m.Property.(*ast.IntegerNode); !element || m.Optional {
			c.reportAt(m.Property, document.BadExpression, "the name of a value must stand there as it is")
			return
		}
		c.walk(m.Node)
		return
	}
	root := nameOf(path[0])
	if !slices.Contains(c.roots, root) {
		problem := document.Unknown("name", root, c.roots)
		if slices.Contains(allRoots, root) {
			problem = fmt.Sprintf("%s has no values here, the compat list comes before every step (have %q)", root, c.roots)
		}
		c.reportAt(path[0], document.BadExpression, problem)
		return
	}
	want := 2
	if root == "steps" {
		want = 3
	}
	if len(path) > 1 {
		f := ref{root: root, name: nameOf(path[len(path)-1])}
		c.names(f, path, want)
	}
	if len(path) != want && c.err == nil {
		form := map[int]string{2: root + ".<name>", 3: "steps.<id>.<output>"}[want]
		c.reportAt(path[len(path)-1], document.BadExpression, "expected "+form)
	}
}

// names checks the names behind the root and keeps the ref.
func (c *compiler) names(f ref, path []ast.Node, want int) {
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
		known = c.facts(nameOf(path[1]))
	case "release":
		known = releaseFields
	case "run":
		known = runFields
	case "steps":
		f.step = nameOf(path[1])
		from := c.byID[f.step]
		if from == nil {
			c.reportAt(path[1], document.UnknownStep, c.unknownStep(f.step))
			return
		}
		c.link(f.step)
		if known = from.verb.Outputs; from.body == nil && len(path) == want {
			known = map[string]engine.Type{nameOf(path[2]): ""} // that it has no verb is problem enough
		}
	}
	if len(path) < want {
		return
	}
	at := path[want-1]
	kind, ok := known[nameOf(at)]
	kindText := map[string]string{"inputs": "input", "facts": "fact", "steps": "output of " + f.step}[f.root]
	if !ok {
		c.reportAt(at, code, document.Unknown(cmp.Or(kindText, "value of "+f.root), nameOf(at), slices.Collect(maps.Keys(known))))
		return
	}
	f.name, f.kind = nameOf(at), kind
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
