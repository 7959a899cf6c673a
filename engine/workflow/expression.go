package workflow

import (
	"fmt"
	"math"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/document"
)

var allRoots = []string{"inputs", "facts", "release", "steps", "run"}

// release and run are what these names have.
var (
	releaseFields = map[string]engine.Type{"name": engine.String, "version": engine.String, "securityVersion": engine.Int}
	runFields     = map[string]engine.Type{"id": engine.String}
)

// exprTypes are the types of names; "" is an input or output whose declaration
// is wrong.
var exprTypes = map[engine.Type]valueType{"": {}, engine.String: textType, engine.Int: wholeType, engine.Bool: truthType}

// expression is what stands between ${{ and }}, compiled. It may be shared.
type expression struct {
	piece  piece
	refs   []ref
	direct bool  // it is its one ref and nothing else
	tree   *node // checked, and from then on only read
	kind   kindOf
}

// ref is a value of the scope that an expression names.
type ref struct {
	root, step, name string
	kind             engine.Type
}

func (f ref) String() string {
	if f.step != "" {
		return "steps." + f.step + "." + f.name
	}
	return f.root + "." + f.name
}

// value evaluates the expression. Whole numbers are int64 if the expression
// is a name, and otherwise int.
func (e *expression) value(n *document.Node, scope *engine.Scope) (any, *document.Problem) {
	fail := func(offset, width int, text string) (any, *document.Problem) {
		p := n.Part(e.piece.offset+offset, width, document.Evaluation, text)
		return nil, &p
	}
	env, missing := map[string]any{}, ""
	for _, f := range e.refs {
		v, found := f.get(scope)
		if v != nil {
			t, ok := typed(v, f.kind)
			if !ok {
				return fail(0, len(e.piece.text), fmt.Sprintf("%s is not %s", f, described(f.kind)))
			}
			v = t
		}
		if e.direct && v != nil {
			return v, nil
		}
		if !found && missing == "" {
			missing = f.String()
		}
		if big, ok := v.(int64); ok {
			if big > math.MaxInt || big < math.MinInt {
				return fail(0, len(e.piece.text), fmt.Sprintf("%s is too large to calculate with on this device", f))
			}
			v = int(big)
		}
		f.put(env, v)
	}
	v, err := evaluate(e.tree, env)
	switch {
	case (err != nil || v == nil) && missing != "":
		return fail(0, len(e.piece.text), missing+" has no value yet; a ?? b gives b in place of it")
	case err != nil:
		at, width := e.piece.part(err.at)
		return fail(at, width, err.text)
	case v == nil:
		return fail(0, len(e.piece.text), "the expression gives nothing")
	}
	if x, ok := v.(float64); ok && (math.IsNaN(x) || math.IsInf(x, 0)) {
		return fail(0, len(e.piece.text), "the expression gives no finite number")
	}
	return v, nil
}

// get looks the value up in a scope.
func (f ref) get(s *engine.Scope) (v any, found bool) {
	switch f.root {
	case "inputs":
		v, found = s.Inputs[f.name]
	case "facts":
		v, found = s.Facts[f.name]
		if !found {
			v = nil
		}
	case "release":
		v, found = s.Release[f.name]
	case "run":
		v, found = s.Run[f.name]
	case "steps":
		v, found = s.Steps[f.step][f.name]
	}
	return v, found && v != nil
}

// put sets the value in the nested maps that the program reads.
func (f ref) put(env map[string]any, v any) {
	for _, key := range f.path()[:len(f.path())-1] {
		next, ok := env[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			env[key] = next
		}
		env = next
	}
	env[f.name] = v
}

func (f ref) path() []string {
	if f.step != "" {
		return []string{f.root, f.step, f.name}
	}
	return []string{f.root, f.name}
}
