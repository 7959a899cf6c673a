package awsjobs_test

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
	"github.com/updraft-ota/updraft/control/awsjobs"
	"github.com/updraft-ota/updraft/engine"
)

const jobsTopic = "$aws/things/gw-1/jobs/"

// execution is what the cloud holds of one.
type execution struct {
	id, status string
	number     int
	version    int
	ended      bool
	byCloud    bool
}

func (e *execution) command() string { return fmt.Sprintf("%s/%d", e.id, e.number) }

// world is a cloud with its queue, an engine, and a bad line between them.
type world struct {
	t     *testing.T
	r     *rand.Rand
	bad   bool // messages are lost, doubled and reordered
	start string
	now   time.Time
	d     control.Dialect
	save  []byte
	on    bool
	steps int

	cloud    []*execution
	messages int
	line     []control.In // to the device
	timers   map[uint64]bool

	runs   map[string]*engine.Report // by command; State "" while it runs
	order  []string
	outbox []string
	cancel map[string]bool
}

func (w *world) make() {
	d, err := awsjobs.New(awsjobs.Config{Device: "gw-1", Start: awsjobs.Start(w.start)}, w.save)
	if err != nil {
		w.t.Fatal(err)
	}
	w.d, w.timers, w.on = d, map[uint64]bool{}, false
}

func (w *world) step(in control.In) {
	if w.steps++; w.steps > 30_000 {
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
		w.outbox = slices.DeleteFunc(w.outbox, func(c string) bool { return w.runs[c].ID == o.Report })
	case control.OutPublish:
		if w.on && !(w.bad && w.r.IntN(4) == 0) {
			w.request(strings.TrimPrefix(o.Topic, jobsTopic), o.Payload)
		}
	case control.OutCancel:
		w.cancel[o.Command.ID] = true
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
	run, known := w.runs[id]
	switch {
	case known:
		receipt = engine.Receipt{Answer: engine.Joined, Run: run.Run}
	case w.running() != "":
		receipt.Answer = engine.Busy
	default:
		name := fmt.Sprintf("run-%d", len(w.runs))
		w.runs[id], w.order = &engine.Report{ID: name + ".0", Run: name, Command: id}, append(w.order, id)
		receipt = engine.Receipt{Answer: engine.Accepted, Run: name}
	}
	if w.bad && w.r.IntN(8) == 0 {
		w.restart() // after the engine has it
		return
	}
	w.step(control.In{Kind: control.InReceipt, Token: o.Token, Receipt: receipt})
	if known && run.State != "" {
		w.step(control.In{Kind: control.InReport, Report: *run})
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

func (w *world) finish() {
	id := w.running()
	if id == "" {
		return
	}
	r := w.runs[id]
	r.State = []engine.EndState{engine.Succeeded, engine.RolledBack, engine.RefusedEnd}[w.r.IntN(3)]
	if w.cancel[id] && w.r.IntN(4) > 0 { // else it was too late
		r.State = engine.Cancelled
	}
	w.outbox = append(w.outbox, id)
	w.step(control.In{Kind: control.InReport, Report: *r})
}

// next is the execution that the cloud hands out: those in progress first.
func (w *world) next() *execution {
	for _, status := range []string{"IN_PROGRESS", "QUEUED"} {
		for _, e := range w.cloud {
			if e.status == status {
				return e
			}
		}
	}
	return nil
}

func (w *world) show(e *execution, document bool) map[string]any {
	if e == nil {
		return nil
	}
	m := map[string]any{"jobId": e.id, "status": e.status, "versionNumber": e.version, "executionNumber": e.number}
	if document {
		m["jobDocument"] = map[string]any{"url": fmt.Sprintf("https://files.example/%s?sig=%d", e.id, w.r.IntN(9))}
	}
	return m
}

// request is what the cloud does with a request.
func (w *world) request(topic string, payload []byte) {
	var q struct {
		ClientToken        string
		Status             string
		ExpectedVersion    int
		ExecutionNumber    int
		IncludeJobDocument bool
	}
	if err := json.Unmarshal(payload, &q); err != nil {
		w.t.Fatalf("the device sends %s: %v", payload, err)
	}
	answer := map[string]any{"clientToken": q.ClientToken, "timestamp": 1}
	reject := func(code string, e *execution) {
		answer["code"], answer["message"] = code, "no"
		if e != nil {
			answer["executionState"] = map[string]any{"status": e.status, "versionNumber": e.version}
		}
		w.send(topic+"/rejected", answer)
	}
	if w.bad && w.r.IntN(10) == 0 {
		reject([]string{"InternalError", "RequestThrottled"}[w.r.IntN(2)], nil)
		return
	}
	id, verb, _ := strings.Cut(topic, "/")
	if topic == "$next/get" || topic == "start-next" {
		e := w.next()
		if e != nil && e.status == "QUEUED" && topic == "start-next" {
			e.status, e.version = "IN_PROGRESS", e.version+1
		}
		if e != nil {
			answer["execution"] = w.show(e, true)
		}
		w.send(topic+"/accepted", answer)
		return
	}
	i := slices.IndexFunc(w.cloud, func(e *execution) bool { return e.id == id && e.number == q.ExecutionNumber })
	if i < 0 {
		reject("ResourceNotFound", nil)
		return
	}
	e := w.cloud[i]
	switch {
	case verb == "get":
		answer["execution"] = w.show(e, q.IncludeJobDocument)
	case e.ended:
		reject([]string{"InvalidStateTransition", "TerminalStateReached", "VersionMismatch"}[w.r.IntN(3)], e)
		return
	case q.ExpectedVersion != 0 && q.ExpectedVersion != e.version:
		reject("VersionMismatch", e)
		return
	default:
		e.status, e.version = q.Status, e.version+1
		e.ended = q.Status != "IN_PROGRESS"
		answer["executionState"] = map[string]any{"status": e.status, "versionNumber": e.version}
		w.notify()
	}
	w.send(topic+"/accepted", answer)
}

func (w *world) notify() {
	w.send("notify-next", map[string]any{"execution": w.show(w.next(), true), "timestamp": 1})
}

// send puts a message on the line to the device, if it is there.
func (w *world) send(below string, body map[string]any) {
	payload, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	copies := 1
	if w.bad {
		copies = []int{0, 1, 1, 1, 2}[w.r.IntN(5)]
	}
	for range copies {
		w.messages++
		w.line = append(w.line, control.In{Kind: control.InMessage, Topic: jobsTopic + below, Payload: payload, QoS: 1, Message: uint64(w.messages)})
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
	w.now = w.now.Add(7 * time.Minute)
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

// change does something to the queue, as the owner of the fleet may.
func (w *world) change() {
	if len(w.cloud) > 0 {
		e := w.cloud[w.r.IntN(len(w.cloud))]
		latest := !slices.ContainsFunc(w.cloud, func(o *execution) bool { return o.id == e.id && o.number > e.number })
		switch {
		case !e.ended && w.r.IntN(3) == 0:
			e.status, e.version, e.ended, e.byCloud = []string{"CANCELED", "TIMED_OUT"}[w.r.IntN(2)], e.version+1, true, true
			w.notify()
			return
		case latest && (e.status == "FAILED" || e.status == "TIMED_OUT"):
			w.cloud = append(w.cloud, &execution{id: e.id, number: e.number + 1, status: "QUEUED", version: 1})
			w.notify()
			return
		}
	}
	w.cloud = append(w.cloud, &execution{id: fmt.Sprintf("j-%d", len(w.cloud)), number: 1, status: "QUEUED", version: 1})
	w.notify()
}

// act does one thing at random.
func (w *world) act() {
	switch n := w.r.IntN(100); {
	case n < 55:
		w.deliver()
	case n < 62:
		w.change()
	case n < 75:
		w.finish()
	case n < 85:
		w.tick()
	case n < 88:
		w.on = false
		w.step(control.In{Kind: control.InLost})
	case n < 91:
		w.step(control.In{Kind: control.InEvent, Event: engine.Event{Run: fmt.Sprintf("run-%d", len(w.runs)-1), Kind: engine.EventProgress, Step: "image", Done: 1, Total: 2}})
	case n < 96:
		w.connect()
	default:
		w.restart()
	}
}

// settle lets the line be good until nothing is left to say.
func (w *world) settle() {
	w.bad = false
	w.connect()
	for range 150 {
		for len(w.line) > 0 {
			w.deliver()
		}
		w.finish()
		w.tick()
	}
}

func TestAnyLineAndAnyRestartLeadToOneEnd(t *testing.T) {
	executions, runs, rejected, byCloud := 0, 0, 0, 0
	for seed := range uint64(300) {
		w := &world{t: t, r: rand.New(rand.NewPCG(seed, 1)), bad: true, start: []string{"update", "start-next"}[seed%2],
			now: time.Unix(1e9, 0), runs: map[string]*engine.Report{}, cancel: map[string]bool{}}
		w.make()
		for range 300 {
			w.act()
		}
		w.settle()
		runs += len(w.runs)
		for _, e := range w.cloud {
			executions++
			if e.byCloud {
				byCloud++
			}
			if w.verify(seed, e) {
				rejected++
			}
		}
		if len(w.outbox) > 0 {
			t.Errorf("seed %d: reports of %v were never delivered", seed, w.outbox)
		}
	}
	t.Logf("%d executions, %d became runs, %d were ended by the cloud, %d refused as busy", executions, runs, byCloud, rejected)
	if runs < 1000 || byCloud < 200 || rejected*50 > executions {
		t.Errorf("%d runs, %d ended by the cloud and %d refused of %d: too few or too many to show anything", runs, byCloud, rejected, executions)
	}
}

// verify holds an execution to what its run came to, and says whether it never became one.
func (w *world) verify(seed uint64, e *execution) (busy bool) {
	w.t.Helper()
	run, known := w.runs[e.command()]
	want := map[bool]string{true: "REJECTED"}[!known]
	if known {
		want = map[engine.EndState]string{engine.Succeeded: "SUCCEEDED", engine.RolledBack: "FAILED", engine.RefusedEnd: "REJECTED", engine.Cancelled: "none: nobody had cancelled it"}[run.State]
	}
	if !e.ended || !e.byCloud && e.status != want {
		w.t.Errorf("seed %d: execution %s is %s, want %q", seed, e.command(), e.status, want)
	}
	return !known && !e.byCloud
}
