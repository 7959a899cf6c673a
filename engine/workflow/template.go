package workflow

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/document"
)

// template is a scalar with expressions: text and expressions in turn.
type template struct {
	node  *document.Node
	parts []part
}

// part is text, or an expression.
type part struct {
	text string
	expr *expression
}

// whole gives the expression that is all of the scalar, or nil.
func (t *template) whole() *expression {
	if len(t.parts) == 1 {
		return t.parts[0].expr
	}
	return nil
}

// piece is what stands between ${{ and }}, or beside them.
type piece struct {
	text   string
	offset int // in the scalar's text, in bytes
	code   bool
}

// split takes a text apart. Without a closing }} ok is false, and the last
// piece says where the expression begins.
func split(text string) (pieces []piece, ok bool) {
	for at := 0; at < len(text); {
		begin := strings.Index(text[at:], "${{")
		if begin < 0 {
			return append(pieces, piece{text: text[at:], offset: at}), true
		}
		begin += at
		if begin > at {
			pieces = append(pieces, piece{text: text[at:begin], offset: at})
		}
		end := closing(text[begin+3:])
		if end < 0 {
			return append(pieces, piece{offset: begin}), false
		}
		end += begin + 3
		pieces = append(pieces, piece{text: text[begin+3 : end], offset: begin + 3, code: true})
		at = end + 2
	}
	return pieces, true
}

// closing finds the }} that is not within quotes, or -1.
func closing(text string) int {
	var quote byte
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\' && quote != '`':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case strings.HasPrefix(text[i:], "}}"):
			return i
		}
	}
	return -1
}

// compile makes the template of a scalar, once. s is the step that it belongs
// to, or nil; roots are the names that its expressions may begin with.
func (r *reader) compile(n *document.Node, s *step, roots []string) (*template, *document.Problem) {
	if len(r.templates) >= MaxExpressions {
		p := n.Problem(document.BadExpression, fmt.Sprintf("more than %d expressions in a workflow", MaxExpressions))
		return nil, &p
	}
	t := &template{node: n}
	r.templates[n] = t
	pieces, closed := split(n.Text)
	if !closed {
		p := n.Part(pieces[len(pieces)-1].offset, 3, document.BadExpression, "}} is missing")
		return nil, &p
	}
	for _, p := range pieces {
		if !p.code {
			t.parts = append(t.parts, part{text: p.text})
			continue
		}
		c := compiler{reader: r, node: n, piece: p, step: s, roots: roots}
		e, problem := c.compile()
		if problem != nil {
			return nil, problem
		}
		if len(pieces) > 1 && e.kind == list {
			q := n.Part(p.offset, len(p.text), document.ExpressionType, "a list cannot stand within text")
			return nil, &q
		}
		t.parts = append(t.parts, part{expr: e})
	}
	return t, nil
}

// condition reads a step's when: an expression with or without ${{ }}.
func (r *reader) condition(s *step, n *document.Node) *template {
	if n.Kind != document.Scalar || n.Text == "" {
		r.at(n, document.WrongType, "expected an expression that gives true or false")
		return nil
	}
	t, problem := &template{node: n}, (*document.Problem)(nil)
	if n.HasTemplate() {
		t, problem = r.compile(n, s, allRoots)
	} else {
		c := compiler{reader: r, node: n, piece: piece{text: n.Text}, step: s, roots: allRoots}
		var e *expression
		e, problem = c.compile()
		t.parts = []part{{expr: e}}
	}
	if problem != nil {
		r.problems = append(r.problems, *problem)
		return nil
	}
	switch e := t.whole(); {
	case e == nil:
		r.at(n, document.ExpressionType, "expected one expression that gives true or false, found text with expressions")
	case e.kind != truth && e.kind != open:
		r.at(n, document.ExpressionType, fmt.Sprintf("expected true or false, the expression gives %s", e.kind))
	}
	return t
}

// draft gives the hooks that check a part's expressions and put placeholders
// in their place.
func (r *reader) draft(s *step, roots []string) document.Hooks {
	return document.Hooks{Draft: true, Named: r.named, Template: func(d *document.Decoding, at document.Place) (any, bool) {
		if at.Literal {
			d.Report(at.Node, document.NoExpression, "this must be known before the run, an expression is not possible here")
			return nil, false
		}
		t, problem := r.compile(at.Node, s, roots)
		if problem != nil {
			d.Note(at.Node, *problem)
			return nil, false
		}
		if text := t.misfit(at); text != "" {
			d.Report(at.Node, document.ExpressionType, text)
			return nil, false
		}
		return placeholder(at), true
	}}
}

// fill gives the hooks that put the values of expressions in their place.
func (r *reader) fill(scope *engine.Scope) document.Hooks {
	return document.Hooks{Template: func(d *document.Decoding, at document.Place) (any, bool) {
		t := r.templates[at.Node]
		if t == nil { // a type that decodes itself took another way than in the check
			d.Report(at.Node, document.NoExpression, "an expression is not possible here")
			return nil, false
		}
		v, problem := t.value(scope)
		if problem != nil {
			d.Note(at.Node, *problem)
		}
		return v, problem == nil
	}}
}

// named checks words of the document that have a role.
func (r *reader) named(d *document.Decoding, n *document.Node, role string) {
	switch {
	case role == "target":
		r.target(n, n.Text, false)
	case role == "fact":
		if dev := r.env.Device; dev != nil && !slices.Contains(dev.Facts, n.Text) {
			d.Report(n, document.UnknownFact, document.Unknown("fact", n.Text, dev.Facts))
		}
	case n.Text != "":
		r.file(d, n)
	}
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[document.Size]()
)

// ownSyntax reports whether a type reads its scalars itself.
func ownSyntax(t reflect.Type) bool {
	v := reflect.New(t).Interface()
	_, text := v.(encoding.TextUnmarshaler)
	_, node := v.(document.Decoder)
	return text || node
}

// misfit says why the template cannot give what the place takes, or "".
func (t *template) misfit(at document.Place) string {
	kind := text
	if e := t.whole(); e != nil {
		kind = e.kind
	}
	var takes []kindOf
	switch k := at.Type.Kind(); {
	case k == reflect.Interface:
		return ""
	case ownSyntax(at.Type), at.Type == durationType:
		takes = []kindOf{text}
	case at.Size || at.Type == sizeType:
		takes = []kindOf{text, whole}
	case k == reflect.String:
		takes = []kindOf{text}
	case k == reflect.Bool:
		takes = []kindOf{truth}
	case k >= reflect.Int && k <= reflect.Uint64:
		takes = []kindOf{whole}
	case k == reflect.Float32 || k == reflect.Float64:
		takes = []kindOf{whole, fraction}
	default:
		return fmt.Sprintf("expected %s; an expression gives one value, write what it consists of one by one", at.Wanted())
	}
	if kind == open || slices.Contains(takes, kind) {
		return ""
	}
	gives := "the expression gives " + kind.String()
	if t.whole() == nil {
		gives = "text with expressions gives text"
	}
	switch {
	case takes[0] == text && kind != list:
		gives += "; string(…) makes text of it"
	case len(takes) == 2 && takes[1] == fraction && kind == text:
		gives += "; float(…) makes a number of it"
	case takes[0] == whole && (kind == text || kind == fraction):
		gives += "; int(…) makes a whole number of it"
	}
	return fmt.Sprintf("expected %s, %s", at.Wanted(), gives)
}

// placeholder stands for the value of an expression until the run.
func placeholder(at document.Place) any {
	switch k := at.Type.Kind(); {
	case ownSyntax(at.Type):
		return document.Unset
	case at.Type == durationType:
		return time.Minute
	case k == reflect.String || k == reflect.Interface:
		return at.Node.Text
	case k == reflect.Bool:
		return true
	}
	return reflect.ValueOf(1).Convert(at.Type).Interface()
}

// value evaluates the template.
func (t *template) value(scope *engine.Scope) (any, *document.Problem) {
	if e := t.whole(); e != nil {
		return e.value(t.node, scope)
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.expr == nil {
			b.WriteString(p.text)
			continue
		}
		v, problem := p.expr.value(t.node, scope)
		if problem != nil {
			return nil, problem
		}
		fmt.Fprint(&b, v)
	}
	return b.String(), nil
}

// holds evaluates a condition.
func (t *template) holds(scope *engine.Scope) (bool, error) {
	v, problem := t.value(scope)
	if problem != nil {
		return false, document.Problems{*problem}
	}
	b, ok := v.(bool)
	if !ok {
		return false, document.Problems{t.node.Problem(document.Evaluation, fmt.Sprintf("expected true or false, the expression gives %v", v))}
	}
	return b, nil
}
