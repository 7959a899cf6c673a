package controltest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// verb says what a line of a conversation does.
type verb int

const (
	in verb = iota
	out
	state
	restart
	config
	secret
)

// line is one line of a conversation with its payload.
type line struct {
	number  int // from 1
	verb    verb
	at      time.Duration // of inputs, since the beginning
	words   []word
	text    string // all words, as written
	payload []byte // nil: none
}

// word is WORD, KEY=VALUE or KEY="GO STRING".
type word struct{ key, value string }

// parse reads a conversation. Errors begin with the line's number.
func parse(text string) ([]line, error) {
	rows := strings.Split(text, "\n")
	if first, ok := strings.CutPrefix(rows[0], "#"); !ok || strings.TrimSpace(first) == "" {
		return nil, fmt.Errorf("1: the first line must be a comment that says the file's one idea")
	}
	var lines []line
	var now time.Duration
	for i, row := range rows {
		trimmed := strings.TrimSpace(row)
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		l, err := parseLine(trimmed)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", i+1, err)
		}
		if l == nil {
			if len(lines) == 0 || row == trimmed {
				return nil, fmt.Errorf("%d: expected a time and ->, <-, config, secret, state or restart, have %q", i+1, trimmed)
			}
			last := &lines[len(lines)-1]
			if last.payload != nil {
				last.payload = append(last.payload, '\n')
			}
			last.payload = append(last.payload, trimmed...)
			continue
		}
		if l.verb == in && l.at < now {
			return nil, fmt.Errorf("%d: time goes back from %v to %v", i+1, now, l.at)
		}
		if l.number = i + 1; l.verb == in {
			now = l.at
		}
		lines = append(lines, *l)
	}
	return lines, check(lines)
}

// check finds what would be passed over in silence otherwise.
func check(lines []line) error {
	var before *line
	for i := range lines {
		l := &lines[i]
		if l.verb == out && (before == nil || before.verb != in && before.verb != out) {
			return fmt.Errorf("%d: <- follows no input", l.number)
		}
		if l.verb == state && l.payload == nil {
			return fmt.Errorf("%d: state needs JSON", l.number)
		}
		before = l
	}
	if !slices.ContainsFunc(lines, func(l line) bool { return l.verb == out }) {
		return fmt.Errorf("%d: nothing is expected to come out: the conversation could not fail", len(lines))
	}
	return nil
}

// parseLine gives nil for a line that continues the one above.
func parseLine(row string) (*line, error) {
	first, rest, _ := strings.Cut(row, " ")
	rest = strings.TrimSpace(rest)
	l := &line{text: rest}
	switch first {
	case "<-":
		l.verb = out
	case "state":
		l.verb = state
		if rest != "" {
			l.payload = []byte(rest)
		}
		return l, nil
	case "restart":
		l.verb = restart
	case "config":
		l.verb = config
	case "secret":
		l.verb = secret
	default:
		at, err := time.ParseDuration(first)
		after, arrow := strings.CutPrefix(rest, "->")
		if err != nil || !arrow {
			return nil, nil
		}
		l.verb, l.at, l.text = in, at, strings.TrimSpace(after)
	}
	if strings.HasPrefix(l.text, "log ") && l.verb == out {
		return l, nil
	}
	var err error
	l.words, err = split(l.text)
	if err == nil && len(l.words) == 0 && l.verb != restart {
		err = fmt.Errorf("nothing after %q", first)
	}
	return l, err
}

// split cuts at white space outside of quotes.
func split(text string) ([]word, error) {
	var words []word
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		end := strings.IndexAny(text, " \t=\"")
		if end < 0 {
			end = len(text)
		}
		w := word{key: text[:end]}
		text = text[end:]
		if after, ok := strings.CutPrefix(text, "="); ok {
			quoted, err := strconv.QuotedPrefix(after)
			if err == nil {
				w.value, err = strconv.Unquote(quoted)
				text = after[len(quoted):]
			} else {
				w.value, text, _ = strings.Cut(after, " ")
				err = nil
			}
			if err != nil {
				return nil, fmt.Errorf("value of %s: %w", w.key, err)
			}
		} else if strings.HasPrefix(text, `"`) {
			quoted, err := strconv.QuotedPrefix(text)
			if err != nil || w.key != "" {
				return nil, fmt.Errorf("misplaced quote before %q", text)
			}
			if w.key, err = strconv.Unquote(quoted); err != nil {
				return nil, err
			}
			text = text[len(quoted):]
		}
		words = append(words, w)
	}
	return words, nil
}

// fields reads the words after the first n, all of the form KEY or KEY=VALUE,
// and refuses keys that it does not know. "header." stands for all headers.
func fields(words []word, n int, known ...string) (map[string]string, error) {
	got := map[string]string{}
	if len(words) < n {
		return nil, fmt.Errorf("%s needs %d words after it", words[0].key, n-1)
	}
	for _, w := range words[n:] {
		key := w.key
		if strings.HasPrefix(key, "header.") {
			key = "header."
		}
		if !slices.Contains(known, key) {
			return nil, fmt.Errorf("unknown word %q after %s (have %q)", w.key, words[0].key, known)
		}
		got[w.key] = w.value
	}
	return got, nil
}

func headers(fields map[string]string) map[string]string {
	var got map[string]string
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if name, ok := strings.CutPrefix(key, "header."); ok {
			if got == nil {
				got = map[string]string{}
			}
			got[name] = fields[key]
		}
	}
	return got
}
