package workflow

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Functions are the names of those that an expression may call. Their results
// are no larger than what they are given, and depend on nothing else.
var Functions = slices.Sorted(maps.Keys(functions))

// function is one that an expression may call.
type function struct {
	least, most int                             // arguments
	kinds       [][]kindOf                      // of the arguments; the last ones are those of all that follow, and nil takes any
	many        bool                            // it takes numbers, and lists of them in each other
	gives       func(first valueType) valueType // from its first argument's type
	value       func(arguments []any) any       // panics if it has none
}

// takes gives the kinds that an argument may have, or nil if any will do.
func (f function) takes(argument int) []kindOf {
	return f.kinds[min(argument, len(f.kinds)-1)]
}

// count says how many arguments there may be.
func (f function) count() string {
	switch {
	case f.most == math.MaxInt:
		return fmt.Sprintf("%d or more arguments", f.least)
	case f.most > f.least:
		return fmt.Sprintf("%d or %d arguments", f.least, f.most)
	case f.most > 1:
		return fmt.Sprintf("%d arguments", f.most)
	}
	return "1 argument"
}

var (
	texts   = []kindOf{text}
	wholes  = []kindOf{whole}
	numbers = []kindOf{whole, fraction}
	lists   = []kindOf{list}
)

var functions = map[string]function{
	"abs":         one(numbers, abs, itself),
	"ceil":        one(numbers, rounded("ceil", math.Ceil), always(fractionType)),
	"floor":       one(numbers, rounded("floor", math.Floor), always(fractionType)),
	"round":       one(numbers, rounded("round", math.Round), always(fractionType)),
	"int":         one([]kindOf{whole, fraction, text}, toWhole, always(wholeType)),
	"float":       one([]kindOf{whole, fraction, text}, toFraction, always(fractionType)),
	"string":      one(nil, func(v any) any { return fmt.Sprint(v) }, always(textType)),
	"len":         one([]kindOf{text, list}, length, always(wholeType)),
	"first":       one(lists, func(v any) any { return end(v, 0) }, elementOf),
	"last":        one(lists, func(v any) any { return end(v, -1) }, elementOf),
	"lower":       one(texts, func(v any) any { return strings.ToLower(v.(string)) }, always(textType)),
	"upper":       one(texts, func(v any) any { return strings.ToUpper(v.(string)) }, always(textType)),
	"hasPrefix":   two(func(s, t string) any { return strings.HasPrefix(s, t) }, truthType),
	"hasSuffix":   two(func(s, t string) any { return strings.HasSuffix(s, t) }, truthType),
	"indexOf":     two(func(s, t string) any { return strings.Index(s, t) }, wholeType),
	"lastIndexOf": two(func(s, t string) any { return strings.LastIndex(s, t) }, wholeType),
	"trim":        trimming(strings.TrimSpace, strings.Trim),
	"trimPrefix":  trimming(func(s string) string { return strings.TrimPrefix(s, " ") }, strings.TrimPrefix),
	"trimSuffix":  trimming(func(s string) string { return strings.TrimSuffix(s, " ") }, strings.TrimSuffix),
	"split":       {2, 3, [][]kindOf{texts, texts, wholes}, false, always(textsType), split3},
	"max":         {1, math.MaxInt, [][]kindOf{numbers}, true, itself, extreme("max", ">")},
	"min":         {1, math.MaxInt, [][]kindOf{numbers}, true, itself, extreme("min", "<")},
}

func one(takes []kindOf, value func(any) any, gives func(valueType) valueType) function {
	return function{1, 1, [][]kindOf{takes}, false, gives, func(a []any) any { return value(a[0]) }}
}

func two(value func(s, t string) any, gives valueType) function {
	return function{2, 2, [][]kindOf{texts}, false, always(gives), func(a []any) any {
		return value(a[0].(string), a[1].(string))
	}}
}

// trimming functions have what they take off as a second argument, or none.
func trimming(short func(string) string, long func(s, t string) string) function {
	return function{1, 2, [][]kindOf{texts}, false, always(textType), func(a []any) any {
		if len(a) == 1 {
			return short(a[0].(string))
		}
		return long(a[0].(string), a[1].(string))
	}}
}

func always(t valueType) func(valueType) valueType { return func(valueType) valueType { return t } }

func itself(t valueType) valueType {
	if t.open() {
		return anyType
	}
	return t
}

// elementOf is what first and last take out of a list.
func elementOf(t valueType) valueType {
	if t.texts {
		return textType
	}
	return anyType
}

// unfit is what a function panics with.
func unfit(name string, v any) string {
	return fmt.Sprintf("invalid argument for %s (type %T)", name, v)
}

func abs(v any) any {
	switch v := v.(type) {
	case float64:
		if v < 0 {
			return -v
		}
		return v
	case int:
		return max(v, -v)
	case uint8:
		return v
	}
	panic(unfit("abs", v))
}

func rounded(name string, to func(float64) float64) func(any) any {
	return func(v any) any {
		f, ok := fractionOf(v)
		if !ok {
			panic(unfit(name, v))
		}
		return to(f)
	}
}

func toWhole(v any) any {
	switch v := v.(type) {
	case string:
		n, err := strconv.Atoi(v)
		if err != nil {
			panic(fmt.Sprintf("invalid operation: int(%s)", v))
		}
		return n
	}
	return position(v)
}

func toFraction(v any) any {
	if s, ok := v.(string); ok {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			panic(fmt.Sprintf("invalid operation: float(%s)", s))
		}
		return f
	}
	f, ok := fractionOf(v)
	if !ok {
		panic(fmt.Sprintf("invalid operation: float(%T)", v))
	}
	return f
}

// length counts characters or elements.
func length(v any) any {
	if s, ok := v.(string); ok {
		return utf8.RuneCountInString(s)
	}
	items, ok := itemsOf(v)
	if !ok {
		panic(unfit("len", v))
	}
	return len(items)
}

// end gives the first or last element, or nil if there is none.
func end(v any, at int) any {
	if s, ok := v.(string); ok && s != "" || !ok && !isEmpty(v) {
		return fetch(v, at)
	}
	return nil
}

func isEmpty(v any) bool {
	items, _ := itemsOf(v)
	return len(items) == 0
}

func split3(a []any) any {
	if len(a) == 3 {
		return strings.SplitN(a[0].(string), a[1].(string), position(a[2]))
	}
	return strings.Split(a[0].(string), a[1].(string))
}

// extreme finds the number that has the given order to all others, also in
// lists; without any it is nil. A value that is alone is it, also if it is missing.
func extreme(name, order string) func([]any) any {
	var find func([]any) any
	find = func(values []any) (best any) {
		for _, v := range values {
			items, isList := itemsOf(v)
			if isList {
				if v = find(items); v == nil {
					continue
				}
			}
			if _, ok := fractionOf(v); !ok {
				panic(unfit(name, v))
			}
			if best == nil || calculate(order, v, best).(bool) {
				best = v
			}
		}
		return best
	}
	return func(values []any) any {
		if _, isList := itemsOf(values[0]); len(values) == 1 && !isList {
			return values[0]
		}
		return find(values)
	}
}
