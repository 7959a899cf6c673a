package workflow

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/expr-lang/expr"
	exprfile "github.com/expr-lang/expr/file"
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

// outcome evaluates an expression in two ways: as workflows do, and by the
// compiler and the machine of the library. Both are told as text.
func outcome(text string) (got, want string) {
	var refs []ref
	env := map[string]any{}
	for _, e := range evaluated {
		refs = append(refs, e.ref)
		e.put(env, e.value)
	}
	c := &compiler{piece: piece{text: text}, refs: refs}
	tree, err := c.check()
	var v any
	if err == nil {
		v, err = evaluate(tree, env)
	}
	got = told(v, err)

	options := []expr.Option{expr.Env(namesOf(refs)), expr.MaxNodes(maxNodes), expr.Optimize(false), expr.DisableAllBuiltins()}
	for _, f := range Functions {
		options = append(options, expr.EnableBuiltin(f))
	}
	program, err := expr.Compile(text, options...)
	if err == nil {
		v, err = vm.Run(program, env)
		if kind := kindOfType(program.Node().Type()); tree == nil || kind != kindOfType(tree.Type()) {
			got += " of another type"
		}
	}
	return got, told(v, err)
}

func told(v any, err error) string {
	var place *exprfile.Error
	switch {
	case errors.As(err, &place):
		// Which of two wrong types an operator complains of does not matter.
		says, _, _ := strings.Cut(place.Message, "{} is ")
		return fmt.Sprintf("error at %d to %d: %s", place.From, place.To, says)
	case err != nil:
		return "error: " + err.Error()
	}
	return fmt.Sprintf("%T %#v", v, v)
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

// TestEvaluationIsTheLibrarys holds what workflows compute to the compiler and
// machine of the expression library: value, type, and the error and its place.
func TestEvaluationIsTheLibrarys(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	x := expressions{r.IntN}
	values := 0
	const all = 10_000
	for range all {
		text := x.any(1 + r.IntN(4))
		got, want := outcome(text)
		if got != want {
			t.Errorf("%s\ngives %s\nwant  %s", text, got, want)
		}
		if !strings.HasPrefix(got, "error") {
			values++
		}
	}
	if values < all/5 {
		t.Errorf("only %d of %d expressions have a value", values, all)
	}
	t.Logf("%d expressions, %d of them with a value", all, values)
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
		if got, want := outcome(text); got != want {
			t.Errorf("%s\ngives %s\nwant  %s", text, got, want)
		}
	})
}
