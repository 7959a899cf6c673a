package tencent_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/tencent"
	"github.com/updraft-ota/updraft/engine"
)

// world is a cloud with tasks, an engine, and a bad line between them.
type world struct {
	t     *testing.T
	r     *rand.Rand
	now   time.Time
	d     control.Dialect
	save  []byte
	on    bool
	steps int

	// the cloud
	wanted  string   // version of the open task, "" for none
	signed  int      // URLs
	results []string // of closed tasks: version and result
	line    []control.In
	timers  map[uint64]bool

	// the device
	device string // version
	runs   map[string]*engine.Report
	order  []string
	outbox []string // commands
}

// start makes the dialect anew, as after a crash.
func (w *world) start() {
	d, err := tencent.New(tencent.Config{Product: "P", Device: "gw-1", Version: "v0"}, w.save)
	if err != nil {
		w.t.Fatal(err)
	}
	w.d, w.timers, w.on, w.line = d, map[uint64]bool{}, false, nil
}

func (w *world) step(in control.In) {
	if w.steps++; w.steps > 20_000 {
		w.t.Fatal("the conversation does not end")
	}
	w.now = w.now.Add(time.Second)
	in.Now = w.now
	d := w.d
	var outs []control.Out
	d.Step(in, func(o control.Out) { outs = append(outs, o) })
	w.save = d.Save()
	for _, o := range outs {
		if w.d != d {
			return // the process has died meanwhile
		}
		w.carry(o)
	}
}

func (w *world) chance(n int) bool { return w.r.IntN(n) == 0 }

func (w *world) carry(o control.Out) {
	switch o.Kind {
	case control.OutTimer:
		w.timers[o.Token] = true
	case control.OutDelivered:
		w.outbox = slices.DeleteFunc(w.outbox, func(c string) bool { return w.runs[c].ID == o.Report })
	case control.OutCommand:
		w.submit(o)
	case control.OutPublish:
		if !w.on || w.chance(20) { // on its way there
			w.lose()
			return
		}
		w.cloud(o.Payload)
		if o.QoS == 1 && o.Token != 0 {
			w.line = append(w.line, control.In{Kind: control.InPublished, Token: o.Token})
		}
	}
}

func (w *world) lose() {
	if w.on {
		w.on = false
		w.line = slices.DeleteFunc(w.line, func(in control.In) bool { // what the engine says comes all the same
			return in.Kind != control.InReceipt && in.Kind != control.InReport
		})
		w.step(control.In{Kind: control.InLost})
	}
}

// submit is what the engine does with a command.
func (w *world) submit(o control.Out) {
	id, receipt := o.Command.ID, engine.Receipt{}
	if w.chance(10) {
		w.start() // before the engine has it
		return
	}
	known, ok := w.runs[id]
	switch {
	case ok:
		receipt = engine.Receipt{Answer: engine.Joined, Run: known.Run}
	case w.running() != "":
		receipt.Answer = engine.Busy
	default:
		known = &engine.Report{ID: id + ".0", Run: "run-" + id, Command: id}
		w.runs[id], w.order = known, append(w.order, id)
		receipt = engine.Receipt{Answer: engine.Accepted, Run: known.Run}
	}
	if w.chance(10) {
		w.start() // after the engine has it
		return
	}
	w.line = append(w.line, control.In{Kind: control.InReceipt, Token: o.Token, Receipt: receipt})
	if ok && known.State != "" {
		w.line = append(w.line, control.In{Kind: control.InReport, Report: *known})
	}
}

func (w *world) running() string {
	for _, id := range w.order {
		if w.runs[id].State == "" {
			return id
		}
	}
	return ""
}

// finish ends the run, well or not.
func (w *world) finish() {
	id := w.running()
	if id == "" {
		return
	}
	r := w.runs[id]
	r.Ended = w.now
	switch w.r.IntN(4) {
	case 0:
		r.State, r.Code = engine.RolledBack, "probe"
	case 1:
		r.State, r.Code = engine.RolledBack, "http_403"
	default:
		r.State = engine.Succeeded
		was := w.device
		if w.device, _, _ = strings.Cut(id, "#"); w.device == was {
			w.t.Errorf("version %s is done twice: %q", was, w.order)
		}
	}
	w.outbox = append(w.outbox, id)
	w.step(control.In{Kind: control.InReport, Report: *r})
}

// cloud is what the cloud does with a message.
func (w *world) cloud(payload []byte) {
	var m struct {
		Type   string
		Report struct {
			Version  string
			Progress struct {
				State string
			}
		}
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		w.t.Fatalf("the device sends %s: %v", payload, err)
	}
	state := m.Report.Progress.State
	switch {
	case m.Type == "report_version":
		if m.Report.Version != w.device {
			w.t.Errorf("the device reports version %s and runs %s", m.Report.Version, w.device)
		}
		w.send(fmt.Sprintf(`{"type": "report_version_rsp", "result_code": 0, "version": "%s"}`, m.Report.Version))
		if m.Report.Version == w.wanted {
			w.close("done")
		}
		w.push()
	case m.Report.Version == w.wanted && (state == "done" || state == "fail"):
		w.close(state)
	}
}

func (w *world) close(result string) {
	w.results = append(w.results, w.wanted+" "+result)
	w.wanted = ""
}

// push sends the open task, with a URL that is signed anew.
func (w *world) push() {
	if w.wanted != "" && w.on {
		w.signed++
		w.send(fmt.Sprintf(`{"type": "update_firmware", "version": "%s", "url": "https://h/%s?%d", "md5sum": "%032d", "file_size": 7}`, w.wanted, w.wanted, w.signed, 7))
	}
}

func (w *world) send(payload string) {
	for range 1 + w.r.IntN(2) { // a duplicate follows at once: a later one is a new attempt
		w.line = append(w.line, control.In{Kind: control.InMessage, Topic: "$ota/update/P/gw-1", Payload: []byte(payload)})
	}
}

// any does whatever may happen next.
func (w *world) any() {
	switch n := w.r.IntN(40); {
	case n == 0:
		w.lose()
	case n == 1:
		w.start()
	case n < 6:
		w.finish()
	case len(w.line) > 0:
		in := w.line[0]
		w.line = w.line[1:]
		w.step(in)
	case !w.on:
		w.on = true
		w.step(control.In{Kind: control.InConnected})
		for _, id := range slices.Clone(w.outbox) {
			if w.on {
				w.step(control.In{Kind: control.InReport, Report: *w.runs[id]})
			}
		}
	default:
		for token := range w.timers {
			delete(w.timers, token)
			w.step(control.In{Kind: control.InTick, Token: token})
			break
		}
	}
}

// TestEveryTaskEndsTrulyOverABadLine pushes version after version, some of
// them again after a failure, while messages are doubled, connections and acknowledgements lost,
// and the process dies. Each task must end, as its last run did, and no run may be done twice.
func TestEveryTaskEndsTrulyOverABadLine(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := &world{t: t, r: rand.New(rand.NewPCG(seed, 1)), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), device: "v0",
				runs: map[string]*engine.Report{}}
			w.start()
			version, tries := 1, 0
			for len(w.results) < 8 {
				if w.wanted == "" {
					if done := len(w.results) > 0 && w.results[len(w.results)-1] == fmt.Sprintf("v%d done", version); done || tries > 2 {
						version, tries = version+1, 0
					}
					tries++
					w.wanted = fmt.Sprintf("v%d", version)
					w.push()
				}
				closed := len(w.results)
				w.any()
				if len(w.results) > closed {
					w.judge(w.results[closed])
				}
			}
			for len(w.outbox) > 0 || w.running() != "" {
				w.any()
			}
		})
	}
}

// judge holds the end of a task to what the engine did last for its version.
func (w *world) judge(result string) {
	truth := "no run"
	for _, id := range w.order {
		version, _, _ := strings.Cut(id, "#")
		if strings.HasPrefix(result, version+" ") {
			truth = version + " " + map[engine.EndState]string{engine.Succeeded: "done", engine.RolledBack: "fail", "": "runs"}[w.runs[id].State]
		}
	}
	if result != truth {
		w.t.Errorf("the cloud has %q, the engine %q; runs %q", result, truth, w.order)
	}
}
