package awsiot_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/awsiot"
	"github.com/updraft-ota/updraft/engine"
)

const topic = "state/gw-1/update"

// world is a cloud with a shadow, an engine, and a bad line between them.
type world struct {
	t     *testing.T
	r     *rand.Rand
	bad   bool // messages are lost, doubled and reordered
	now   time.Time
	d     control.Dialect
	save  []byte
	on    bool
	steps int

	desired, reported map[string]any
	version, messages int
	wanted            map[string]string          // by job: the URL
	ends              map[string]map[string]bool // by job: token and result of each end that arrived
	line              []control.In               // to the device
	timers            map[uint64]bool

	runs   map[string]*engine.Report // by job; State "" while it runs
	order  []string
	outbox []string // jobs
	begun  map[string]int
}

func (w *world) make() {
	d, err := awsiot.New(awsiot.Config{Device: "gw-1"}, w.save)
	if err != nil {
		w.t.Fatal(err)
	}
	w.d, w.timers, w.on = d, map[uint64]bool{}, false
}

func (w *world) step(in control.In) {
	if w.steps++; w.steps > 20_000 {
		w.t.Fatal("the conversation does not end")
	}
	w.now = w.now.Add(time.Second)
	in.Now = w.now
	var outs []control.Out
	w.d.Step(in, func(o control.Out) { outs = append(outs, o) })
	w.save = w.d.Save()
	for _, o := range outs {
		w.carry(o)
	}
}

func (w *world) carry(o control.Out) {
	switch o.Kind {
	case control.OutTimer:
		w.timers[o.Token] = true
	case control.OutDelivered:
		w.outbox = slices.DeleteFunc(w.outbox, func(job string) bool { return w.runs[job].ID == o.Report })
	case control.OutPublish:
		if w.on && !(w.bad && w.r.IntN(4) == 0) {
			w.update(o.Payload)
		}
	case control.OutCommand:
		if w.bad && w.r.IntN(8) == 0 {
			w.restart() // before the engine has it
			return
		}
		w.submit(o)
	}
}

// submit is what the engine does with a command.
func (w *world) submit(o control.Out) {
	id, receipt := o.Command.ID, engine.Receipt{}
	if got, _, _ := strings.Cut(o.Command.Inputs["url"], "?"); got != w.wanted[id] {
		w.t.Errorf("job %s gets the file %s, the cloud desired %s", id, got, w.wanted[id])
	}
	if run, known := w.runs[id]; known {
		receipt = engine.Receipt{Answer: engine.Joined, Run: run.Run}
		defer func() {
			if run.State != "" {
				w.step(control.In{Kind: control.InReport, Report: *run})
			}
		}()
	} else if w.running() != "" {
		receipt.Answer = engine.Busy
	} else {
		run := fmt.Sprintf("run-%d", len(w.runs))
		w.runs[id], w.order = &engine.Report{ID: run + ".0", Run: run, Command: id}, append(w.order, id)
		w.begun[id]++
		receipt = engine.Receipt{Answer: engine.Accepted, Run: run}
	}
	if w.bad && w.r.IntN(8) == 0 {
		w.restart() // after the engine has it
		return
	}
	w.step(control.In{Kind: control.InReceipt, Token: o.Token, Receipt: receipt})
}

func (w *world) running() string {
	for _, id := range w.order {
		if w.runs[id].State == "" {
			return id
		}
	}
	return ""
}

func (w *world) finish() {
	if id := w.running(); id != "" {
		w.runs[id].State = []engine.EndState{engine.Succeeded, engine.RolledBack}[w.r.IntN(2)]
		w.outbox = append(w.outbox, id)
		w.step(control.In{Kind: control.InReport, Report: *w.runs[id]})
	}
}

// update is what the cloud does with an update of the shadow.
func (w *world) update(payload []byte) {
	var doc struct {
		State struct {
			Desired, Reported map[string]any
		}
		ClientToken string
	}
	if err := json.Unmarshal(payload, &doc); err != nil {
		w.t.Fatalf("the device sends %s: %v", payload, err)
	}
	if id, ok := doc.State.Reported["jobID"].(string); ok {
		if w.ends[id] == nil {
			w.ends[id] = map[string]bool{}
		}
		w.ends[id][fmt.Sprint(doc.ClientToken, " ", doc.State.Reported["result"])] = true
	}
	merge(w.desired, doc.State.Desired)
	merge(w.reported, doc.State.Reported)
	w.version++
	w.send("/accepted", map[string]any{"clientToken": doc.ClientToken, "version": w.version})
	if delta := w.delta(); len(delta) > 0 {
		w.send("/delta", map[string]any{"state": delta, "version": w.version})
	}
}

func merge(into, from map[string]any) {
	for k, v := range from {
		if into[k] = v; v == nil {
			delete(into, k)
		}
	}
}

func (w *world) delta() map[string]any {
	delta := maps.Clone(w.desired)
	maps.DeleteFunc(delta, func(k string, v any) bool { return w.reported[k] == v })
	return delta
}

func (w *world) send(end string, doc map[string]any) {
	payload, err := json.Marshal(doc)
	if err != nil {
		w.t.Fatal(err)
	}
	copies := 1
	if w.bad {
		copies = []int{0, 1, 1, 1, 2}[w.r.IntN(5)]
	}
	for range copies {
		w.messages++
		w.line = append(w.line, control.In{Kind: control.InMessage, Topic: topic + end, Payload: payload, QoS: 1, Message: uint64(w.messages)})
	}
	if n := len(w.line); w.bad && n > 1 && w.r.IntN(4) == 0 {
		w.line[n-1], w.line[n-2] = w.line[n-2], w.line[n-1]
	}
}

func (w *world) restart() {
	w.make()
	w.reports()
}

// reports hands the outbox over, as after each restart and connect.
func (w *world) reports() {
	for _, id := range slices.Clone(w.outbox) {
		w.step(control.In{Kind: control.InReport, Report: *w.runs[id]})
	}
}

func (w *world) connect() {
	w.line, w.on = nil, true
	w.step(control.In{Kind: control.InConnected})
	w.reports()
}

func (w *world) tick() {
	due := slices.Sorted(maps.Keys(w.timers))
	w.timers = map[uint64]bool{}
	w.now = w.now.Add(6 * time.Minute)
	for _, token := range due {
		w.step(control.In{Kind: control.InTick, Token: token})
	}
}

func (w *world) deliver() {
	if len(w.line) > 0 && w.on {
		in := w.line[0]
		w.line = w.line[1:]
		w.step(in)
	}
}

// act does one thing at random.
func (w *world) act(jobs *int) {
	switch n := w.r.IntN(100); {
	case n < 50:
		w.deliver()
	case n < 60:
		*jobs++
		id, url := fmt.Sprintf("j-%d", *jobs), fmt.Sprintf("https://files.example/v%d.img", w.r.IntN(3))
		w.wanted[id] = url
		w.update(fmt.Appendf(nil, `{"state": {"desired": {"softwareURL": "%s?sig=%d", "jobID": "%s"}}}`, url, w.r.IntN(2), id))
	case n < 75:
		w.finish()
	case n < 85:
		w.tick()
	case n < 90:
		w.on = false
		w.step(control.In{Kind: control.InLost})
	case n < 95:
		w.connect()
	default:
		w.restart()
	}
}

// settle lets the line be good until nothing is left to say.
func (w *world) settle() {
	w.bad = false
	w.connect()
	for range 400 {
		for len(w.line) > 0 {
			w.deliver()
		}
		w.finish()
		w.tick()
	}
}

func TestAnyLineAndAnyRestartLeadToOneEnd(t *testing.T) {
	jobs, runs, refusals := 0, 0, 0
	for seed := range uint64(300) {
		w := &world{t: t, r: rand.New(rand.NewPCG(seed, 1)), bad: true, now: time.Unix(0, 0), desired: map[string]any{}, reported: map[string]any{},
			ends: map[string]map[string]bool{}, wanted: map[string]string{}, runs: map[string]*engine.Report{}, begun: map[string]int{}}
		w.make()
		made := 0
		for range 300 {
			w.act(&made)
		}
		w.settle()
		jobs += made
		w.verify(seed, made)
		runs += len(w.runs)
		refusals += len(w.ends) - len(w.runs)
	}
	t.Logf("%d jobs desired, %d became runs, %d were refused, the others were replaced before the device heard of them", jobs, runs, refusals)
	if runs < 1000 || refusals < 100 {
		t.Errorf("%d runs and %d refusals are too few to show anything", runs, refusals)
	}
}

func (w *world) verify(seed uint64, made int) {
	t := w.t
	t.Helper()
	if delta := w.delta(); len(delta) > 0 && made > 0 {
		t.Errorf("seed %d: the shadow still differs: %v", seed, delta)
	}
	if len(w.outbox) > 0 {
		t.Errorf("seed %d: reports of %v were never delivered", seed, w.outbox)
	}
	for id, ends := range w.ends {
		if len(ends) != 1 {
			t.Errorf("seed %d: job %s has the ends %v", seed, id, slices.Sorted(maps.Keys(ends)))
		}
	}
	for id, run := range w.runs {
		want := run.ID + " FAILURE"
		if run.State == engine.Succeeded {
			want = run.ID + " SUCCESS"
		}
		if !w.ends[id][want] || w.begun[id] != 1 {
			t.Errorf("seed %d: job %s began %d times and has the ends %v, want one run and %s", seed, id, w.begun[id], w.ends[id], want)
		}
	}
}
