package agent

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/engine"
)

const (
	lineEvery = 10              // percent between two lines of progress
	linePause = 5 * time.Second // or time between them
)

// Lines turns the events of runs into lines for people. Progress is thinned
// out: a log of an update should fit on a screen. What a line repeats of others,
// such as a server or a module, cannot steer a terminal. Lines must not be
// shared between goroutines.
type Lines struct {
	// To is where each line goes, in one Write. Its errors are dropped: a reader
	// that has gone must not stop an update.
	To io.Writer
	// Times makes each line begin with its local time.
	Times bool
	// Brief leaves out that a run ended or waits, for callers that say so
	// themselves from the [engine.Result].
	Brief bool

	fresh   bool // the run was accepted just now, or has waited in this process
	step    string
	began   map[string]time.Time // steps that have begun, and when
	base    int64                // bytes that the step had at its first progress
	baseAt  time.Time
	told    time.Time
	percent int64
}

// Show writes the line of an event, if it is worth one.
func (l *Lines) Show(e engine.Event) {
	if l.Brief && e.Kind == engine.EventRun && stops(e.State) {
		l.fresh = true // what goes on in this process needs no line that says so
		return
	}
	begins := e.Kind == engine.EventStep && e.State == "begin"
	if begins || e.Kind == engine.EventProgress && e.Step != l.step {
		l.step, l.baseAt, l.told, l.percent = e.Step, time.Time{}, time.Time{}, 0
	}
	if begins {
		if l.began == nil {
			l.began = map[string]time.Time{}
		}
		l.began[e.Step] = e.Time
	}
	goesOn := e.Kind == engine.EventRun && e.State == "resumed" && l.fresh
	l.fresh = e.Kind == engine.EventRun && e.State == "accepted"
	text := l.text(e)
	if text == "" || goesOn {
		return
	}
	if l.Times {
		text = e.Time.Local().Format(time.DateTime) + " " + text
	}
	fmt.Fprintln(l.To, Printable(strings.ReplaceAll(text, "\n", "; ")))
}

// stops says whether a run in this state goes no further for now.
func stops(state string) bool {
	switch engine.EndState(state) {
	case engine.Succeeded, engine.RefusedEnd, engine.RolledBack, engine.Failed, engine.Cancelled, engine.Waiting:
		return true
	}
	return false
}

func (l *Lines) text(e engine.Event) string {
	prefix := ""
	if e.Step != "" {
		prefix = e.Step + ": "
	}
	switch e.Kind {
	case engine.EventRun:
		return runText(e)
	case engine.EventStep:
		if began, ok := l.began[e.Step]; ok && e.State == "done" {
			return fmt.Sprintf("%sdone in %s", prefix, Took(e.Time.Sub(began)))
		}
		if e.State == "already" {
			return prefix + Phrase("is there already", e.Code, e.Text)
		}
		return prefix + Phrase(e.State, e.Code, e.Text)
	case engine.EventProgress:
		return l.progress(prefix, e)
	case engine.EventRetry:
		return prefix + Phrase("failed, but is tried again", e.Code, e.Text)
	case engine.EventRestart:
		return prefix + Phrase("restart "+restartWord(e.State), e.Code, e.Text)
	case engine.EventReport:
		return prefix + Phrase("report "+e.State, e.Code, e.Text)
	case engine.EventLog:
		if strings.HasPrefix(e.Text, prefix) { // errors name their step themselves
			return Phrase(e.Text, e.Code)
		}
		return prefix + Phrase(e.Text, e.Code)
	}
	return prefix + Phrase(string(e.Kind), e.Code, e.Text)
}

// restartWord is a state of a restart for people: whether anything restarts by
// itself is the affair of the restart mode.
func restartWord(state string) string {
	if state == "restarting" {
		return "due"
	}
	return state
}

func runText(e engine.Event) string {
	switch e.State {
	case "waiting":
		return fmt.Sprintf("run %s waits for the %s", e.Run, e.Text)
	case "failing":
		e.State = "turns back"
	}
	return Phrase(fmt.Sprintf("run %s %s", e.Run, e.State), e.Code, e.Text)
}

func (l *Lines) progress(prefix string, e engine.Event) string {
	if l.baseAt.IsZero() {
		l.base, l.baseAt = e.Done, e.Time
	}
	percent := int64(0)
	if e.Total > 0 {
		percent = int64(100 * float64(e.Done) / float64(e.Total))
	}
	due := l.told.IsZero() || percent/lineEvery > l.percent/lineEvery || e.Time.Sub(l.told) >= linePause
	if !due {
		return ""
	}
	l.told, l.percent = e.Time, percent
	text := prefix + ByteCount(e.Done)
	if e.Total > 0 {
		text = fmt.Sprintf("%s%3d %% %s of %s", prefix, percent, ByteCount(e.Done), ByteCount(e.Total))
	}
	if spent := e.Time.Sub(l.baseAt).Seconds(); spent >= 0.2 && e.Done > l.base {
		text += fmt.Sprintf(", %s/s", ByteCount(int64(float64(e.Done-l.base)/spent)))
	}
	return text
}

// Phrase puts what is there of a code and a text behind a word, each once:
// "refused: network: no route". A text that begins with its code stands for
// both.
func Phrase(word string, more ...string) string {
	for i, m := range more {
		told := i+1 < len(more) && strings.HasPrefix(more[i+1], m+": ")
		if !told && !strings.HasSuffix(word, m) {
			word += ": " + m
		}
	}
	return word
}

// Took writes a time for people: milliseconds as long as they matter.
func Took(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// ByteCount writes a number of bytes for people: "1.5 KiB".
func ByteCount(n int64) string {
	const unit = 1024
	if n < unit && n > -unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for ; value >= unit && prefix < len("KMGTPE")-1; prefix++ {
		value /= unit
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTPE"[prefix])
}

// Printable replaces what would steer a terminal or break a line.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}
