package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
)

const pageWidth = 100 // columns, at most

// page tells the story: as lines for people, on a terminal with bold type and
// a bar, or as NDJSON. It may be shared.
type page struct {
	mu       sync.Mutex
	to       io.Writer
	json     *json.Encoder // nil for people
	bold     bool
	bars     *bars       // of the cloud's progress, nil without a terminal
	progress agent.Lines // instead of them
	agent    agent.Lines
	chapters int
	last     string // line of an actor
	muted    bool   // what happens now is no part of the story
}

// facts are what is known of something that happened.
type facts map[string]any

func newPage(p *program, asJSON bool) *page {
	g := &page{to: p.stdout}
	f, ok := p.stdout.(*os.File)
	switch {
	case asJSON:
		g.json = json.NewEncoder(p.stdout)
		g.json.SetEscapeHTML(false)
	case ok && term.IsTerminal(int(f.Fd())) && p.getenv("TERM") != "dumb":
		g.bold = p.getenv("NO_COLOR") == ""
		g.bars = newBars(f, func() int { return columnsOf(f) })
		g.to = &g.bars.bar // lines go above it
	}
	g.agent.To = actor{g, "agent"}
	g.renew()
	return g
}

// tell is for one thing that happened, and who tells it. Without a format it
// is for programs only.
func (g *page) tell(who, event string, f facts, format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.encode(event, f)
	if g.json == nil && format != "" && !g.muted {
		actor{g, who}.say(fmt.Sprintf(format, args...))
	}
}

// mute ends the story for people.
func (g *page) mute() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.muted = true
	g.renew()
}

// note is for people only.
func (g *page) note(who, format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.json == nil {
		actor{g, who}.say(fmt.Sprintf(format, args...))
	}
}

func (g *page) encode(event string, f facts) {
	if g.json == nil {
		return
	}
	all := facts{"event": event}
	if g.chapters > 0 {
		all["chapter"] = g.chapters
	}
	maps.Copy(all, f)
	_ = g.json.Encode(all) // a reader that has gone must not stop an update
}

// actor is somebody whose lines stand on the page.
type actor struct {
	page *page
	name string
}

func (a actor) say(text string) {
	fmt.Fprintln(a.page.to, fit(strings.TrimRight(fmt.Sprintf("   %-7s  %s", a.name, agent.Printable(text)), " ")))
}

// Write takes one line.
func (a actor) Write(line []byte) (int, error) {
	if text := strings.TrimSuffix(string(line), "\n"); !isDull(text) && text != a.page.last {
		a.say(text)
		a.page.last = text
	}
	return len(line), nil
}

func (g *page) strong(text string) {
	if g.bold {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	fmt.Fprintln(g.to, text)
}

func (g *page) begin(dir string) {
	g.encode("began", facts{"dir": dir})
	if g.json == nil {
		g.strong("updraft demo, in " + dir)
	}
}

func (g *page) chapter(title string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.chapters++
	g.encode("chapter", facts{"title": title})
	if g.json == nil {
		fmt.Fprintln(g.to)
		g.strong(fit(fmt.Sprintf("%d. %s", g.chapters, title)))
	}
}

// farewell is for copying, so none of its lines is cut.
func (g *page) farewell(title string, lines ...string) {
	if g.json != nil {
		return
	}
	fmt.Fprintln(g.to)
	g.strong(title)
	for _, line := range lines {
		fmt.Fprintln(g.to, "   "+line)
	}
}

// result is the last line for programs. People have the farewell, or the error.
func (g *page) result(dir string, took time.Duration, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.renew()
	f := facts{"ok": err == nil, "seconds": float64(took.Milliseconds()) / 1000, "dir": dir}
	if err != nil {
		f["error"] = err.Error()
	}
	g.chapters = 0
	g.encode("result", f)
}

// agentLine shows a line of the agent's log, which is an event. Its progress is
// shown as the cloud sees it.
func (g *page) agentLine(line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var e engine.Event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		e = engine.Event{Kind: engine.EventLog, Text: line, Time: time.Now()}
	}
	switch {
	case e.Kind == engine.EventProgress:
	case g.json != nil:
		g.encode("agent", facts{"told": e})
	case !g.muted:
		g.agent.Show(e)
	}
}

// sees draws what the cloud was told of the progress of a job.
func (g *page) sees(e engine.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.json != nil:
		g.encode("progress", facts{"job": e.Run, "step": e.Step, "done": e.Done, "total": e.Total})
	case g.bars != nil:
		g.bars.Show(e)
	default:
		g.progress.Show(e)
	}
}

// fresh takes the bar away: what it showed is over.
func (g *page) fresh() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.renew()
}

func (g *page) renew() {
	g.progress = agent.Lines{To: actor{g, "cloud"}}
	g.last = ""
	if g.bars != nil {
		g.bars.clear()
		g.bars.bar.meters = nil
	}
}
