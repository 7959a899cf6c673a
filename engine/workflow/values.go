package workflow

import (
	"cmp"
	"fmt"
	"slices"
)

// position takes a whole number, or cuts one with a fraction.
func position(v any) int {
	if f, ok := v.(float64); ok {
		return int(f)
	}
	n, ok := wholeOf(v)
	if !ok {
		panic(fmt.Sprintf("invalid operation: int(%T)", v))
	}
	return n
}

// itemsOf gives the elements of a list.
func itemsOf(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case []string:
		items := make([]any, len(v))
		for i, s := range v {
			items[i] = s
		}
		return items, true
	}
	return nil, false
}

// fetch gives an element by its name, or by its number, from the end if that
// is negative. An element of text is a byte.
func fetch(of, key any) any {
	if m, ok := of.(map[string]any); ok {
		return m[key.(string)]
	}
	s, isText := of.(string)
	items, isList := itemsOf(of)
	if !isText && !isList {
		panic(fmt.Sprintf("cannot fetch %v from %T", key, of))
	}
	at, n := position(key), cmp.Or(len(s), len(items))
	if at < 0 {
		at += n
	}
	switch {
	case at < 0 || at >= n:
		panic(fmt.Sprintf("index out of range: %v (array length is %v)", at, n))
	case isText:
		return s[at]
	}
	return items[at]
}

// cut gives a part of a text or list. Bounds count from the end if they are
// negative, and those beyond it are the end.
func cut(v, from, to any) any {
	switch v := v.(type) {
	case string:
		a, b := bounds(from, to, len(v))
		return v[a:b]
	case []string:
		a, b := bounds(from, to, len(v))
		return v[a:b]
	case []any:
		a, b := bounds(from, to, len(v))
		return v[a:b]
	}
	panic(fmt.Sprintf("cannot slice %v", from))
}

func bounds(from, to any, n int) (a, b int) {
	within := func(at int) int {
		if at < 0 {
			at += n
		}
		return max(0, min(at, n))
	}
	a, b = within(position(from)), within(position(to))
	return min(a, b), b
}

// size is the length of a list or text, in bytes.
func size(v any) int {
	if s, ok := v.(string); ok {
		return len(s)
	}
	items, ok := itemsOf(v)
	if !ok {
		panic(unfit("len", v))
	}
	return len(items)
}

// isNil reports whether a value is missing. So is the list that split gives of nothing.
func isNil(v any) bool {
	switch v := v.(type) {
	case []any:
		return v == nil
	case []string:
		return v == nil
	}
	return v == nil
}

// equal compares numbers and lists by what they hold, whatever types they are of.
func equal(a, b any) bool {
	x, first := fractionOf(a)
	y, second := fractionOf(b)
	if first && second {
		n, whole1 := wholeOf(a)
		m, whole2 := wholeOf(b)
		return whole1 && whole2 && n == m || !(whole1 && whole2) && x == y
	}
	items, first := itemsOf(a)
	others, second := itemsOf(b)
	if first && second {
		return slices.EqualFunc(items, others, equal)
	}
	if first || second {
		return isNil(a) && isNil(b)
	}
	return a == b
}

// contains looks for a value in a list.
func contains(list, v any) bool {
	if list == nil {
		return false
	}
	items, ok := itemsOf(list)
	if !ok {
		panic(fmt.Sprintf(`operator "in" not defined on %T`, list))
	}
	return slices.ContainsFunc(items, func(item any) bool { return equal(item, v) })
}

func negate(v any) any {
	switch v := v.(type) {
	case float64:
		return -v
	case int:
		return -v
	case uint8:
		return -v
	}
	panic(fmt.Sprintf("invalid operation: - %T", v))
}
