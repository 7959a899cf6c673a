package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
)

// bars shows events as agent.Lines does, but progress as a bar below the
// lines, which is gone when its step is. It must not be shared between
// goroutines.
type bars struct {
	agent.Lines
	bar bar
}

// newBars shows on a terminal. columns gives its width; it is asked at each
// drawing, since windows change.
func newBars(terminal io.Writer, columns func() int) *bars {
	b := &bars{bar: bar{to: terminal, columns: columns}}
	b.To = &b.bar
	return b
}

// Show writes the line of an event, or draws its progress.
func (b *bars) Show(e engine.Event) {
	switch e.Kind {
	case engine.EventProgress:
		b.bar.move(e)
		return
	case engine.EventRun, engine.EventStep, engine.EventRetry, engine.EventRestart:
		b.clear()
		b.bar.meters = nil // the step ends, or begins again
	}
	b.Lines.Show(e)
}

// clear takes the bar away, so that others may write to the terminal.
func (b *bars) clear() { b.bar.clear() }

const (
	erase       = "\r\x1b[K"
	barLongest  = 40 // columns
	barShortest = 5  // without room for them there is no bar
	barFigures  = 46 // columns kept for the figures behind the bar
	barMargin   = 3  // columns kept for the ^C that a terminal echoes
)

// bar is the last line of a terminal. What is written to it appears above.
type bar struct {
	to      io.Writer
	columns func() int
	drawn   string            // what stands there now
	meters  map[string]*meter // by step: a step that fetches and one that writes take turns
}

// Write writes whole lines above the bar.
func (b *bar) Write(lines []byte) (int, error) {
	if _, err := io.WriteString(b.to, erase+string(lines)+b.drawn); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// clear erases also where no bar stands: the terminal may have echoed a ^C there.
func (b *bar) clear() {
	fmt.Fprint(b.to, erase)
	b.drawn = ""
}

// move draws the bar of a step anew.
func (b *bar) move(e engine.Event) {
	if b.meters == nil {
		b.meters = map[string]*meter{}
	}
	m := b.meters[e.Step]
	if m == nil {
		m = &meter{}
		b.meters[e.Step] = m
	}
	m.add(e.Time, e.Done)
	b.drawn = barLine(e, m.rate(), b.columns())
	fmt.Fprint(b.to, erase+b.drawn)
}

// barLine is what the bar of a step shows, fit for a terminal of so many columns.
func barLine(e engine.Event, rate float64, columns int) string {
	columns -= barMargin
	name := agent.Printable(e.Step) + ":"
	line := fmt.Sprintf("%s %s", name, figures(e, rate))
	if e.Total > 0 {
		width := min(barLongest, columns-barFigures-len(name)-len(" 100% [] "))
		line = fmt.Sprintf("%s %s", drawing(name, e, width), figures(e, rate))
	}
	return cut(line, columns)
}

// figures are bytes, rate and remaining time, as far as they are known.
func figures(e engine.Event, rate float64) string {
	text := agent.ByteCount(e.Done)
	if e.Total > 0 {
		text += " of " + agent.ByteCount(e.Total)
	}
	if rate < 1 {
		return text
	}
	text += fmt.Sprintf(", %s/s", agent.ByteCount(int64(rate)))
	left := math.Ceil(float64(e.Total-e.Done) / rate)
	if e.Done >= e.Total || left > (100*time.Hour).Seconds() {
		return text
	}
	return text + fmt.Sprintf(", %v left", time.Duration(left)*time.Second)
}

// drawing is the name, the percentage and, with room for it, the bar. The
// library draws; its figures would count what was there before a resume as new.
func drawing(name string, e engine.Event, width int) string {
	done := min(max(e.Done, 0), e.Total)
	if width < barShortest {
		return fmt.Sprintf("%s %3d%%", name, int64(100*float64(done)/float64(e.Total)))
	}
	p := progressbar.NewOptions64(e.Total, progressbar.OptionSetWriter(io.Discard), progressbar.OptionSetDescription(name),
		progressbar.OptionSetWidth(width), progressbar.OptionSetTheme(progressbar.ThemeASCII),
		progressbar.OptionSetPredictTime(false), progressbar.OptionSetRenderBlankState(true))
	_ = p.Set64(done) // it writes nowhere
	return strings.TrimSpace(p.String())
}

// cut keeps a line from wrapping, which could not be erased again.
func cut(line string, columns int) string {
	if r := []rune(line); len(r) > columns {
		return string(r[:max(columns, 0)])
	}
	return line
}

// meter measures the bytes that a step gains within the last seconds. What was
// there at its first mark does not count.
type meter struct{ from, half, last mark }

// mark is how far a step was.
type mark struct {
	at   time.Time
	done int64
}

// window is how far back a meter looks, at least; at most it is twice that.
const window = 5 * time.Second

func (m *meter) add(at time.Time, done int64) {
	now := mark{at, done}
	switch {
	case m.from.at.IsZero() || at.Before(m.last.at) || done < m.last.done: // a clock that was set must not make a rate
		*m = meter{from: now, half: now}
	case at.Sub(m.half.at) >= window:
		m.from, m.half = m.half, now
	}
	m.last = now
}

// rate is bytes a second, or 0 if it is too early to say.
func (m *meter) rate() float64 {
	spent := m.last.at.Sub(m.from.at).Seconds()
	if spent < 0.2 {
		return 0
	}
	return float64(m.last.done-m.from.done) / spent
}

// draws reports whether standard error is a terminal that lines can be erased on.
func (p *program) draws() bool {
	f, ok := p.stderr.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// columns is the width of standard error, or the usual one.
func (p *program) columns() int {
	f, ok := p.stderr.(*os.File)
	if !ok {
		return usualColumns
	}
	return columnsOf(f)
}

const usualColumns = 80

// columnsOf is the width of a terminal, or the usual one.
func columnsOf(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return usualColumns
	}
	return cmp.Or(width, usualColumns)
}
