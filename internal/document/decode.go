package document

import (
	"fmt"
	"reflect"
	"strings"
)

// Decoder is a type with a syntax of its own, such as a fact that is a text or
// a map {file: …}. DecodeNode is called on a new value; it may look at n, call
// [Decoding.Decode] for parts, and report with [Decoding.Report].
//
// A struct that implements [encoding.TextUnmarshaler] needs no Decoder for
// that: a scalar goes to UnmarshalText, a map to its fields.
type Decoder interface {
	DecodeNode(d *Decoding, n *Node)
}

// Checker is a type with rules across its fields. Check is called after it was
// decoded, with what could be; path is relative to it, "" being itself. A
// report is dropped if there is already a problem at that path or below it.
// For values with expressions see [Hooks].
type Checker interface {
	Check(report func(path, text string))
}

// Hooks let the caller of [Node.Decode] take part. Zero means that a document
// has no expressions and no words with a role.
type Hooks struct {
	Template Template
	// Named is called for each plain scalar in a field whose tag has a role:
	// target, fact or file.
	Named func(d *Decoding, n *Node, role string)
	// Draft says that Template gives placeholders: what a [Checker] says about a
	// scalar with an expression is dropped.
	Draft bool
}

// Template is asked for the value of each scalar that contains "${{". A string
// goes into the field as if it stood in the document, a bool, an integer, a float64
// or a value of the field's own type as it is; [Unset] leaves the field alone. With
// ok false the template has reported what is wrong.
type Template func(d *Decoding, at Place) (value any, ok bool)

// Place is where a scalar stands and what is wanted there.
type Place struct {
	Node *Node
	Type reflect.Type // of the field
	// Literal says that the field, or one around it, is tagged so or has a role.
	Literal bool
	// Size says that the field takes a size in bytes.
	Size bool
}

// Unset as the answer of a [Template] leaves the field as it is. Checks of the
// values around it are then not made.
var Unset = new(struct{ unset bool })

// Decoding is one pass over a document. It may not be shared.
type Decoding struct {
	problems collector
	hooks    Hooks
	marked   map[*Node]bool // nodes with a problem at or below them
	unset    map[*Node]bool // nodes with an unset field at or below them
}

// Decode puts the document into v, a pointer, and reports everything that does
// not fit; its error is [Problems].
//
// Structs take a map with the names of their tags, `yaml:"name"`. Further words
// in the tag: required (must be there), inline (an embedded struct's fields
// stand beside the others), size (an integer in bytes that may have a unit), literal
// (holds no expression), and the roles target, fact and file (literal too, see
// [Hooks]). Fields without a tag are not part of the document.
//
// Also possible: maps with text as keys, slices, pointers, string, bool,
// integers, floats, [time.Duration] ("10m"), [Size] ("64MiB"), types that
// implement [Decoder] or [encoding.TextUnmarshaler], *[Node], and any, which
// gets a plain scalar as JSON would read it: nil, bool, int64, [json.Number] for
// other numbers, and string for the rest; lists are []any, maps map[string]any.
//
// Nothing, as in `key:`, is an error but for any.
func (d *Document) Decode(v any) error {
	return d.Root.Decode(v, Hooks{})
}

// Decode is [Document.Decode] for a part of a document, with hooks. The
// document's faults are reported with the root.
func (n *Node) Decode(v any, h Hooks) error {
	d := &Decoding{hooks: h, marked: map[*Node]bool{}, unset: map[*Node]bool{}}
	if n.parent == nil {
		d.problems.Problems = n.doc.Faults()
	}
	d.Decode(n, v)
	return d.problems.Err()
}

// Decode puts n into v, a pointer, and notes what does not fit.
func (d *Decoding) Decode(n *Node, v any) {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		panic(fmt.Sprintf("document: decode into %T, a pointer is needed", v))
	}
	d.value(n, p.Elem(), field{})
}

// Report notes a problem at n.
func (d *Decoding) Report(n *Node, code, text string) { d.Note(n, n.Problem(code, text)) }

// ReportKey notes a problem at the key of n.
func (d *Decoding) ReportKey(n *Node, code, text string) { d.Note(n, n.KeyProblem(code, text)) }

// Note notes a problem that concerns n, wherever it stands.
func (d *Decoding) Note(n *Node, p Problem) {
	d.problems.add(p)
	d.mark(n)
}

func (d *Decoding) value(n *Node, v reflect.Value, f field) {
	if n.Kind == broken {
		d.mark(n)
		return
	}
	switch target := v.Addr().Interface().(type) {
	case **Node:
		*target = n
		return
	case *any:
		d.any(n, target, f)
		return
	}
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		d.value(n, p.Elem(), f)
		v.Set(p)
		return
	}
	if n.HasTemplate() {
		d.fill(n, v, f)
		return
	}
	d.plain(n, v, f)
	if c, ok := v.Addr().Interface().(Checker); ok && !d.unset[n] {
		c.Check(func(path, text string) { d.checked(n, path, text) })
	}
}

// mark notes that n cannot be judged, without a further problem.
func (d *Decoding) mark(n *Node) {
	for ; n != nil && !d.marked[n]; n = n.parent {
		d.marked[n] = true
	}
}

// checked notes a problem that a Checker found, unless it follows from another.
func (d *Decoding) checked(n *Node, path, text string) {
	at, missing := n.follow(path)
	whole := missing == ""
	if d.marked[at] && (whole || at.slip(missing, nil)) || whole && d.hooks.Draft && at.HasTemplate() {
		return
	}
	code := BadValue
	if !whole || path == "" || at.Kind != Scalar {
		code = Conflict
	}
	if !whole {
		d.ReportKey(at, code, text)
		return
	}
	d.Report(at, code, text)
}

func (d *Decoding) plain(n *Node, v reflect.Value, f field) {
	if t, ok := v.Addr().Interface().(Decoder); ok {
		t.DecodeNode(d, n)
		return
	}
	if n.Kind == Scalar && d.scalar(n, v, f) {
		if f.role != "" && d.hooks.Named != nil && !d.marked[n] {
			d.hooks.Named(d, n, f.role)
		}
		return
	}
	switch {
	case v.Kind() == reflect.Struct && n.Kind == Map:
		d.structure(n, v, f)
	case v.Kind() == reflect.Map && n.Kind == Map:
		d.dictionary(n, v, f)
	case v.Kind() == reflect.Slice && n.Kind == List:
		s := reflect.MakeSlice(v.Type(), len(n.Items), len(n.Items))
		for i, item := range n.Items {
			d.value(item, s.Index(i), f)
		}
		v.Set(s)
	default:
		d.mismatch(n, v, f)
	}
}

func (d *Decoding) dictionary(n *Node, v reflect.Value, f field) {
	t := v.Type()
	if t.Key().Kind() != reflect.String {
		panic(fmt.Sprintf("document: %s has keys that are no strings", t))
	}
	m := reflect.MakeMapWithSize(t, len(n.Fields))
	for _, entry := range n.Fields {
		if entry.Key.HasTemplate() {
			d.ReportKey(entry.Value, NoExpression, "an expression is not possible in a key")
		}
		value := reflect.New(t.Elem()).Elem()
		d.value(entry.Value, value, f)
		m.SetMapIndex(reflect.ValueOf(entry.Key.Text).Convert(t.Key()), value)
	}
	v.Set(m)
}

func (d *Decoding) structure(n *Node, v reflect.Value, outer field) {
	fields := fieldsOf(v.Type(), nil)
	names := make([]string, len(fields))
	var missing []string
	for i, f := range fields {
		names[i] = f.name
		if f.required && n.Get(f.name) == nil {
			missing = append(missing, f.name)
		}
	}
	for _, name := range missing {
		if !n.slip(name, names) { // a misspelt key is one mistake, not two
			d.ReportKey(n, Missing, fmt.Sprintf("key %q is missing", name))
		}
	}
	for _, entry := range n.Fields {
		known := false
		for _, f := range fields {
			if f.name == entry.Key.Text {
				f.literal = f.literal || f.role != "" || outer.literal
				d.value(entry.Value, v.FieldByIndex(f.index), f)
				known = true
			}
		}
		if !known {
			d.ReportKey(entry.Value, UnknownKey, Unknown("key", clip(entry.Key.Text), names))
		}
	}
}

// field is what a struct tag says.
type field struct {
	name                    string
	index                   []int
	required, literal, size bool
	role                    string
}

// fieldsOf lists the tagged fields of a struct, those of inline structs included.
func fieldsOf(t reflect.Type, index []int) []field {
	var all []field
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, ok := sf.Tag.Lookup("yaml")
		if !ok || tag == "-" || !sf.IsExported() && !sf.Anonymous {
			continue
		}
		name, rest, _ := strings.Cut(tag, ",")
		f := field{name: name, index: append(append([]int(nil), index...), i)}
		inline := false
		for word := range strings.SplitSeq(rest, ",") {
			switch word {
			case "":
			case "required":
				f.required = true
			case "literal":
				f.literal = true
			case "size":
				f.size = true
			case "inline":
				inline = true
			case "target", "fact", "file":
				f.role = word
			default:
				panic(fmt.Sprintf("document: unknown word %q in the tag of %s.%s", word, t, sf.Name))
			}
		}
		if inline {
			all = append(all, fieldsOf(sf.Type, f.index)...)
		} else {
			all = append(all, f)
		}
	}
	return all
}

// HasTemplate reports whether n is a scalar with an expression in it.
func (n *Node) HasTemplate() bool { return n.Kind == Scalar && strings.Contains(n.Text, "${{") }
