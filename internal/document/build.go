package document

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// builder makes nodes of the YAML library's, and notes what is refused.
type builder struct {
	doc     *Document
	faults  collector
	tooDeep *Problem
}

func (b *builder) build(y *yaml.Node, parent *Node, depth int) *Node {
	n := &Node{doc: b.doc, parent: parent, Line: y.Line, Column: y.Column}
	if depth > MaxDepth+1 { // scalars stand one below the last level
		b.deep(n)
		n.Kind = broken
		return n
	}
	if !b.plain(y, n) {
		return n
	}
	switch y.Kind {
	case yaml.ScalarNode:
		n.Kind, n.Text = Scalar, y.Value
		n.Quoted = y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	case yaml.SequenceNode:
		n.Kind = List
		if depth > MaxDepth {
			b.deep(n)
			return n
		}
		for i, item := range y.Content {
			child := b.build(item, n, depth+1)
			child.index = i
			n.Items = append(n.Items, child)
		}
	case yaml.MappingNode:
		n.Kind = Map
		if depth > MaxDepth {
			b.deep(n)
			return n
		}
		b.fields(y, n, depth)
	}
	return n
}

func (b *builder) deep(n *Node) {
	if b.tooDeep == nil {
		p := b.doc.problem(n.Line, n.Column, 1, TooDeep, tooDeepText)
		b.tooDeep = &p
	}
}

// plain reports whether y is free of what a document may not have.
func (b *builder) plain(y *yaml.Node, n *Node) bool {
	n.Kind = broken
	mark := ""
	if rest := n.rest(); rest != "" && strings.ContainsRune("&*!", rune(rest[0])) {
		mark, _, _ = strings.Cut(head(rest, maxSource), " ")
		mark = strings.TrimRight(mark, ",]}")
	}
	width := max(utf8.RuneCountInString(mark), 1)
	at := func(code, text string) bool {
		b.faults.add(b.doc.problem(n.Line, n.Column, width, code, text))
		return false
	}
	switch {
	case y.Kind == yaml.AliasNode:
		return at(Alias, "aliases are not possible, write the value here")
	case y.Anchor != "":
		return at(Alias, "anchors are not possible, write the value where it is needed")
	case y.Style&yaml.TaggedStyle != 0, strings.HasPrefix(mark, "!"):
		return at(Tag, "tags are not possible, the field decides the type of its value")
	}
	return true
}

// fields fills a map, whose keys must be words and stand there once.
func (b *builder) fields(y *yaml.Node, n *Node, depth int) {
	seen := map[string]*Node{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := b.build(y.Content[i], nil, depth+1)
		value := b.build(y.Content[i+1], n, depth+1)
		value.key = key
		first := seen[key.Text]
		switch {
		case key.Kind == broken:
		case key.Kind != Scalar || key.Text == "" && !key.Quoted:
			b.faults.add(key.Problem(WrongType, "a key must be a word"))
		case key.Text == "<<" && !key.Quoted:
			b.faults.add(key.Problem(Alias, "merge keys are not possible, write the keys here"))
		case first != nil:
			b.faults.add(key.Problem(DuplicateKey, fmt.Sprintf("key %q is already in line %d", clip(key.Text), first.Line)))
		default:
			seen[key.Text] = key
			n.Fields = append(n.Fields, Field{key, value})
		}
	}
}
