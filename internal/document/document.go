// Package document reads the YAML files of updraft strictly: workflow, device
// and agent files.
//
// [Load] takes a file's text, [Document.Decode] puts it into a struct. Every
// mistake is found in one go and becomes a [Problem] with file, line, column, a
// stable code and the source line; [Problems] is the error that holds them.
//
//	doc, err := document.Load("device.yaml", data)
//	if err != nil {
//		return err
//	}
//	var file struct {
//		Name    string                   `yaml:"name,required"`
//		Restart time.Duration            `yaml:"restart"`
//		Space   document.Size            `yaml:"space"`
//		Targets map[string]*targetOfMine `yaml:"targets"`
//	}
//	err = doc.Decode(&file)
//
// What YAML can do beyond plain data is refused: aliases, anchors, merge keys,
// tags, several documents. A file has at most [MaxBytes], [MaxDepth] levels and
// [MaxMarks] separators, so that reading one allocates less than 64 MiB, whatever it holds.
//
// Scalars keep their source text in string fields: an unquoted 1.10 stays 1.10
// and yes stays yes. See [Document.Decode] for the types that fields can have,
// and [Decoder] and [Checker] for types with a syntax or rules of their own.
//
// A Document does not change after Load and may be shared.
package document

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// What a document may have at the most.
const (
	MaxBytes = 1 << 20
	MaxDepth = 64 // levels of lists and maps
	// MaxMarks bounds the memory that lists and maps take: what separates
	// their items, which are line breaks and the characters , : [ and {.
	MaxMarks = 1 << 14
)

// Document is a parsed file.
type Document struct {
	File   string // as problems name it
	Root   *Node
	lines  []line
	shown  map[int]line // lines as problems show them, where they differ
	faults Problems
}

// Load parses the text of a file. Its error is [Problems]: text that is not
// UTF-8 or not YAML, too large, too deep, or not exactly one document. Duplicate
// keys, aliases and tags are kept for [Document.Decode], which reports them
// beside its own findings; see [Document.Faults].
func Load(file string, data []byte) (*Document, error) {
	d := &Document{File: file}
	if len(data) > MaxBytes {
		return nil, Problems{{File: file, Line: 1, Column: 1, Code: TooLarge,
			Text: fmt.Sprintf("the file has %d bytes, %d are possible", len(data), MaxBytes)}}
	}
	text := strings.TrimPrefix(string(data), "\uFEFF")
	if n := marks(text); n > MaxMarks {
		return nil, Problems{{File: file, Line: 1, Column: 1, Code: TooLarge,
			Text: fmt.Sprintf("the file has %d line breaks, commas, colons and opening brackets, %d are possible", n, MaxMarks)}}
	}
	d.split(text)
	if p, ok := d.unreadable(); ok {
		return nil, Problems{p}
	}
	root, problem := d.parse(text)
	if problem != nil {
		return nil, Problems{*problem}
	}
	b := &builder{doc: d}
	d.Root = b.build(root, nil, 1)
	if b.tooDeep != nil {
		return nil, Problems{*b.tooDeep}
	}
	d.faults = b.faults.sorted()
	return d, nil
}

func marks(text string) int {
	n := 0
	for i := range len(text) {
		switch text[i] {
		case '\n', ',', ':', '[', '{':
			n++
		}
	}
	return n
}

// Faults gives what Load found and let pass: duplicate keys, aliases, anchors,
// merge keys, tags, and keys that are no words. Decode reports them too.
func (d *Document) Faults() Problems { return append(Problems(nil), d.faults...) }

// unreadable finds the first character that is not UTF-8 or that YAML and
// editors do not agree on: control characters and rare line breaks.
func (d *Document) unreadable() (Problem, bool) {
	for i, l := range d.lines {
		line, column := l.text, 0
		for at, r := range line {
			column++
			ret := r == '\r' && at == len(line)-1 && i < len(d.lines)-1
			if r == '\t' || ret || readable(r) && !badByte(line, at, r) {
				continue
			}
			text := fmt.Sprintf("character %U is not possible here, write it as an escape in double quotes", r)
			if badByte(line, at, r) {
				text = fmt.Sprintf("byte 0x%02x is not UTF-8", line[at])
			}
			return d.problem(i+1, column, 1, Encoding, text), true
		}
	}
	return Problem{}, false
}

func badByte(line string, at int, r rune) bool {
	if r != utf8.RuneError {
		return false
	}
	_, n := utf8.DecodeRuneInString(line[at:])
	return n == 1
}

func readable(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff, r&^1 == 0xfffe:
		return false
	}
	return true
}

// parse gives the one document's node, or why there is none.
func (d *Document) parse(text string) (*yaml.Node, *Problem) {
	deep := false
	limit := loaderlimits.DepthFunc(func(depth int, _ *yaml.DepthContext) error {
		if depth > MaxDepth+1 { // block levels count from 1 here, the exact count is builder's
			deep = true
			return errors.New("too deep")
		}
		return nil
	})
	loader, err := yaml.NewLoader(strings.NewReader(text),
		yaml.WithPlugin(loaderlimits.New(limit)), yaml.WithUniqueKeys(false))
	if err != nil {
		p := d.problem(1, 1, 1, Syntax, err.Error())
		return nil, &p
	}
	var first, second yaml.Node
	err = loader.Load(&first)
	if errors.Is(err, io.EOF) {
		p := d.problem(1, 1, 1, NotOne, "the file is empty")
		return nil, &p
	}
	if err == nil {
		err = loader.Load(&second)
		if err == nil {
			p := d.problem(second.Line, second.Column, 1, NotOne, "a second document begins here, only one is possible")
			return nil, &p
		}
		if errors.Is(err, io.EOF) {
			return content(&first), nil
		}
	}
	p := d.syntax(err, deep)
	return nil, &p
}

func content(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		return n.Content[0]
	}
	return n
}

// syntax turns an error of the YAML library into a problem.
func (d *Document) syntax(err error, deep bool) Problem {
	var load *yaml.LoadError
	if !errors.As(err, &load) {
		return d.problem(1, 1, 1, Syntax, "not YAML: "+err.Error())
	}
	mark := load.Mark
	if mark.Line == 0 {
		mark = load.ContextMark
	}
	line, column := max(mark.Line, 1), max(mark.Column, 1)
	if deep {
		return d.problem(line, column, 1, TooDeep, tooDeepText)
	}
	text := "not YAML: " + load.Message
	if load.ContextMsg != "" {
		text += " " + load.ContextMsg
		if c := load.ContextMark; c.Line > 0 && c.Line != line {
			text += fmt.Sprintf(" that begins in line %d", c.Line)
		}
	}
	if line <= len(d.lines) && strings.Contains(d.lines[line-1].text, "${{") {
		text += "; within [ ] and { } an expression must stand in quotes"
	}
	return d.problem(line, column, 1, Syntax, text)
}

var tooDeepText = fmt.Sprintf("more than %d levels of lists and maps", MaxDepth)
