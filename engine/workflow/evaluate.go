package workflow

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	exprfile "github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm/runtime"
)

// evaluation walks a checked tree. Functions are those of the expression
// library; their panics, and those of the operators, are its errors.
//
// The library's own compiler and machine compute the same, and would be a
// hundredth of the agent's program for expressions of 200 parts at most.
type evaluation struct {
	env map[string]any
	at  ast.Node // whose operator or function is being computed
}

// evaluate gives the value of a tree, or an *exprfile.Error.
func evaluate(tree ast.Node, env map[string]any) (v any, err error) {
	e := evaluation{env: env, at: tree}
	defer func() {
		if p := recover(); p != nil {
			err = &exprfile.Error{Location: e.at.Location(), Message: fmt.Sprint(p)}
		}
	}()
	return e.value(tree), nil
}

func (e *evaluation) value(node ast.Node) any {
	switch n := node.(type) {
	case *ast.NilNode:
		return nil
	case *ast.IntegerNode:
		return n.Value
	case *ast.FloatNode:
		return n.Value
	case *ast.BoolNode:
		return n.Value
	case *ast.StringNode:
		return n.Value
	case *ast.IdentifierNode:
		return e.env[n.Value]
	case *ast.MemberNode:
		of, key := e.value(n.Node), e.value(n.Property)
		e.at = n
		return runtime.Fetch(of, key)
	case *ast.UnaryNode:
		return e.unary(n)
	case *ast.BinaryNode:
		return e.binary(n)
	case *ast.ConditionalNode:
		if e.truth(n, n.Cond) {
			return e.value(n.Exp1)
		}
		return e.value(n.Exp2)
	case *ast.ArrayNode:
		list := make([]any, len(n.Nodes))
		for i, item := range n.Nodes {
			list[i] = e.value(item)
		}
		return list
	case *ast.SliceNode:
		return e.slice(n)
	case *ast.BuiltinNode:
		return e.call(n)
	}
	e.at = node
	panic("this is not possible in an expression")
}

// truth gives the value of a part of the node n that is true or false.
func (e *evaluation) truth(n, part ast.Node) bool {
	v := e.value(part)
	e.at = n
	return v.(bool)
}

func (e *evaluation) unary(n *ast.UnaryNode) any {
	v := e.value(n.Node)
	e.at = n
	switch n.Operator {
	case "!", "not":
		return !v.(bool)
	case "-":
		return runtime.Negate(v)
	}
	return v
}

func (e *evaluation) binary(n *ast.BinaryNode) any {
	switch n.Operator {
	case "or", "||":
		if e.truth(n, n.Left) {
			return true
		}
		return e.value(n.Right)
	case "and", "&&":
		if !e.truth(n, n.Left) {
			return false
		}
		return e.value(n.Right)
	case "??":
		if v := e.value(n.Left); !runtime.IsNil(v) {
			return v
		}
		return e.value(n.Right)
	}
	a, b := e.value(n.Left), e.value(n.Right)
	e.at = n
	switch n.Operator {
	case "matches", "contains", "startsWith", "endsWith":
		return within(n.Operator, a, b)
	case "==":
		return same(n, a, b)
	case "!=":
		return !same(n, a, b)
	case "in":
		return runtime.In(a, b)
	}
	return calculate(n.Operator, a, b)
}

// same refuses a value that is missing where both sides are text, or both
// whole numbers; otherwise nothing equals nil but nil.
func same(n *ast.BinaryNode, a, b any) bool {
	left, right := n.Left.Type(), n.Right.Type()
	if left.PkgPath() == "" && right.PkgPath() == "" && left.Kind() == right.Kind() {
		switch left.Kind() {
		case reflect.Int:
			return a.(int) == b.(int)
		case reflect.String:
			return a.(string) == b.(string)
		}
	}
	return runtime.Equal(a, b)
}

// within computes the operators that find one text in another, which nothing
// does in a value that is missing.
func within(operator string, a, b any) bool {
	if runtime.IsNil(a) || runtime.IsNil(b) {
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
func (e *evaluation) slice(n *ast.SliceNode) any {
	var from, to any = 0, nil
	v := e.value(n.Node)
	if n.To != nil {
		to = e.value(n.To)
	} else {
		e.at = n
		to = runtime.Len(v)
	}
	if n.From != nil {
		from = e.value(n.From)
	}
	e.at = n
	return runtime.Slice(v, from, to)
}

func (e *evaluation) call(n *ast.BuiltinNode) any {
	arguments := make([]any, len(n.Arguments))
	for i, a := range n.Arguments {
		arguments[i] = e.value(a)
	}
	e.at = n
	f := builtin.Builtins[builtin.Index[n.Name]]
	if f.Fast != nil {
		return f.Fast(arguments[0])
	}
	v, err := f.Func(arguments...)
	if err != nil {
		panic(err)
	}
	return v
}
