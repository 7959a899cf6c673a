package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
)

// output is the log on standard error: a line each, for people or as JSON. It
// may be shared. A log that cannot be written stops no update.
type output struct {
	mu    sync.Mutex
	to    io.Writer
	json  bool
	times bool // lines for people begin with their time
	lines agent.Lines
}

// newOutput leaves times out where a journal adds them.
func (p *program) newOutput(json bool) *output {
	_, journal := p.env("JOURNAL_STREAM")
	_, unit := p.env("INVOCATION_ID")
	o := &output{to: p.stderr, json: json, times: !journal && !unit}
	o.lines.To = plainLine{o}
	return o
}

// logLine is a line of --log json that is no event.
type logLine struct {
	Time time.Time `json:"time"`
	Kind string    `json:"kind"` // always log
	Text string    `json:"text"`
}

// line writes a text.
func (o *output) line(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.json {
		o.encode(logLine{time.Now().UTC(), "log", text})
		return
	}
	fmt.Fprintln(o.lines.To, agent.Printable(strings.ReplaceAll(text, "\n", "; ")))
}

// event writes an event, if it is worth a line.
func (o *output) event(e engine.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.json {
		o.encode(e)
		return
	}
	o.lines.Show(e)
}

func (o *output) encode(v any) {
	if line, err := json.Marshal(v); err == nil {
		_, _ = o.to.Write(append(line, '\n'))
	}
}

// plainLine writes lines, which come in one Write each.
type plainLine struct{ *output }

func (l plainLine) Write(line []byte) (int, error) {
	if l.times {
		line = append([]byte(time.Now().Format(time.RFC3339)+" "), line...)
	}
	return l.to.Write(line)
}
