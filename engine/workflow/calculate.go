package workflow

import (
	"cmp"
	"fmt"
)

// calculate computes an operator of two numbers or two texts. It panics if the
// operator has no result for them.
func calculate(operator string, a, b any) any {
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			if v, ok := compare(operator, x, y); ok {
				return v
			}
		}
	}
	x, first := wholeOf(a)
	y, second := wholeOf(b)
	if first && second {
		return calculateWhole(operator, x, y)
	}
	f, first := fractionOf(a)
	g, second := fractionOf(b)
	if first && second {
		if v, ok := compare(operator, f, g); ok {
			return v
		}
		switch operator {
		case "-":
			return f - g
		case "*":
			return f * g
		case "/":
			return f / g
		}
	}
	panic(fmt.Sprintf("invalid operation: %T %s %T", a, operator, b))
}

// calculateWhole computes with whole numbers, of which only a division makes
// others. Their sums and products wrap; a remainder by zero panics.
func calculateWhole(operator string, x, y int) any {
	switch operator {
	case "-":
		return x - y
	case "*":
		return x * y
	case "/":
		return float64(x) / float64(y)
	case "%":
		return x % y
	}
	v, _ := compare(operator, x, y)
	return v
}

// compare computes the operators that texts have too.
func compare[T cmp.Ordered](operator string, x, y T) (v any, ok bool) {
	switch operator {
	case "<":
		return x < y, true
	case ">":
		return x > y, true
	case "<=":
		return x <= y, true
	case ">=":
		return x >= y, true
	case "+":
		return x + y, true
	}
	return nil, false
}

// wholeOf takes a whole number. An element of text is a byte.
func wholeOf(v any) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case uint8:
		return int(v), true
	}
	return 0, false
}

// fractionOf takes any number.
func fractionOf(v any) (float64, bool) {
	if f, ok := v.(float64); ok {
		return f, true
	}
	n, ok := wholeOf(v)
	return float64(n), ok
}
