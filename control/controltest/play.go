package controltest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/updraft-ota/updraft/control"
)

// player is one playing of a conversation.
type player struct {
	make    New
	config  map[string]string
	secrets []string
	dialect control.Dialect
	tokens  map[string]uint64
	all     []string // every output, for the comparison of two playings
}

// play plays a whole conversation, and gives all that came out. Errors begin with the line's number.
func play(make New, lines []line) ([]string, error) {
	p := &player{make: make, config: map[string]string{}, tokens: map[string]uint64{}}
	for len(lines) > 0 {
		n := 1
		for n < len(lines) && lines[n].verb == out {
			n++
		}
		if err := p.turn(lines[0], lines[1:n]); err != nil {
			return nil, fmt.Errorf("%d: %w", lines[0].number, err)
		}
		lines = lines[n:]
	}
	return p.all, nil
}

// turn plays one line, and the lines that are to come out of it.
func (p *player) turn(l line, want []line) error {
	switch {
	case l.verb == config && p.dialect == nil:
		for _, w := range l.words {
			p.config[w.key] = w.value
		}
		return nil
	case l.verb == config:
		return errors.New("config must stand before the first input")
	case l.verb == secret:
		p.secrets = append(p.secrets, l.text)
		return nil
	case p.dialect == nil:
		p.dialect = p.make(nil, p.config)
	}
	switch l.verb {
	case state:
		if got, want := canonical(p.dialect.Save()), canonical(l.payload); got != want {
			return fmt.Errorf("state differs\n got %s\nwant %s", got, want)
		}
		return nil
	case restart:
		save := bytes.Clone(p.dialect.Save())
		if l.text == "empty" {
			save = nil
		} else if l.text != "" {
			return fmt.Errorf("unknown word %q after restart (have empty)", l.text)
		}
		p.dialect, p.tokens = p.make(save, p.config), map[string]uint64{}
		return nil
	}
	return p.step(l, want)
}

func (p *player) step(l line, want []line) error {
	i, err := input(l, p.number)
	if err != nil {
		return err
	}
	var got []control.Out
	p.dialect.Step(i, func(o control.Out) { got = append(got, o) })
	clear(i.Payload)
	for _, o := range got {
		head, payload := show(o, p.word)
		p.all = append(p.all, head+"\n"+string(payload))
		if err := p.leak(o); err != nil {
			return err
		}
	}
	for n := range max(len(got), len(want)) {
		if err := p.compare(n, got, want); err != nil {
			return fmt.Errorf("%w\nall that came out at line %d:\n%s", err, l.number, p.notation(got))
		}
	}
	return p.saves()
}

// compare holds the n-th output to the n-th line.
func (p *player) compare(n int, got []control.Out, want []line) error {
	switch {
	case n >= len(want):
		return fmt.Errorf("unexpected output\n got %s\nwant nothing more", strings.TrimSpace(p.notation(got[n:n+1])))
	case n >= len(got):
		return fmt.Errorf("output missing, line %d\n got nothing more\nwant <- %s", want[n].number, normal(want[n]))
	}
	name := p.bind(got[n], want[n])
	head, payload := show(got[n], func(token uint64) string {
		if p.tokens[name] == token && name != "" { // two words may stand for one number
			return name
		}
		return p.word(token)
	})
	if w := normal(want[n]); head != w {
		return fmt.Errorf("output differs, line %d\n got <- %s\nwant <- %s", want[n].number, head, w)
	}
	if g, w := canonical(payload), canonical(want[n].payload); g != w {
		return fmt.Errorf("payload differs, line %d: %s\n got %s\nwant %s", want[n].number, head, g, w)
	}
	return nil
}

// bind gives the word that a line has for its token, and remembers the number
// when the file uses the word for the first time.
func (p *player) bind(o control.Out, l line) string {
	name := ""
	for i, w := range l.words {
		if w.key == "token" || o.Kind == control.OutTimer && i == 1 {
			if name = w.value; name == "" {
				name = w.key
			}
		}
	}
	if _, err := strconv.ParseUint(name, 10, 64); err == nil || name == "" || o.Token == 0 {
		return ""
	}
	if _, known := p.tokens[name]; !known {
		p.tokens[name] = o.Token
	}
	return name
}

// number gives the token for a word.
func (p *player) number(word string) (uint64, error) {
	if n, err := strconv.ParseUint(word, 10, 64); err == nil {
		return n, nil
	}
	if n, ok := p.tokens[word]; ok {
		return n, nil
	}
	return 0, fmt.Errorf("no token %q has come out yet", word)
}

// word gives the word for a token, or its number if it has none.
func (p *player) word(token uint64) string {
	best := ""
	for name, n := range p.tokens {
		if n == token && (best == "" || name < best) {
			best = name
		}
	}
	if best == "" {
		return strconv.FormatUint(token, 10)
	}
	return best
}

// leak finds a secret where people would read it.
func (p *player) leak(o control.Out) error {
	for _, s := range p.secrets {
		for _, text := range []string{o.Text, o.Command.ID, o.Topic, o.Report} {
			if strings.Contains(text, s) {
				return fmt.Errorf("the secret %q comes out where people read it: %s %q", s, o.Kind, text)
			}
		}
	}
	return nil
}

// saves holds Save to what every dialect must promise.
func (p *player) saves() error {
	save := bytes.Clone(p.dialect.Save())
	if len(save) > control.MaxSave {
		return fmt.Errorf("what Save gives is %d bytes, the limit is %d", len(save), control.MaxSave)
	}
	if again := p.make(bytes.Clone(save), p.config).Save(); canonical(again) != canonical(save) {
		return fmt.Errorf("a dialect made from what Save gave saves something else\n got %s\nwant %s", again, save)
	}
	return nil
}

// notation writes outputs as they would stand in a file.
func (p *player) notation(outs []control.Out) string {
	var b strings.Builder
	for _, o := range outs {
		head, payload := show(o, p.word)
		fmt.Fprintf(&b, "   <- %s\n", head)
		if payload != nil {
			fmt.Fprintf(&b, "      %s\n", canonical(payload))
		}
	}
	return b.String()
}
