package workflow

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/updraft-ota/updraft/internal/document"
)

const (
	maxLength = 1000 // bytes of an expression
	maxNodes  = 200  // operators, names and constants of an expression
	maxLevels = 100  // of brackets, signs and operators in each other
)

// form says which kind of part a node is.
type form uint8

const (
	constant  form = iota
	name           // the first of a path such as inputs.release
	element        // of parts[0], named or numbered by parts[1]
	slice          // of parts[0], from parts[1] to parts[2], each of which may be nil
	unary          // of parts[0]
	binary         // of parts[0] and parts[1]
	condition      // parts[0] ? parts[1] : parts[2]
	array          // of the parts
	call           // with the parts
)

// node is a part of an expression. Once it is checked it is only read.
type node struct {
	form     form
	at       span      // what errors mark
	operator string    // or the name of a name or function
	value    any       // of a constant: string, int, float64, bool or nil
	parts    []*node   // of which this one is made
	typ      valueType // set by checker
}

// nodes gives the parts of a.b["c"], or nil if the node is something else.
func (n *node) nodes() []*node {
	if n.form == name {
		return []*node{n}
	}
	if n.form != element {
		return nil
	}
	up, key := n.parts[0].nodes(), n.parts[1]
	if _, named := key.value.(string); !named || up == nil {
		return nil
	}
	return append(up, key)
}

// path gives the names of a.b["c"], or nil if the node is something else.
func (n *node) path() (names []string) {
	for _, part := range n.nodes() {
		names = append(names, part.word())
	}
	return names
}

// word is the text of one of the nodes of a path.
func (n *node) word() string {
	if text, ok := n.value.(string); ok {
		return text
	}
	return n.operator
}

// strengths tell which of two operators takes what stands between them.
var strengths = map[string]int{
	"or": 10, "||": 10, "and": 15, "&&": 15,
	"==": 20, "!=": 20, "<": 20, ">": 20, ">=": 20, "<=": 20,
	"in": 20, "matches": 20, "contains": 20, "startsWith": 20, "endsWith": 20,
	"+": 30, "-": 30, "*": 60, "/": 60, "%": 60, "??": 500,
}

// signs are the operators of one value.
var signs = map[string]int{"not": 50, "!": 50, "-": 90, "+": 90}

// Operators of one kind: those that not may stand before, and those of which
// one cannot follow the other.
var (
	negatable = []string{"in", "matches", "contains", "startsWith", "endsWith"}
	orders    = []string{"<", ">", "<=", ">="}
)

// noOperators are not possible: a range is larger than what it is made of,
// the others are other words for what there is.
var noOperators = []string{"..", "**", "^", "?.", "|", "::", ";", "#"}

// noNames are words that other languages of expressions begin with.
var noNames = []string{"let", "if", "else"}

// parser reads an expression. After its first mistake it stands at the ending,
// so that all that it is within comes to an end.
type parser struct {
	tokens []token
	at     int
	levels int
	nodes  int
	over   *span // the first node beyond maxNodes
	err    *fault
}

// parseExpression reads an expression as a tree. What its names are, and whether types
// fit, is not looked at; over is where it has too many parts.
func parseExpression(source string) (tree *node, over *span, err *fault) {
	p := parser{}
	if p.tokens, p.err = lex(source); p.err != nil {
		return nil, nil, p.err
	}
	tree = p.expression(0)
	if t := p.token(); t.kind != ending {
		p.unexpected(t)
	}
	return tree, p.over, p.err
}

func (p *parser) token() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.token()
	p.at = min(p.at+1, len(p.tokens)-1)
	return t
}

// accept passes over a sign or word if it comes next.
func (p *parser) accept(text string) bool {
	ok := p.token().is(text)
	if ok {
		p.next()
	}
	return ok
}

func (p *parser) expect(text string) {
	t := p.token()
	switch {
	case p.accept(text):
	case slices.Contains(noOperators, t.text):
		p.unexpected(t)
	default:
		p.fail(t.at, fmt.Sprintf("expression: unexpected %s, expected %q", t, text))
	}
}

// fail keeps the first mistake and gives something to go on with.
func (p *parser) fail(at span, text string) *node {
	if p.err == nil {
		p.err = &fault{at, text}
		p.at = len(p.tokens) - 1
	}
	return &node{at: at}
}

func (p *parser) unexpected(t token) *node {
	if slices.Contains(noOperators, t.text) && t.kind == symbol {
		return p.fail(t.at, fmt.Sprintf("expression: operator %s is not possible", t.text))
	}
	return p.fail(t.at, "expression: unexpected "+t.String())
}

func (p *parser) add(n *node) *node {
	if p.nodes++; p.nodes == maxNodes+1 {
		p.over = &n.at
	}
	return n
}

// expression reads operators that are at least as strong as the one before.
func (p *parser) expression(least int) *node {
	p.levels++
	defer func() { p.levels-- }()
	if p.levels > maxLevels {
		return p.fail(p.token().at, fmt.Sprintf("expression: unexpected %s, %d levels are possible", p.token(), maxLevels))
	}
	left, before := p.primary(), ""
	for p.err == nil {
		op := p.token()
		negated := op.is("not")
		if negated {
			if op = p.tokens[min(p.at+1, len(p.tokens)-1)]; op.kind != word || !slices.Contains(negatable, op.text) {
				return p.unexpected(op)
			}
		}
		strength, known := strengths[op.text]
		if !known || op.kind == quoted || strength < least {
			break
		}
		if text := together(before, op.text); text != "" {
			return p.fail(op.at, text)
		}
		if negated {
			p.next()
		}
		p.next()
		left = p.add(&node{form: binary, at: op.at, operator: op.text, parts: []*node{left, p.expression(strength + 1)}})
		if negated {
			left = p.add(&node{form: unary, at: op.at, operator: "not", parts: []*node{left}})
		}
		before = op.text
	}
	if t := p.token(); least == 0 && p.accept("?") {
		yes := p.expression(0)
		p.expect(":")
		left = p.add(&node{form: condition, at: t.at, operator: "?", parts: []*node{left, yes, p.expression(0)}})
	}
	return left
}

// together says why an operator cannot follow the one before it, or "".
func together(before, operator string) string {
	switch {
	case before == "??" && operator != "??":
		return fmt.Sprintf("expression: operator %s cannot follow ??, put one of them into brackets", operator)
	case slices.Contains(orders, before) && slices.Contains(orders, operator):
		return fmt.Sprintf("expression: %s cannot follow %s, write two comparisons with and between them", operator, before)
	}
	return ""
}

func (p *parser) primary() *node {
	t := p.next()
	if strength, sign := signs[t.text]; sign && t.kind != quoted {
		n := &node{form: unary, at: t.at, operator: t.text, parts: []*node{p.expression(strength)}}
		return p.add(n)
	}
	switch {
	case t.kind == quoted:
		return p.behind(p.add(&node{at: t.at, value: t.text}))
	case t.kind == digits:
		return p.number(t)
	case t.kind == word:
		return p.word(t)
	case t.is("("):
		n := p.expression(0)
		p.expect(")")
		return p.behind(n)
	case t.is("["):
		items := p.list("]")
		return p.behind(p.add(&node{form: array, at: t.at, parts: items}))
	case t.is("{"):
		return p.fail(t.at, "expression: a map is not possible")
	}
	return p.unexpected(t)
}

func (p *parser) number(t token) *node {
	if n, err := strconv.Atoi(t.text); err == nil {
		return p.add(&node{at: t.at, value: n})
	}
	f, err := strconv.ParseFloat(t.text, 64)
	if isWhole := !slices.ContainsFunc([]byte(t.text), func(c byte) bool { return c < '0' || c > '9' }); err != nil || isWhole || math.IsInf(f, 0) {
		return p.fail(t.at, fmt.Sprintf("expression: the number %s is too large", t.text))
	}
	return p.add(&node{at: t.at, value: f})
}

// word reads what begins with a word that is no sign.
func (p *parser) word(t token) *node {
	switch t.text {
	case "true", "false":
		return p.add(&node{at: t.at, value: t.text == "true"})
	case "nil":
		return p.add(&node{at: t.at})
	}
	if slices.Contains(noNames, t.text) {
		return p.fail(p.token().at, fmt.Sprintf("expression: %s is not possible", t.text))
	}
	if strengths[t.text] > 0 {
		return p.unexpected(t)
	}
	if !p.token().is("(") {
		return p.behind(p.add(&node{form: name, at: t.at, operator: t.text}))
	}
	if _, known := functions[t.text]; !known {
		return p.fail(t.at, document.Unknown("function", t.text, Functions))
	}
	p.next()
	arguments := p.list(")")
	return p.behind(p.add(&node{form: call, at: t.at, operator: t.text, parts: arguments}))
}

// list reads values with commas between them, to the bracket that closes them.
func (p *parser) list(closing string) (items []*node) {
	for p.err == nil && !p.token().is(closing) {
		items = append(items, p.expression(0))
		if !p.accept(",") {
			break
		}
	}
	p.expect(closing)
	return items
}

// behind reads the .name, [element] and [from:to] behind a value.
func (p *parser) behind(n *node) *node {
	for p.err == nil {
		t := p.token()
		switch {
		case p.accept("."):
			of := p.next()
			if of.kind != word {
				return p.unexpected(of)
			}
			if p.token().is("(") {
				return p.noMethod(of)
			}
			key := p.add(&node{at: of.at, value: of.text})
			n = p.add(&node{form: element, at: of.at, parts: []*node{n, key}})
		case p.accept("["):
			n = p.bracket(t, n)
		default:
			return n
		}
	}
	return n
}

// noMethod refuses a call behind a dot.
func (p *parser) noMethod(t token) *node {
	if _, known := functions[t.text]; known {
		return p.fail(t.at, fmt.Sprintf("expression: %s takes its values in brackets, as in %[1]s(a), not before a dot", t.text))
	}
	return p.fail(t.at, document.Unknown("function", t.text, Functions))
}

func (p *parser) bracket(t token, of *node) *node {
	n := &node{form: slice, at: t.at, parts: []*node{of, nil, nil}}
	if !p.token().is(":") {
		n.parts[1] = p.expression(0)
	}
	if !p.accept(":") {
		n.form, n.parts = element, n.parts[:2]
	} else if !p.token().is("]") {
		n.parts[2] = p.expression(0)
	}
	p.expect("]")
	return p.add(n)
}
