package workflow

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	exprfile "github.com/expr-lang/expr/file"
	exprlexer "github.com/expr-lang/expr/parser/lexer"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"

	"github.com/updraft-ota/updraft/engine"
)

// evaluated are the names of the tests below, with their values.
var evaluated = []struct {
	ref
	value any
}{
	{ref{root: "inputs", name: "text", kind: engine.String}, "1.10.2"},
	{ref{root: "inputs", name: "none", kind: engine.String}, nil},
	{ref{root: "inputs", name: "whole", kind: engine.Int}, 7},
	{ref{root: "inputs", name: "least", kind: engine.Int}, -1 << 31},
	{ref{root: "inputs", name: "truth", kind: engine.Bool}, true},
	{ref{root: "inputs", name: "open"}, "ab"},
	{ref{root: "steps", step: "a-b", name: "size", kind: engine.Int}, nil},
}

// outcome is what came of an expression: a value with its type, or an error
// with its place, in characters.
type outcome struct {
	kind     kindOf
	value    any
	stage    string // "compile", "evaluate" or "" for a value
	says     string
	from, to int
	more     bool // than the library sees: it does not look at bounds of a slice of something open
}

// inOpenSlice reports whether a place is in the bounds of a slice of something
// whose type is known only when it is evaluated.
func inOpenSlice(n *node, at span) bool {
	if n == nil {
		return false
	}
	for i, part := range n.parts {
		if n.form == slice && i > 0 && n.parts[0].typ.open() && holds(part, at) || inOpenSlice(part, at) {
			return true
		}
	}
	return false
}

func holds(n *node, at span) bool {
	return n != nil && (n.at == at || slices.ContainsFunc(n.parts, func(p *node) bool { return holds(p, at) }))
}

func (o outcome) String() string {
	if o.stage == "" {
		return fmt.Sprintf("%T %#v as %s", o.value, o.value, o.kind)
	}
	return fmt.Sprintf("%s error at %d to %d: %s", o.stage, o.from, o.to, o.says)
}

// ours is what workflows make of an expression.
func ours(text string) (o outcome) {
	var refs []ref
	env := map[string]any{}
	for _, e := range evaluated {
		refs = append(refs, e.ref)
		e.put(env, e.value)
	}
	failed := func(stage string, f *fault) outcome {
		before := utf8.RuneCountInString(text[:f.at.from])
		return outcome{stage: stage, says: strings.TrimPrefix(f.text, "expression: "), from: before, to: before + utf8.RuneCountInString(text[f.at.from:f.at.to])}
	}
	tree, over, err := parseExpression(text)
	defer func() { o.more = o.stage == "compile" && err != nil && inOpenSlice(tree, err.at) }()
	if err == nil && over != nil {
		err = &fault{*over, "too many nodes"}
	}
	if err == nil {
		err = check(tree, refs)
	}
	if err != nil {
		return failed("compile", err)
	}
	v, err := evaluate(tree, env)
	if err != nil {
		return failed("evaluate", err)
	}
	return outcome{kind: tree.typ.kind, value: v}
}

// theirs is what another library for the same language makes of it.
func theirs(source string) outcome {
	names, env := types.Map{}, map[string]any{}
	for _, e := range evaluated {
		at := names
		for _, key := range e.path()[:len(e.path())-1] {
			if at[key] == nil {
				at[key] = types.Map{}
			}
			at = at[key].(types.Map)
		}
		at[e.name] = map[engine.Type]types.Type{"": types.Any, engine.String: types.String, engine.Int: types.Int, engine.Bool: types.Bool}[e.ref.kind]
		e.put(env, e.value)
	}
	options := []expr.Option{expr.Env(names), expr.MaxNodes(maxNodes), expr.Optimize(false), expr.DisableAllBuiltins()}
	for _, f := range Functions {
		options = append(options, expr.EnableBuiltin(f))
	}
	failed := func(stage string, err error) outcome {
		o := outcome{stage: stage, says: err.Error()}
		if place := (*exprfile.Error)(nil); errors.As(err, &place) {
			o.says, o.from, o.to = place.Message, place.From, place.To
		}
		return o
	}
	program, err := expr.Compile(source, options...)
	if err != nil {
		return failed("compile", err)
	}
	v, err := vm.Run(program, env)
	if err != nil {
		return failed("evaluate", err)
	}
	kinds := map[string]kindOf{"string": text, "int": whole, "float64": fraction, "bool": truth, "[]interface {}": list, "[]string": list}
	return outcome{kind: kinds[program.Node().Type().String()], value: v}
}

// conditional reports whether an expression may have a condition.
func conditional(text string) bool {
	return strings.Contains(strings.ReplaceAll(text, "??", ""), "?")
}

// differ says in what the two outcomes of an expression differ, or "".
func differ(text string, got, want outcome) string {
	problem := ""
	switch {
	case got.more:
	case got.stage != want.stage:
		problem = "one has an error"
	case got.stage == "":
		if got.String() != want.String() {
			problem = "values or types"
		}
	case got.stage == "compile" && strings.Contains(want.says, "exceeds maximum allowed nodes"):
		if got.says != "too many nodes" && !strings.Contains(got.says, "levels are possible") {
			problem = "limits"
		}
	case got.stage == "compile":
		// Only the library tries each form of trim and split in turn, and
		// marks what stands behind a condition.
		if (got.from != want.from || got.to != want.to) && !strings.Contains(text, "trim") && !strings.Contains(text, "split(") && !conditional(text) {
			problem = "places"
		}
	case !strings.HasPrefix(want.says, "reflect: call of "):
		// Which of two wrong types an operator complains of does not matter.
		a, _, _ := strings.Cut(got.says, "{} is ")
		b, _, _ := strings.Cut(want.says, "{} is ")
		if a != b {
			problem = "messages"
		}
		if (got.from != want.from || got.to != want.to) && !conditional(text) {
			problem = "places"
		}
	}
	if problem != "" {
		return fmt.Sprintf("%s: %s\nours:   %s\ntheirs: %s", text, problem, got, want)
	}
	return ""
}

// expressions makes expressions of everything that one may have. Most have a
// wrong type somewhere, so it knows a little of types.
type expressions struct{ choose func(n int) int }

func (x expressions) one(of []string) string { return of[x.choose(len(of))] }

func (x expressions) any(depth int) string {
	if x.choose(8) == 0 {
		return x.mixed(depth)
	}
	return []func(int) string{x.text, x.number, x.truth, x.list}[x.choose(4)](depth)
}

func (x expressions) text(depth int) string {
	if depth == 0 {
		return x.one([]string{"''", "'ab'", "'1.10'", "'12'", "'.'", "'b'", "' ü '", "inputs.text", "inputs.none", "inputs.open", "nil"})
	}
	d := depth - 1
	switch x.choose(8) {
	case 0:
		return x.text(0)
	case 1:
		return "(" + x.text(d) + " + " + x.text(d) + ")"
	case 2:
		return x.one([]string{"lower", "upper", "trim", "trimPrefix", "trimSuffix", "string"}) + "(" + x.text(d) + ")"
	case 3:
		return x.one([]string{"trim", "trimPrefix", "trimSuffix"}) + "(" + x.text(d) + ", " + x.text(0) + ")"
	case 4:
		return "string(" + x.any(d) + ")"
	case 5:
		return x.text(d) + "[" + x.one([]string{"", "1", "-2", x.number(d)}) + ":" + x.one([]string{"", "2", "-1", "9", x.number(d)}) + "]"
	case 6:
		return x.one([]string{"first", "last"}) + "(" + x.list(d) + ")"
	}
	return "(" + x.truth(d) + " ? " + x.text(d) + " : " + x.text(d) + ")"
}

func (x expressions) number(depth int) string {
	if depth == 0 {
		return x.one([]string{"0", "1", "3", "-2", "2.5", "0.0", "1e300", "9223372036854775807", "inputs.whole", "inputs.least", "steps['a-b'].size", "inputs.open", "nil"})
	}
	d := depth - 1
	switch x.choose(9) {
	case 0:
		return x.number(0)
	case 1, 2:
		return "(" + x.number(d) + x.one([]string{" + ", " - ", " * ", " / ", " % "}) + x.number(d) + ")"
	case 3:
		return x.one([]string{"-", "+"}) + x.number(d)
	case 4:
		return x.one([]string{"abs", "ceil", "floor", "round", "int", "float"}) + "(" + x.number(d) + ")"
	case 5:
		return x.one([]string{"int", "float", "len"}) + "(" + x.text(d) + ")"
	case 6:
		return x.one([]string{"max", "min"}) + "(" + x.number(d) + ", " + x.one([]string{x.number(d), x.list(d)}) + ")"
	case 7:
		return x.one([]string{"indexOf", "lastIndexOf"}) + "(" + x.text(d) + ", " + x.text(0) + ")"
	}
	return "len(" + x.list(d) + ")"
}

func (x expressions) truth(depth int) string {
	if depth == 0 {
		return x.one([]string{"true", "false", "inputs.truth", "inputs.open", "nil"})
	}
	d := depth - 1
	switch x.choose(9) {
	case 0:
		return x.truth(0)
	case 1:
		return "(" + x.truth(d) + x.one([]string{" && ", " || ", " and ", " or "}) + x.truth(d) + ")"
	case 2:
		return x.one([]string{"!", "not "}) + x.truth(d)
	case 3:
		return "(" + x.number(d) + x.one([]string{" < ", " > ", " <= ", " >= ", " == ", " != "}) + x.number(d) + ")"
	case 4:
		return "(" + x.text(d) + x.one([]string{" < ", " > ", " <= ", " >= ", " == ", " != "}) + x.text(d) + ")"
	case 5:
		return "(" + x.text(d) + x.one([]string{" contains ", " startsWith ", " endsWith ", " not contains "}) + x.text(d) + ")"
	case 6:
		return "(" + x.text(d) + " matches " + x.one([]string{"'^a.$'", "'('", "[0-9]", x.text(d)}) + ")"
	case 7:
		return "(" + x.any(d) + x.one([]string{" in ", " not in "}) + x.list(d) + ")"
	}
	return x.one([]string{"hasPrefix", "hasSuffix"}) + "(" + x.text(d) + ", " + x.text(0) + ")"
}

func (x expressions) list(depth int) string {
	if depth == 0 {
		return x.one([]string{"[]", "['ab', 'b']", "[1, 2]", "[1, 2.5, 'x', nil, true]", "split(inputs.text, '.')", "split('', '', 0)", "inputs.open"})
	}
	d := depth - 1
	switch x.choose(5) {
	case 0:
		return x.list(0)
	case 1:
		return "split(" + x.text(d) + ", " + x.text(0) + ")"
	case 2:
		return "split(" + x.text(d) + ", " + x.text(0) + ", " + x.number(0) + ")"
	case 3:
		return x.list(d) + "[" + x.one([]string{"", "1"}) + ":" + x.one([]string{"", "2", "-1"}) + "]"
	}
	return "[" + x.any(d) + ", " + x.any(d) + "]"
}

// mixed is of a type that is known when it is evaluated.
func (x expressions) mixed(depth int) string {
	if depth == 0 {
		return "inputs.open"
	}
	d := depth - 1
	switch x.choose(5) {
	case 0:
		return "(" + x.any(d) + " ?? " + x.any(d) + ")"
	case 1:
		return "(" + x.truth(d) + " ? " + x.any(d) + " : " + x.any(d) + ")"
	case 2:
		return x.list(d) + "[" + x.one([]string{"0", "1", "-1", "7"}) + "]"
	case 3:
		return "(" + x.any(d) + x.one([]string{" + ", " - ", " * ", " / ", " % ", " < ", " >= ", " == ", " != ", " in ", " && ", " || "}) + x.any(d) + ")"
	}
	f := x.one(Functions)
	return f + "(" + strings.Join(slices.Repeat([]string{x.any(d)}, 1+x.choose(3)), ", ") + ")"
}

// TestExpressionsAreTheLibrarys holds expressions to those of the library:
// value, type, and the error and its place.
func TestExpressionsAreTheLibrarys(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	x := expressions{r.IntN}
	values, failures := 0, 0
	const all = 10_000
	for range all {
		text := x.any(1 + r.IntN(4))
		got := ours(text)
		if problem := differ(text, got, theirs(text)); problem != "" {
			t.Error(problem)
		}
		switch got.stage {
		case "":
			values++
		case "evaluate":
			failures++
		}
	}
	if values < all/5 || failures < all/20 {
		t.Errorf("only %d of %d expressions have a value, and %d fail", values, all, failures)
	}
	t.Logf("%d expressions, %d of them with a value, %d that fail when they are evaluated", all, values, failures)
}

// beyond are the parts of the library's language that workflows do not have,
// as far as one token shows them.
var (
	beyondTokens  = []string{"|", ";", "..", "**", "^", "?.", "::", "#", "let", "if", "else", "{", "$env"}
	beyondNumbers = regexp.MustCompile(`[xXoObB_]|^\.|\.$|\.[eE]`)
	ordering      = regexp.MustCompile(`[<>]`)
)

// outside reports whether an expression uses what only the library has.
func outside(text string) bool {
	tokens, err := exprlexer.Lex(exprfile.NewSource(text))
	if err != nil || strings.Contains(text, "//") || strings.Contains(text, "/*") || strings.Contains(text, `\u`) {
		return true
	}
	orders := 0
	for i, k := range tokens {
		after := tokens[min(i+1, len(tokens)-1)]
		switch {
		case k.Kind == exprlexer.Bytes, k.Kind == exprlexer.Number && beyondNumbers.MatchString(k.Value):
			return true
		case k.Kind == exprlexer.Identifier && after.Is(exprlexer.Bracket, "(") && !slices.Contains(Functions, k.Value):
			return true
		case k.Is(exprlexer.Operator, ".") && i+2 < len(tokens) && tokens[i+2].Is(exprlexer.Bracket, "("):
			return true
		case k.Is(exprlexer.Operator, "?") && after.Is(exprlexer.Operator, ":"):
			return true
		case k.Kind != exprlexer.String && slices.Contains(beyondTokens, k.Value):
			return true
		case k.Kind == exprlexer.Operator && ordering.MatchString(k.Value):
			orders++
		}
	}
	return orders > 1 // which may be a < b < c
}

// held holds any text to the library: what is an expression of workflows is
// one of the library's, of the same value, and what is none is none of the
// library's, or has what workflows do not have.
func held(text string) string {
	if strings.Contains(text, "\r") { // which the library makes a line break of
		return ""
	}
	got := ours(text)
	// Names are looked at before types, and have an error of their own.
	if strings.HasPrefix(got.says, "unknown name") || strings.Contains(got.says, "levels are possible") {
		return ""
	}
	want := theirs(text)
	switch {
	case got.stage != "compile":
		return differ(text, got, want)
	case want.stage != "compile" && !got.more && !outside(text):
		return fmt.Sprintf("%s\nours:   %s\ntheirs: %s", text, got, want)
	}
	return ""
}

// TestNoOtherExpressions breaks expressions, and holds what is left to the library.
func TestNoOtherExpressions(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	x := expressions{r.IntN}
	signs := strings.Fields("( ) [ ] , . : ? + - * / % == != < >= && || ?? ! not and or in contains matches 'a' \"b\" ` 1 2.5 1e3 nil true len trim inputs steps .text ['none'] \\ \\n ü = & {  } \t")
	accepted := 0
	const all = 15_000
	for range all {
		text := []byte(x.any(1 + r.IntN(3)))
		for range 1 + r.IntN(3) {
			from := r.IntN(len(text) + 1)
			to := min(len(text), from+r.IntN(4))
			text = slices.Concat(text[:from], []byte(x.one(append(signs, "", "", " "))), text[to:])
		}
		if problem := held(string(text)); problem != "" {
			t.Error(problem)
		}
		if _, _, err := parseExpression(string(text)); err == nil {
			accepted++
		}
	}
	if accepted < all/20 {
		t.Errorf("only %d of %d are expressions", accepted, all)
	}
	t.Logf("%d texts, %d of them expressions", all, accepted)
}

// TestDeepExpressions has expressions that would take too many levels of calls.
func TestDeepExpressions(t *testing.T) {
	for _, open := range []string{"(", "[", "-", "not ", "len(", "x[", "true ? ", "1 ?? (", "1 + (", "'a' in ["} {
		_, _, err := parseExpression(strings.Repeat(open, maxLength/len(open)))
		if err == nil || !strings.Contains(err.text, "100 levels are possible") {
			t.Errorf("%s: got %v, want an error about the levels", open, err)
		}
	}
}

func FuzzEvaluate(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{7, 6, 5, 4, 3, 2, 1, 0, 9, 8, 7})
	f.Fuzz(func(t *testing.T, data []byte) {
		x := expressions{func(n int) int {
			if len(data) == 0 {
				return 0
			}
			b := data[0]
			data = data[1:]
			return int(b) % n
		}}
		text := x.any(4)
		if problem := differ(text, ours(text), theirs(text)); problem != "" {
			t.Error(problem)
		}
	})
}

func FuzzExpression(f *testing.F) {
	r := rand.New(rand.NewPCG(9, 10))
	x := expressions{r.IntN}
	for range 50 {
		f.Add(x.any(3))
	}
	f.Add("steps['a-b'].size ?? 1.5e3 + inputs.whole % 2 not in [1, 2,]")
	f.Add("`a``b` + \"\\u00fc\\x41\\101\\n\" == 'ü' ? inputs.text[1:-1] : split(inputs.text, '.')[0]")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > maxLength || !utf8.ValidString(text) {
			return
		}
		if problem := held(text); problem != "" {
			t.Error(problem)
		}
	})
}
