package workflow

import (
	"fmt"
	"regexp"
	"slices"
)

// kindOf is the type of an expression.
type kindOf uint8

const (
	open kindOf = iota // known only when it is evaluated
	text
	whole
	fraction
	truth
	list
)

func (k kindOf) String() string {
	return [...]string{"a value", "text", "a whole number", "a number with a fraction", "true or false", "a list"}[k]
}

// valueType is the type of a part of an expression.
type valueType struct {
	kind     kindOf
	nothing  bool // it is nil
	anything bool // of the open ones: an element of a list, or what max gives
	texts    bool // of the lists: one that split gives, of texts alone
	element  *valueType
}

var (
	nilType      = valueType{nothing: true}
	anyType      = valueType{anything: true}
	textType     = valueType{kind: text}
	wholeType    = valueType{kind: whole}
	fractionType = valueType{kind: fraction}
	truthType    = valueType{kind: truth}
	listType     = valueType{kind: list, element: &anyType}
	textsType    = valueType{kind: list, element: &textType, texts: true}
)

// String gives the type's name in errors.
func (t valueType) String() string {
	switch {
	case t.nothing:
		return "nil"
	case t.kind == open:
		return "unknown"
	case t.texts:
		return "[]string"
	}
	return [...]string{text: "string", whole: "int", fraction: "float64", truth: "bool", list: "[]interface {}"}[t.kind]
}

func (t valueType) open() bool { return t.kind == open && !t.nothing }

// among reports whether the kind is known, and one of these.
func (t valueType) among(kinds ...kindOf) bool {
	return t.kind != open && slices.Contains(kinds, t.kind)
}

// fits reports whether a value of this type is one of the other.
func (t valueType) fits(other valueType) bool {
	switch {
	case t.nothing:
		return other.anything || other.kind == list
	case t.open() && !t.anything:
		return false
	case other.anything:
		return true
	}
	return t.kind != open && t.kind == other.kind && t.texts == other.texts
}

// equals reports whether values of these types can be compared.
func (t valueType) equals(other valueType) bool {
	return t.open() || other.open() || t.nothing || other.nothing || t.fits(other) ||
		t.among(whole, fraction) && other.among(whole, fraction) || t.kind == list && other.kind == list
}

// checker finds out the type of each part of an expression.
type checker struct {
	refs []ref
	err  *fault
}

// check sets the types of a tree and gives the first part whose type is wrong.
func check(tree *node, refs []ref) *fault {
	c := checker{refs: refs}
	c.node(tree)
	return c.err
}

// fail keeps the first mistake.
func (c *checker) fail(n *node, format string, args ...any) valueType {
	if c.err == nil {
		c.err = &fault{n.at, "expression: " + fmt.Sprintf(format, args...)}
	}
	return valueType{}
}

func (c *checker) node(n *node) valueType {
	n.typ = c.typeOf(n)
	return n.typ
}

func (c *checker) typeOf(n *node) valueType {
	switch n.form {
	case constant:
		return typeOfConstant(n.value)
	case name, element:
		return c.element(n)
	case slice:
		return c.slice(n)
	case unary:
		return c.unary(n)
	case binary:
		return c.binary(n, c.node(n.parts[0]), c.node(n.parts[1]))
	case condition:
		return c.condition(n)
	case array:
		return c.array(n)
	}
	return c.call(n)
}

func typeOfConstant(v any) valueType {
	switch v.(type) {
	case string:
		return textType
	case int:
		return wholeType
	case float64:
		return fractionType
	case bool:
		return truthType
	}
	return nilType
}

// element is the type of a ref, or of an element of a list.
func (c *checker) element(n *node) valueType {
	if path := n.path(); path != nil {
		for _, f := range c.refs {
			if slices.Equal(f.path(), path) {
				return exprTypes[f.kind]
			}
		}
		return c.fail(n, "unknown name %s", path[len(path)-1])
	}
	of, key := c.node(n.parts[0]), c.node(n.parts[1])
	switch {
	case of.open():
		return valueType{}
	case of.kind != list:
		return c.fail(n, "%s has no elements", of)
	case !key.open() && key.kind != whole:
		return c.fail(n.parts[1], "an element of a list is chosen by a whole number, not by %s", key)
	}
	return *of.element
}

func (c *checker) slice(n *node) valueType {
	of := c.node(n.parts[0])
	if of.open() {
		of = valueType{}
	} else if !of.among(text, list) {
		return c.fail(n, "cannot slice %s", of)
	}
	for _, bound := range n.parts[1:] {
		if bound == nil {
			continue
		}
		if t := c.node(bound); !t.open() && t.kind != whole {
			c.fail(bound, "non-integer slice index %s", t)
		}
	}
	return of
}

func (c *checker) unary(n *node) valueType {
	t := c.node(n.parts[0])
	switch logical := n.operator == "!" || n.operator == "not"; {
	case logical && (t.open() || t.kind == truth):
		return truthType
	case !logical && t.among(whole, fraction):
		return t
	case !logical && t.open():
		return valueType{}
	}
	return c.fail(n, "invalid operation: %s (mismatched type %s)", n.operator, t)
}

// binary is the type that an operator gives. An open side may be what the
// other one needs.
func (c *checker) binary(n *node, l, r valueType) valueType {
	both := func(kinds ...kindOf) bool {
		return (l.open() || l.among(kinds...)) && (r.open() || r.among(kinds...))
	}
	var ok bool
	gives := truthType
	switch n.operator {
	case "==", "!=":
		ok = l.equals(r)
	case "or", "||", "and", "&&":
		ok = both(truth)
	case "<", ">", "<=", ">=":
		ok = both(whole, fraction) || both(text)
	case "-", "*":
		gives, ok = calculated(l, r), both(whole, fraction)
	case "/":
		gives, ok = fractionType, both(whole, fraction)
	case "%":
		gives, ok = wholeType, both(whole)
	case "+":
		gives, ok = calculated(l, r), both(whole, fraction) || both(text)
		if l.kind == text && r.kind == text {
			gives = textType
		}
	case "in":
		if r.kind == list && !l.equals(*r.element) {
			return c.fail(n, "cannot use %s as type %s in array", l, *r.element)
		}
		ok = r.kind == list || r.open() || l.open() && r.kind == text
	case "matches", "contains", "startsWith", "endsWith":
		if pattern, known := n.parts[1].value.(string); known && n.operator == "matches" {
			if _, err := regexp.Compile(pattern); err != nil {
				return c.fail(n, "%v", err)
			}
		}
		ok = both(text)
	case "??":
		gives, ok = either(l, r), true
	}
	if !ok {
		return c.fail(n, "invalid operation: %s (mismatched types %s and %s)", n.operator, l, r)
	}
	return gives
}

// calculated is the type of what is calculated from two numbers.
func calculated(l, r valueType) valueType {
	switch {
	case l.open() || r.open():
		return valueType{}
	case l.kind == fraction || r.kind == fraction:
		return fractionType
	}
	return wholeType
}

// either is the type of a ?? b.
func either(l, r valueType) valueType {
	switch {
	case l.nothing:
		return r
	case r.nothing, r.fits(l):
		return l
	}
	return valueType{}
}

func (c *checker) condition(n *node) valueType {
	if t := c.node(n.parts[0]); !t.open() && t.kind != truth {
		c.fail(n.parts[0], "non-bool expression (type %s) used as condition", t)
	}
	yes, no := c.node(n.parts[1]), c.node(n.parts[2])
	switch {
	case yes.nothing:
		return no
	case no.nothing:
		return yes
	case !yes.fits(no):
		return valueType{}
	case yes.kind == list && no.kind == list && (!yes.element.fits(*no.element) || !no.element.fits(*yes.element)):
		return listType
	}
	return yes
}

// array is a list whose elements are of one type if all are of one kind.
func (c *checker) array(n *node) valueType {
	var last valueType
	same := true
	for i, item := range n.parts {
		t := c.node(item)
		same = same && (i == 0 || t.kind == last.kind && t.anything == last.anything)
		last = t
	}
	if !same {
		return listType
	}
	return valueType{kind: list, element: &last}
}

// call is the type of a function's result.
func (c *checker) call(n *node) valueType {
	f := functions[n.operator]
	right := len(n.parts) >= f.least && len(n.parts) <= f.most
	arguments := make([]valueType, len(n.parts))
	for i, a := range n.parts {
		arguments[i] = c.node(a)
		if takes := f.takes(i); right && len(takes) == 1 && takes[0] != list && !arguments[i].open() && !arguments[i].among(takes...) {
			c.fail(a, "cannot use %s as argument (type %s) to call %s", arguments[i], valueType{kind: takes[0]}, n.operator)
		}
	}
	if !right {
		return c.fail(n, "%s takes %s, found %d", n.operator, f.count(), len(n.parts))
	}
	for i, t := range arguments {
		if f.many && (t.open() || t.kind == list) {
			return anyType // its elements are known when it is evaluated
		}
		if takes := f.takes(i); takes != nil && !t.open() && !t.among(takes...) {
			return c.fail(n, "invalid argument for %s (type %s)", n.operator, t)
		}
	}
	return f.gives(arguments[0])
}
