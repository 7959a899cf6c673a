package document

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxProblems = 500
	maxSource   = 160 // characters of a source line that are kept
)

// Problem is one mistake in a document.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line"`   // from 1
	Column int    `json:"column"` // in characters, from 1
	Width  int    `json:"width"`  // of the offending token, in characters
	Code   string `json:"code"`   // a key of [Codes]
	Text   string `json:"text"`
	Source string `json:"source,omitempty"` // the line; of a long one the part around Column
	offset int    // characters of the line before Source
}

// Error gives the problem in two or three lines: place and text, the source
// line, and a caret under the offending token.
func (p Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s %s", p.File, p.Line, p.Column, p.Code, p.Text)
	if p.Source == "" {
		return b.String()
	}
	source := []rune(p.Source)
	before := min(p.Column-1-p.offset, len(source))
	width := max(1, min(p.Width, len(source)-before))
	b.WriteString("\n  " + p.Source + "\n  ")
	for _, r := range source[:max(before, 0)] {
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	b.WriteString("^" + strings.Repeat("~", width-1))
	return b.String()
}

// Problems are all mistakes found in a document, sorted by place.
type Problems []Problem

// Error gives each problem on lines of its own.
func (ps Problems) Error() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.Error()
	}
	return strings.Join(texts, "\n")
}

// Err gives the problems sorted and without repetitions, or nil if there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps.sorted()
}

func (ps Problems) sorted() Problems {
	if len(ps) == 0 {
		return nil
	}
	order := make([]*Problem, len(ps)) // a sort of pointers is no code of its own
	for i := range ps {
		order[i] = &ps[i]
	}
	slices.SortStableFunc(order, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Text, b.Text))
	})
	var s Problems
	for _, p := range order {
		if len(s) == 0 || s[len(s)-1] != *p {
			s = append(s, *p)
		}
	}
	if more := len(s) - maxProblems; more > 0 {
		last := s[maxProblems-1]
		last.Code, last.Text = TooMany, fmt.Sprintf("and %d more problems", more+1)
		s = append(s[:maxProblems-1], last)
	}
	return s
}

// problem makes one at a position; it tolerates any.
func (d *Document) problem(line, column, width int, code, text string) Problem {
	p := Problem{File: d.File, Line: line, Column: column, Width: width, Code: code, Text: mask(text)}
	if line < 1 || line > len(d.lines) {
		return p
	}
	source, masked := d.shown[line]
	if !masked {
		source = d.lines[line-1]
	}
	if len(source.text) > maxSource {
		p.offset = max(0, column-1-maxSource/4)
	}
	p.Source = clean(head(strings.TrimSuffix(source.from(p.offset+1), "\r"), maxSource))
	return p
}

// clean keeps what a document holds from steering a terminal.
func clean(line string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, line)
}

var (
	userinfo = regexp.MustCompile(`://[^\s"'/?#@]+@`)
	query    = regexp.MustCompile(`://[^\s"'?]*\?[^\s"']+`)
)

// mask hides the passwords and queries of URLs, which may be secrets, and
// keeps the number of characters.
func mask(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	text = userinfo.ReplaceAllStringFunc(text, func(s string) string {
		return "://" + strings.Repeat("*", utf8.RuneCountInString(s)-len("://@")) + "@"
	})
	return query.ReplaceAllStringFunc(text, func(s string) string {
		before, after, _ := strings.Cut(s, "?")
		return before + "?" + strings.Repeat("*", utf8.RuneCountInString(after))
	})
}

// collector keeps problems, but not endlessly many.
type collector struct{ Problems }

func (c *collector) add(p Problem) {
	if len(c.Problems) < 10*maxProblems {
		c.Problems = append(c.Problems, p)
	}
}

// clip shortens a text of the document for a message.
func clip(text string) string {
	if short := head(text, 60); short != text {
		return short + "…"
	}
	return text
}
