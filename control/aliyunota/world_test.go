package aliyunota_test

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
	"github.com/updraft-ota/updraft/control/aliyunota"
	"github.com/updraft-ota/updraft/engine"
)

// task is what the cloud wants of the device; it has one at a time.
type task struct {
	id      int
	version string
	state   string // "" while it is open, done, failed
	shown   bool   // in this connection
}

// world is a cloud with tasks, an engine, and a bad line between them.
type world struct {
	t     *testing.T
	r     *rand.Rand
	bad   bool // messages are lost, doubled and reordered
	calm  bool // a task begins when the one before has ended, for a version of its own, is shown once a connection, and crosses no end
	now   time.Time
	d     *aliyunota.Dialect
	save  []byte
	on    bool
	steps int

	tasks    []*task  // the last one counts
	said     string   // version that the cloud has heard
	untrue   []string // failures that were no failure of the task that they ended
	messages uint64
	line     []control.In // to the device
	timers   map[uint64]bool

	runs   map[string]*engine.Report // by command; State "" while it runs
	order  []string
	real   string   // version that runs
	outbox []string // commands
}

func (w *world) make() {
	w.d = dialect(w.t, map[string]string{"device": "a1B2c3.gw-1", "version": "v0"}, w.save)
	w.timers, w.on = map[uint64]bool{}, false
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
	d := w.d
	for _, o := range outs {
		if w.d != d { // it was restarted in between
			return
		}
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
		if !w.on || w.bad && w.r.IntN(4) == 0 {
			return
		}
		w.heard(o)
		if o.Token != 0 && !(w.bad && w.r.IntN(4) == 0) {
			w.step(control.In{Kind: control.InPublished, Token: o.Token})
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
	var again *engine.Report
	if run, known := w.runs[id]; known {
		receipt = engine.Receipt{Answer: engine.Joined, Run: run.Run}
		if run.State != "" {
			again = run
		}
	} else if w.running() != "" {
		receipt.Answer = engine.Busy
	} else {
		run := fmt.Sprintf("run-%d", len(w.runs))
		w.runs[id], w.order = &engine.Report{ID: run + ".0", Run: run, Command: id, Release: map[string]any{"version": o.Command.Inputs["version"]}}, append(w.order, id)
		receipt = engine.Receipt{Answer: engine.Accepted, Run: run}
	}
	if w.bad && w.r.IntN(8) == 0 {
		w.restart() // after the engine has it
		return
	}
	w.step(control.In{Kind: control.InReceipt, Token: o.Token, Receipt: receipt})
	if again != nil {
		w.step(control.In{Kind: control.InReport, Report: *again})
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
	r.State, r.Code = engine.RolledBack, []string{"digest", "http_403", "probe"}[w.r.IntN(3)]
	if w.r.IntN(2) == 0 {
		r.State, r.Code = engine.Succeeded, ""
		w.real = r.Release["version"].(string)
	}
	w.outbox = append(w.outbox, id)
	w.step(control.In{Kind: control.InReport, Report: *r})
}

// heard is what the cloud does with a message of the device.
func (w *world) heard(o control.Out) {
	var m struct {
		ID     string
		Params struct{ Version, Step string }
	}
	if err := json.Unmarshal(o.Payload, &m); err != nil {
		w.t.Fatalf("the device sends %s: %v", o.Payload, err)
	}
	var last *task
	if len(w.tasks) > 0 {
		last = w.tasks[len(w.tasks)-1]
	}
	switch {
	case strings.HasPrefix(o.Topic, "/ota/device/inform/"):
		w.said = m.Params.Version
		if last != nil && last.state == "" {
			if last.version == w.said {
				last.state = "done"
			} else if !w.calm || !last.shown {
				w.push(last)
			}
		}
	case strings.HasSuffix(o.Topic, "/thing/ota/firmware/get"):
		w.answer(m.ID, last)
	case strings.HasPrefix(m.Params.Step, "-") && last != nil && last.state == "":
		last.state = "failed"
		if !slices.ContainsFunc(slices.Collect(maps.Values(w.runs)), func(r *engine.Report) bool {
			return r.Release["version"] == last.version && r.State != engine.Succeeded
		}) {
			w.untrue = append(w.untrue, last.version)
		}
	}
}

// answer says what is pending, or that there are too many questions.
func (w *world) answer(id string, last *task) {
	text := fmt.Sprintf(`{"id": "%s", "code": 200, "data": {}}`, id)
	switch {
	case w.bad && w.r.IntN(4) == 0:
		text = fmt.Sprintf(`{"id": "%s", "code": 429, "data": {}}`, id)
	case last != nil && last.state == "" && last.version != w.said:
		text = fmt.Sprintf(`{"id": "%s", "code": 200, "data": %s}`, id, w.data(last))
	}
	w.send("/sys/a1B2c3/gw-1/thing/ota/firmware/get_reply", []byte(text))
}

// data is what the cloud says of a task.
func (w *world) data(x *task) string {
	return fmt.Sprintf(`{"version": "%s", "url": "https://h/x?sig=%d", "md5": "93230c3bde425a9d7984a594ac55ea1e"}`, x.version, w.r.IntN(9))
}

func (w *world) push(x *task) {
	if !w.on {
		return
	}
	x.shown = true
	w.send(upgrade, fmt.Appendf(nil, `{"id": %d, "code": "1000", "data": %s}`, x.id, w.data(x)))
}

// send puts a message on the line to the device.
func (w *world) send(topic string, payload []byte) {
	copies := 1
	if w.bad {
		copies = []int{0, 1, 1, 1, 2}[w.r.IntN(5)]
	}
	for range copies {
		w.messages++
		w.line = append(w.line, control.In{Kind: control.InMessage, Topic: topic, Payload: payload, QoS: 1, Message: w.messages})
	}
	if n := len(w.line); w.bad && n > 1 && w.r.IntN(4) == 0 {
		w.line[n-1], w.line[n-2] = w.line[n-2], w.line[n-1]
	}
}

// restart begins anew, and hands the outbox over.
func (w *world) restart() {
	w.make()
	w.reports()
}

func (w *world) reports() {
	for _, id := range slices.Clone(w.outbox) {
		w.step(control.In{Kind: control.InReport, Report: *w.runs[id]})
	}
}

func (w *world) connect() {
	for _, x := range w.tasks {
		x.shown = false
	}
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
func (w *world) act() {
	switch n := w.r.IntN(100); {
	case n < 50:
		w.deliver()
	case n < 60:
		x := &task{id: 100 + len(w.tasks), version: fmt.Sprint("v", w.r.IntN(4))}
		if w.calm {
			if n := len(w.tasks); n > 0 && w.tasks[n-1].state == "" || w.running() != "" {
				return
			}
			x.version = fmt.Sprint("v", 1+len(w.tasks))
		}
		w.tasks = append(w.tasks, x)
		w.push(x)
	case n < 75:
		if !w.calm || len(w.line) == 0 {
			w.finish()
		}
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
	for range 5 {
		w.connect()
		for range 40 {
			for len(w.line) > 0 {
				w.deliver()
			}
			w.finish()
			w.tick()
		}
	}
}

// TestAFailureCountsForItsOwnTask has the cloud go on to the next task as soon
// as one has ended, whether the device knows that it has or not.
func TestAFailureCountsForItsOwnTask(t *testing.T) {
	failed, untrue := 0, 0
	for seed := range uint64(300) {
		w := &world{t: t, r: rand.New(rand.NewPCG(seed, 2)), bad: true, calm: true, now: time.Unix(0, 0), runs: map[string]*engine.Report{}, real: "v0"}
		w.make()
		for range 600 {
			w.act()
		}
		w.settle()
		if len(w.outbox) > 0 {
			t.Errorf("seed %d: reports of %v were never delivered", seed, w.outbox)
		}
		for _, x := range w.tasks {
			if x.state == "failed" {
				failed++
			}
			if x.state == "" {
				t.Errorf("seed %d: the task to %s has no end", seed, x.version)
			}
		}
		if untrue += len(w.untrue); len(w.untrue) > 0 {
			t.Errorf("seed %d: the tasks to %v were ended by the failures of others", seed, w.untrue)
		}
	}
	t.Logf("%d tasks failed, %d of them by another's failure", failed, untrue)
	if failed < 1000 {
		t.Errorf("%d failed tasks are too few to show anything", failed)
	}
}

func TestAnyLineAndAnyRestartLeadToOneEnd(t *testing.T) {
	tasks, runs, ends := 0, 0, map[string]int{}
	for seed := range uint64(300) {
		w := &world{t: t, r: rand.New(rand.NewPCG(seed, 1)), bad: true, now: time.Unix(0, 0), runs: map[string]*engine.Report{}, real: "v0"}
		w.make()
		for range 300 {
			w.act()
		}
		w.settle()
		if len(w.outbox) > 0 {
			t.Errorf("seed %d: reports of %v were never delivered", seed, w.outbox)
		}
		if w.said != w.real {
			t.Errorf("seed %d: the cloud has heard %s, and %s runs", seed, w.said, w.real)
		}
		if n := len(w.tasks); n > 0 {
			last := w.tasks[n-1]
			if ends[last.state]++; last.state == "" {
				t.Errorf("seed %d: the last task, to %s, has no end; %s runs", seed, last.version, w.real)
			}
		}
		tasks, runs = tasks+len(w.tasks), runs+len(w.runs)
	}
	t.Logf("%d tasks, %d runs, last tasks ended %v", tasks, runs, ends)
	if runs < 1000 || ends["done"] < 50 || ends["failed"] < 50 {
		t.Errorf("%d runs and the ends %v are too few to show anything", runs, ends)
	}
}
