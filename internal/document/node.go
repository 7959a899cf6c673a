package document

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind is the shape of a [Node].
type Kind uint8

// The shapes.
const (
	Scalar Kind = iota + 1
	List
	Map
	broken // refused when loading and already reported
)

// Node is a value of a document, or a key. Nodes do not change after Load.
type Node struct {
	Kind   Kind
	Text   string  // of a scalar: its text, unquoted and unescaped
	Quoted bool    // a scalar in quotes or a block: text, even if it looks like a number
	Items  []*Node // of a list
	Fields []Field // of a map, in the order of the document, without repetitions

	// Line and Column say where it begins, in characters from 1.
	Line, Column int

	doc    *Document
	parent *Node
	key    *Node // the key it stands under
	index  int   // its place in a list
	origin *Node // where an expression stands whose value this is
}

// Field is one entry of a map.
type Field struct{ Key, Value *Node }

// Get gives the value under a key of a map, or nil.
func (n *Node) Get(key string) *Node {
	for _, f := range n.Fields {
		if f.Key.Text == key {
			return f.Value
		}
	}
	return nil
}

// Key gives the key that n stands under, or nil.
func (n *Node) Key() *Node { return n.key }

// IsNull reports whether nothing stands there: an empty value, ~ or null.
func (n *Node) IsNull() bool {
	return n.Kind == Scalar && !n.Quoted && (n.Text == "" || n.Text == "~" || n.Text == "null")
}

// IsBroken reports whether n, such as an alias, is refused and reported already.
func (n *Node) IsBroken() bool { return n.Kind == broken }

// Path gives the place of n from the root, such as
// "steps[2].install.targets.out". Keys with other characters than letters,
// digits, '-' and '_' are quoted: `facts["a.b"]`.
func (n *Node) Path() string {
	if n == nil || n.parent == nil {
		return ""
	}
	up := n.parent.Path()
	if n.key == nil {
		return fmt.Sprintf("%s[%d]", up, n.index)
	}
	return Join(up, n.key.Text)
}

// Join adds a key to a path.
func Join(path, key string) string {
	if !plainKey(key) {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func plainKey(key string) bool {
	for _, r := range key {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return key != ""
}

// At follows a path from n. It gives the deepest node on the way that is
// there, and whether that is the end of the path.
func (n *Node) At(path string) (*Node, bool) {
	n, missing := n.follow(path)
	return n, missing == ""
}

// follow is At, and gives the step of the path that is missing.
func (n *Node) follow(path string) (*Node, string) {
	for path != "" {
		step, rest := cutPath(path)
		next := n.child(step)
		if next == nil {
			return n, step
		}
		n, path = next, rest
	}
	return n, ""
}

// slip reports whether a key of the map is probably a misspelt name: it is
// near, and not one of the known ones.
func (n *Node) slip(name string, known []string) bool {
	for _, f := range n.Fields {
		if !slices.Contains(known, f.Key.Text) && Nearest(f.Key.Text, []string{name}) != "" {
			return true
		}
	}
	return false
}

func (n *Node) child(step string) *Node {
	if inner, ok := strings.CutPrefix(step, "["); ok {
		inner = strings.TrimSuffix(inner, "]")
		if i, err := strconv.Atoi(inner); err == nil {
			if n.Kind == List && i >= 0 && i < len(n.Items) {
				return n.Items[i]
			}
			return nil
		}
		key, err := strconv.Unquote(inner)
		if err != nil {
			return nil
		}
		return n.Get(key)
	}
	return n.Get(step)
}

// cutPath takes the first step off a path: "a", "[2]" or `["a.b"]`.
func cutPath(path string) (step, rest string) {
	path = strings.TrimPrefix(path, ".")
	if strings.HasPrefix(path, "[\"") {
		if quoted, err := strconv.QuotedPrefix(path[1:]); err == nil && strings.HasPrefix(path[1+len(quoted):], "]") {
			return path[:len(quoted)+2], path[len(quoted)+2:]
		}
	}
	if strings.HasPrefix(path, "[") {
		if end := strings.IndexByte(path, ']'); end > 0 {
			return path[:end+1], path[end+1:]
		}
		return path, ""
	}
	if end := strings.IndexAny(path, ".["); end > 0 {
		return path[:end], path[end:]
	}
	return path, ""
}

// Problem makes a problem at n: at a scalar, or at the key of a list, a map or
// an empty value.
func (n *Node) Problem(code, text string) Problem {
	if n.origin != nil {
		n = n.origin
	}
	if n.key != nil && (n.Kind != Scalar || n.Text == "" && !n.Quoted) {
		n = n.key
	}
	return n.doc.problem(n.Line, n.Column, n.width(), code, text)
}

// KeyProblem makes a problem at the key that n stands under, if there is one.
func (n *Node) KeyProblem(code, text string) Problem {
	if n.key != nil {
		n = n.key
	}
	return n.Problem(code, text)
}

// Part makes a problem at a part of the scalar n: width characters from
// offset of its Text, in bytes. A scalar whose text does not stand in the
// source as it is, or not in one line, is marked whole.
func (n *Node) Part(offset, width int, code, text string) Problem {
	line, at := n.rest(), 0
	if n.Quoted {
		at = 1
	}
	if n.Text == "" || len(line) < at || !strings.HasPrefix(line[at:], n.Text) || offset < 0 || offset > len(n.Text) {
		return n.Problem(code, text)
	}
	column := n.Column + utf8.RuneCountInString(line[:at+offset])
	return n.doc.problem(n.Line, column, max(width, 1), code, text)
}

// Problem makes a problem at the value under path. If the path ends early, it
// points to the deepest key or value on the way.
func (d *Document) Problem(path, code, text string) Problem {
	n, whole := d.Root.At(path)
	if !whole {
		return n.KeyProblem(code, text)
	}
	return n.Problem(code, text)
}

// KeyProblem makes a problem at the key under path.
func (d *Document) KeyProblem(path, code, text string) Problem {
	n, _ := d.Root.At(path)
	return n.KeyProblem(code, text)
}

// rest gives the source line from the beginning of n.
func (n *Node) rest() string {
	if n.Line < 1 || n.Line > len(n.doc.lines) {
		return ""
	}
	return strings.TrimSuffix(n.doc.lines[n.Line-1].from(n.Column), "\r")
}

// width is how many characters of its first line the token of n has.
func (n *Node) width() int {
	rest := head(n.rest(), maxSource)
	switch {
	case n.Kind == Map && len(n.Fields) > 0 && !strings.HasPrefix(rest, "{"):
		return n.Fields[0].Key.width()
	case n.Kind != Scalar, rest == "":
		return 1
	case !n.Quoted && strings.HasPrefix(rest, n.Text):
		return max(utf8.RuneCountInString(n.Text), 1)
	case rest[0] == '|' || rest[0] == '>':
		return 1
	case rest[0] == '"' || rest[0] == '\'':
		rest = rest[:quotedEnd(rest)]
	}
	return max(utf8.RuneCountInString(strings.TrimRight(rest, " \t")), 1)
}

// quotedEnd gives the length in bytes of the quoted scalar that line begins with.
func quotedEnd(line string) int {
	quote := line[0]
	for i := 1; i < len(line); i++ {
		switch {
		case quote == '"' && line[i] == '\\', quote == '\'' && strings.HasPrefix(line[i:], "''"):
			i++
		case line[i] == quote:
			return i + 1
		}
	}
	return len(line)
}
