package workflow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// span is a part of an expression's text, in bytes.
type span struct{ from, to int }

// fault is what is wrong with an expression, or went wrong in it, and where.
type fault struct {
	at   span
	text string
}

func (f *fault) Error() string { return f.text }

type tokenKind uint8

const (
	ending tokenKind = iota // behind the last one; marks the last character
	word                    // a name, or an operator such as not
	digits                  // a number
	quoted                  // a text
	symbol
)

// token is a word, number, text or sign of an expression.
type token struct {
	kind tokenKind
	text string // as it stands there, or what quotes hold
	at   span
}

// is reports whether the token is a sign or word, outside quotes.
func (t token) is(text string) bool {
	return (t.kind == symbol || t.kind == word) && t.text == text
}

func (t token) String() string {
	if t.kind == ending {
		return "end of the expression"
	}
	return strconv.Quote(t.text)
}

// symbols of two characters, which are looked for before those of one.
var symbols = []string{"==", "!=", "<=", ">=", "&&", "||", "??", "?.", "..", "**", "::"}

// lexer takes the text of an expression apart.
type lexer struct {
	source string
	at     int // in bytes
	tokens []token
}

// lex gives the tokens of an expression; the last one is its ending.
func lex(source string) ([]token, *fault) {
	l := lexer{source: source}
	for l.skip(unicode.IsSpace); l.at < len(source); l.skip(unicode.IsSpace) {
		if f := l.next(); f != nil {
			return nil, f
		}
	}
	_, last := utf8.DecodeLastRuneInString(source)
	return append(l.tokens, token{kind: ending, at: span{len(source) - last, len(source)}}), nil
}

// skip passes over characters and reports whether there were any.
func (l *lexer) skip(some func(rune) bool) bool {
	rest := strings.TrimLeftFunc(l.source[l.at:], some)
	began := l.at
	l.at = len(l.source) - len(rest)
	return l.at > began
}

// add keeps the token that ends here.
func (l *lexer) add(kind tokenKind, from int, text string) {
	l.tokens = append(l.tokens, token{kind, text, span{from, l.at}})
}

func (l *lexer) next() *fault {
	from := l.at
	r, size := utf8.DecodeRuneInString(l.source[from:])
	switch {
	case isDigit(r):
		return l.number()
	case l.skip(inName):
		l.add(word, from, l.source[from:l.at])
		return nil
	case r == '"' || r == '\'' || r == '`':
		return l.quoted(byte(r))
	}
	l.at += size
	if long := l.source[from:min(from+2, len(l.source))]; slices.Contains(symbols, long) {
		l.at = from + 2
	} else if !strings.ContainsRune("()[]{},:?.+-*/%!<>=&|^;#", r) {
		return &fault{span{from, l.at}, fmt.Sprintf("expression: unexpected character %q", r)}
	}
	l.add(symbol, from, l.source[from:l.at])
	return nil
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

func inName(r rune) bool {
	return r == '_' || r == '$' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

// number reads 12, 1.5 or 1e9. Two dots behind a number are not its fraction.
func (l *lexer) number() *fault {
	from := l.at
	l.skip(isDigit)
	rest := l.source[l.at:]
	if strings.HasPrefix(rest, ".") && !strings.HasPrefix(rest, "..") {
		l.at++
		if !l.skip(isDigit) {
			return l.badNumber(from)
		}
	}
	if rest = l.source[l.at:]; strings.HasPrefix(rest, "e") || strings.HasPrefix(rest, "E") {
		l.at++
		if rest = rest[1:]; strings.HasPrefix(rest, "+") || strings.HasPrefix(rest, "-") {
			l.at++
		}
		if !l.skip(isDigit) {
			return l.badNumber(from)
		}
	}
	if end := l.at; l.skip(inName) {
		l.at = end
		return l.badNumber(from)
	}
	l.add(digits, from, l.source[from:l.at])
	return nil
}

func (l *lexer) badNumber(from int) *fault {
	l.skip(inName)
	return &fault{span{from, l.at}, fmt.Sprintf("expression: %q is no number, expected one such as 12, 1.5 or 1e9", l.source[from:l.at])}
}

// quoted reads a text. Between backquotes nothing but a doubled backquote has
// a meaning; the others have the escapes of Go.
func (l *lexer) quoted(quote byte) *fault {
	from := l.at
	var b strings.Builder
	for rest := l.source[from+1:]; rest != ""; {
		switch {
		case quote == '`' && strings.HasPrefix(rest, "``"):
			b.WriteByte('`')
			rest = rest[2:]
			continue
		case rest[0] == quote:
			l.at = len(l.source) - len(rest) + 1
			l.add(quoted, from, b.String())
			return nil
		case quote == '`':
			b.WriteByte(rest[0])
			rest = rest[1:]
			continue
		case rest[0] == '\n':
			return &fault{span{from, len(l.source) - len(rest)}, "expression: a text ends in the line in which it begins"}
		}
		r, _, tail, err := strconv.UnquoteChar(rest, quote)
		if err != nil {
			at := len(l.source) - len(rest)
			return &fault{span{at, at + 1}, `expression: unknown escape, expected one such as \n, \\ or \u00fc`}
		}
		b.WriteRune(r)
		rest = tail
	}
	return &fault{span{from, len(l.source)}, "expression: a text has no closing quote"}
}
