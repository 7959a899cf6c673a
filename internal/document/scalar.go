package document

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written as a plain number or with a unit: B, kB,
// MB, GB, TB (thousands) or KiB, MiB, GiB, TiB (1024s).
type Size int64

var sizeUnits = map[string]int64{
	"": 1, "B": 1,
	"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

// ParseSize reads a number of bytes with or without a unit.
func ParseSize(text string) (Size, error) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit, known := sizeUnits[strings.TrimLeft(text[len(digits):], " ")]
	n, err := strconv.ParseUint(digits, 10, 63)
	if !known || err != nil && !isRange(err) {
		return 0, fmt.Errorf("expected a size such as 512, 64KiB or 10MB, found %q", clip(text))
	}
	if err != nil || int64(n) > math.MaxInt64/unit {
		return 0, fmt.Errorf("%s is more than %d bytes", clip(text), int64(math.MaxInt64))
	}
	return Size(int64(n) * unit), nil
}

func isRange(err error) bool {
	e, ok := err.(*strconv.NumError)
	return ok && e.Err == strconv.ErrRange
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
	number       = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
	integer      = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
)

// scalar puts a scalar into v and reports whether v is a type that takes one.
func (d *Decoding) scalar(n *Node, v reflect.Value, f field) bool {
	if n.IsNull() && n.Text == "" {
		d.Report(n, WrongType, "expected "+wanted(v.Type(), f)+", found nothing")
		return true
	}
	var err error
	switch u, isText := v.Addr().Interface().(encoding.TextUnmarshaler); {
	case isText:
		if err = u.UnmarshalText([]byte(n.Text)); err != nil {
			d.Report(n, BadValue, err.Error())
		}
		return true
	case v.Type() == durationType:
		err = setDuration(n.Text, v)
	case v.Type() == sizeType || f.size && v.CanInt():
		err = setSize(n.Text, v)
	default:
		switch v.Kind() {
		case reflect.String:
			v.SetString(n.Text)
		case reflect.Bool, reflect.Float32, reflect.Float64:
			return d.plainScalar(n, v, f)
		default:
			if !v.CanInt() && !v.CanUint() {
				return false
			}
			return d.plainScalar(n, v, f)
		}
	}
	if err != nil {
		d.Report(n, WrongType, err.Error())
	}
	return true
}

// plainScalar sets numbers and bools, which may not be quoted.
func (d *Decoding) plainScalar(n *Node, v reflect.Value, f field) bool {
	fits := !n.Quoted
	switch {
	case v.Kind() == reflect.Bool:
		fits = fits && (n.Text == "true" || n.Text == "false")
		v.SetBool(fits && n.Text == "true")
	case v.CanFloat():
		x, err := strconv.ParseFloat(n.Text, v.Type().Bits())
		fits = fits && number.MatchString(n.Text) && (err == nil || isRange(err))
		if fits && err != nil {
			return d.outOfRange(n, v)
		}
		if fits {
			v.SetFloat(x)
		}
	case !integer.MatchString(n.Text):
		fits = false
	case v.CanInt():
		x, err := strconv.ParseInt(n.Text, 10, v.Type().Bits())
		if fits && err != nil {
			return d.outOfRange(n, v)
		}
		if fits {
			v.SetInt(x)
		}
	case v.CanUint():
		x, err := strconv.ParseUint(n.Text, 10, v.Type().Bits())
		if fits && err != nil {
			return d.outOfRange(n, v)
		}
		if fits {
			v.SetUint(x)
		}
	}
	if !fits {
		d.mismatch(n, v, f)
	}
	return true
}

func (d *Decoding) outOfRange(n *Node, v reflect.Value) bool {
	low, high := "0", strconv.FormatUint(math.MaxUint64>>(64-v.Type().Bits()), 10)
	switch bits := v.Type().Bits(); {
	case v.CanFloat():
		low, high = fmt.Sprint(-math.MaxFloat64), fmt.Sprint(math.MaxFloat64)
	case v.CanInt():
		low, high = strconv.FormatInt(-1<<(bits-1), 10), strconv.FormatInt(1<<(bits-1)-1, 10)
	}
	d.Report(n, BadValue, fmt.Sprintf("%s is out of range, possible are %s to %s", clip(n.Text), low, high))
	return true
}

func setDuration(text string, v reflect.Value) error {
	t, err := time.ParseDuration(text)
	if err != nil || t < 0 {
		return fmt.Errorf("expected a duration such as 30s, 10m or 1h30m, found %q", clip(text))
	}
	v.SetInt(int64(t))
	return nil
}

func setSize(text string, v reflect.Value) error {
	size, err := ParseSize(text)
	if err != nil {
		return err
	}
	if v.OverflowInt(int64(size)) {
		return fmt.Errorf("%s is more than the field holds", clip(text))
	}
	v.SetInt(int64(size))
	return nil
}

// any sets an open value, reading plain scalars as JSON would.
func (d *Decoding) any(n *Node, v *any, f field) {
	switch {
	case n.HasTemplate():
		d.fill(n, reflect.ValueOf(v).Elem(), f)
	case n.Kind == Map:
		m := map[string]any{}
		d.dictionary(n, reflect.ValueOf(&m).Elem(), f)
		*v = m
	case n.Kind == List:
		list := make([]any, len(n.Items))
		for i, item := range n.Items {
			d.value(item, reflect.ValueOf(&list[i]).Elem(), f)
		}
		*v = list
	case n.IsNull():
		*v = nil
	case !n.Quoted && (n.Text == "true" || n.Text == "false"):
		*v = n.Text == "true"
	case !n.Quoted && number.MatchString(n.Text):
		*v = json.Number(n.Text)
		if x, err := strconv.ParseInt(n.Text, 10, 64); err == nil {
			*v = x
		}
	default:
		*v = n.Text
	}
}

// fill puts the value of an expression into v.
// leave notes that n and all around it have a field without its value.
func (d *Decoding) leave(n *Node) {
	for ; n != nil && !d.unset[n]; n = n.parent {
		d.unset[n] = true
	}
}

func (d *Decoding) fill(n *Node, v reflect.Value, f field) {
	if d.hooks.Template == nil {
		d.Report(n, NoExpression, "an expression is not possible here")
		return
	}
	value, ok := d.hooks.Template(d, Place{Node: n, Type: v.Type(), Literal: f.literal, Size: f.size || v.Type() == sizeType})
	if !ok { // what a Checker would say about the empty field follows from this
		d.mark(n)
		d.leave(n)
		return
	}
	if value == any(Unset) {
		d.leave(n)
		return
	}
	got := reflect.ValueOf(value)
	switch {
	case !got.IsValid():
		if v.Kind() != reflect.Interface {
			d.Report(n, ExpressionType, "expected "+wanted(v.Type(), f)+", the expression gives nothing")
		}
	case got.Type().AssignableTo(v.Type()):
		v.Set(got)
	default:
		d.convert(n, v, f, value)
	}
}

// convert decodes a value as if it stood in the document in place of n.
func (d *Decoding) convert(n *Node, v reflect.Value, f field, value any) {
	text, quoted := fmt.Sprint(value), false
	switch value.(type) {
	case string:
		quoted = true
	case bool, int, int64, float64:
		if v.Kind() == reflect.String {
			d.Report(n, ExpressionType, fmt.Sprintf("expected text, the expression gives %s; string(…) makes text of it", text))
			return
		}
	}
	stand := *n
	stand.Text, stand.Quoted, stand.origin = text, quoted, n
	d.plain(&stand, v, f)
}

func (d *Decoding) mismatch(n *Node, v reflect.Value, f field) {
	found := ""
	switch {
	case n.Kind == List:
		found = "a list"
	case n.Kind == Map:
		found = "a map"
	case n.Quoted:
		found = fmt.Sprintf("the text %q", clip(n.Text))
	default:
		found = fmt.Sprintf("%q", clip(n.Text))
	}
	d.Report(n, WrongType, "expected "+wanted(v.Type(), f)+", found "+found)
}

// Wanted names what the place takes, such as "a whole number".
func (p Place) Wanted() string { return wanted(p.Type, field{size: p.Size}) }

// wanted names a type to people.
func wanted(t reflect.Type, f field) string {
	switch {
	case t == durationType:
		return "a duration such as 30s or 10m"
	case t == sizeType || f.size && t.Kind() == reflect.Int64:
		return "a size such as 64KiB or 10MB"
	}
	switch t.Kind() {
	case reflect.Interface:
		return "a value"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Map:
		return "a map"
	case reflect.Struct:
		if _, ok := reflect.New(t).Interface().(encoding.TextUnmarshaler); !ok {
			return "a map"
		}
		if len(fieldsOf(t, nil)) > 0 {
			return "text or a map"
		}
		return "text"
	}
	return "a whole number"
}
