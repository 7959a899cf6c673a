package document

import (
	"strings"
	"unicode/utf8"
)

// line is a line of the source in which a column is found without reading
// the whole line: documents may have their 1 MiB in one.
type line struct {
	text  string
	marks []int32 // offset in bytes of each stride-th character
}

const stride = 256

func newLine(text string) line {
	l := line{text: text}
	if len(text) <= stride {
		return l
	}
	n := 0
	for at := range text {
		if n%stride == 0 {
			l.marks = append(l.marks, int32(at))
		}
		n++
	}
	return l
}

// from gives what stands at and behind a column.
func (l line) from(column int) string {
	text, n := l.text, max(column-1, 0)
	if mark := n / stride; mark > 0 {
		if mark >= len(l.marks) {
			return ""
		}
		text, n = text[l.marks[mark]:], n%stride
	}
	for ; n > 0 && text != ""; n-- {
		_, size := utf8.DecodeRuneInString(text)
		text = text[size:]
	}
	return text
}

// split keeps the lines of the source, without carriage returns.
func (d *Document) split(text string) {
	d.shown = map[int]line{}
	for part := range strings.SplitSeq(text, "\n") {
		d.lines = append(d.lines, newLine(part))
		if masked := mask(part); masked != part {
			d.shown[len(d.lines)] = newLine(masked)
		}
	}
}

// head gives at most n characters of the beginning of text.
func head(text string, n int) string {
	for at := range text {
		if n--; n < 0 {
			return text[:at]
		}
	}
	return text
}
