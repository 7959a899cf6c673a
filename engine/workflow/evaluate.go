package workflow

import (
	"fmt"
	"regexp"
	"strings"
)

// evaluation walks a checked tree. The panics of functions and operators are
// its errors.
type evaluation struct {
	env map[string]any
	at  *node // whose operator or function is being computed
}

// evaluate gives the value of a checked tree: string, int, float64, bool, nil,
// []any, []string, or uint8 as an element of a text.
func evaluate(tree *node, env map[string]any) (v any, err *fault) {
	e := evaluation{env: env, at: tree}
	defer func() {
		if p := recover(); p != nil {
			err = &fault{e.at.at, "expression: " + fmt.Sprint(p)}
		}
	}()
	return e.value(tree), nil
}

func (e *evaluation) value(n *node) any {
	switch n.form {
	case constant:
		return n.value
	case name:
		return e.env[n.operator]
	case element:
		of, key := e.value(n.parts[0]), e.value(n.parts[1])
		e.at = n
		return fetch(of, key)
	case slice:
		return e.slice(n)
	case unary:
		return e.unary(n)
	case binary:
		return e.binary(n)
	case condition:
		if e.truth(n, n.parts[0]) {
			return e.value(n.parts[1])
		}
		return e.value(n.parts[2])
	}
	values := make([]any, len(n.parts))
	for i, part := range n.parts {
		values[i] = e.value(part)
	}
	if n.form == array {
		return values
	}
	e.at = n
	return functions[n.operator].value(values)
}

// truth gives the value of a part of the node n that is true or false.
func (e *evaluation) truth(n, part *node) bool {
	v := e.value(part)
	e.at = n
	return v.(bool)
}

func (e *evaluation) unary(n *node) any {
	v := e.value(n.parts[0])
	e.at = n
	switch n.operator {
	case "!", "not":
		return !v.(bool)
	case "-":
		return negate(v)
	}
	return v
}

func (e *evaluation) binary(n *node) any {
	left, right := n.parts[0], n.parts[1]
	switch n.operator {
	case "or", "||":
		if e.truth(n, left) {
			return true
		}
		return e.value(right)
	case "and", "&&":
		if !e.truth(n, left) {
			return false
		}
		return e.value(right)
	case "??":
		if v := e.value(left); !isNil(v) {
			return v
		}
		return e.value(right)
	}
	a, b := e.value(left), e.value(right)
	e.at = n
	switch n.operator {
	case "matches", "contains", "startsWith", "endsWith":
		return within(n.operator, a, b)
	case "==":
		return same(n, a, b)
	case "!=":
		return !same(n, a, b)
	case "in":
		return contains(b, a)
	}
	return calculate(n.operator, a, b)
}

// same refuses a value that is missing where both sides are text, or both
// whole numbers; otherwise nothing equals nil but nil.
func same(n *node, a, b any) bool {
	switch left, right := n.parts[0].typ.kind, n.parts[1].typ.kind; {
	case left == whole && right == whole:
		return a.(int) == b.(int)
	case left == text && right == text:
		return a.(string) == b.(string)
	}
	return equal(a, b)
}

// within computes the operators that find one text in another, which nothing
// does in a value that is missing.
func within(operator string, a, b any) bool {
	if isNil(a) || isNil(b) {
		return false
	}
	in, what := a.(string), b.(string)
	switch operator {
	case "contains":
		return strings.Contains(in, what)
	case "startsWith":
		return strings.HasPrefix(in, what)
	case "endsWith":
		return strings.HasSuffix(in, what)
	}
	pattern, err := regexp.Compile(what)
	if err != nil {
		panic(err)
	}
	return pattern.MatchString(in)
}

// slice computes v[from:to], either of which may be absent.
func (e *evaluation) slice(n *node) any {
	var from, to any = 0, nil
	v := e.value(n.parts[0])
	if n.parts[2] != nil {
		to = e.value(n.parts[2])
	} else {
		e.at = n
		to = size(v)
	}
	if n.parts[1] != nil {
		from = e.value(n.parts[1])
	}
	e.at = n
	return cut(v, from, to)
}
