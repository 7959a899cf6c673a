package workflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/document"
)

// ErrInput says that the inputs handed over are not those that a workflow declares.
var ErrInput = errors.New("wrong input")

var inputShape = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,39}$`)

// inputs reads the declared inputs.
func (r *reader) inputs(n *document.Node) {
	if n == nil {
		return
	}
	var declared map[string]*document.Node
	r.decode(n, &declared)
	for _, f := range n.Fields {
		if !inputShape.MatchString(f.Key.Text) {
			r.at(f.Key, document.BadValue, "an input begins with a letter and has at most 40 letters, digits and '_'")
		}
		var in struct {
			Type        engine.Type    `yaml:"type,required"`
			Default     *document.Node `yaml:"default"`
			Description string         `yaml:"description"`
		}
		input := engine.Input{}
		if r.decode(f.Value, &in) {
			input = r.input(f.Value, in.Type, in.Default)
		}
		r.graph.Inputs[f.Key.Text] = input
	}
}

func (r *reader) input(n *document.Node, t engine.Type, standard *document.Node) engine.Input {
	in := engine.Input{Type: t}
	if standard != nil && standard.HasTemplate() {
		r.at(standard, document.NoExpression, "an expression is not possible here")
		return in
	}
	var value any
	switch t {
	case engine.String:
		value = new(string)
	case engine.Int:
		value = new(int64)
	case engine.Bool:
		value = new(bool)
	default:
		r.at(n.Get("type"), document.BadValue, document.Unknown("type", string(t), []string{"string", "int", "bool"}))
		return engine.Input{}
	}
	if standard == nil || !r.decode(standard, value) {
		return in
	}
	switch v := value.(type) {
	case *string:
		in.Default = *v
	case *int64:
		in.Default = *v
	case *bool:
		in.Default = *v
	}
	return in
}

// Inputs brings given values into the types that a workflow declares: string,
// int64 and bool. Text for an int or a bool is parsed, as from a command
// line; numbers may come as JSON gives them. Errors wrap [ErrInput] and name every
// input that is unknown, missing or of another type, but no values. Defaults
// are left to the engine.
func Inputs(g *engine.Graph, given map[string]any) (map[string]any, error) {
	var problems []error
	typed := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		in, known := g.Inputs[name]
		if !known {
			problems = append(problems, fmt.Errorf("%w: %s", ErrInput, document.Unknown("input", name, slices.Collect(maps.Keys(g.Inputs)))))
			continue
		}
		v, ok := parse(given[name], in.Type)
		if !ok {
			problems = append(problems, fmt.Errorf("%w: %s must be %s", ErrInput, name, described(in.Type)))
			continue
		}
		typed[name] = v
	}
	for _, name := range slices.Sorted(maps.Keys(g.Inputs)) {
		if _, ok := given[name]; !ok && g.Inputs[name].Default == nil {
			problems = append(problems, fmt.Errorf("%w: %s is missing, %s", ErrInput, name, described(g.Inputs[name].Type)))
		}
	}
	return typed, errors.Join(problems...)
}

func described(t engine.Type) string {
	switch t {
	case engine.Int:
		return "a whole number"
	case engine.Bool:
		return "true or false"
	}
	return "text"
}

// parse is typed, and reads text as a number or truth value.
func parse(v any, t engine.Type) (any, bool) {
	text, ok := v.(string)
	switch {
	case ok && t == engine.Int:
		n, err := strconv.ParseInt(text, 10, 64)
		return n, err == nil
	case ok && t == engine.Bool:
		return text == "true", text == "true" || text == "false"
	}
	return typed(v, t)
}

// typed gives a value of a scope in the Go type of t: string, int64 or bool.
// Numbers may have gone through JSON.
func typed(v any, t engine.Type) (any, bool) {
	switch x := reflect.ValueOf(v); {
	case x.CanInt():
		return x.Int(), t == engine.Int
	case x.CanUint():
		return int64(x.Uint()), t == engine.Int && x.Uint() <= math.MaxInt64
	}
	switch v := v.(type) {
	case string:
		return v, t == engine.String
	case bool:
		return v, t == engine.Bool
	case float64:
		whole := v == math.Trunc(v) && math.Abs(v) <= 1<<53
		return int64(v), t == engine.Int && whole
	case json.Number:
		n, err := v.Int64()
		return n, t == engine.Int && err == nil
	}
	return nil, false
}
