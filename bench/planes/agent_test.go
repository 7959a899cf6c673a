package planes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/control/cloudsim"
	door "github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// agentPlane is a plane in an agent file. URL and FACE are where the simulator is.
type agentPlane struct{ name, yaml string }

// agentPlanes are all of them, in the order in which they push: the cloud that
// waits for an answer first.
var agentPlanes = []agentPlane{
	{"azurehub-method", `{dialect: azurehub, url: URL, id: gw-1, secrets: {deviceKey: {file: device.key}}, settings: {hub: contoso.azure-devices.net}}`},
	{"azurehub-twin", `{dialect: azurehub, url: URL, id: gw-1, secrets: {deviceKey: {file: device.key}}, settings: {hub: contoso.azure-devices.net, shape: firmware, plain: "true"}}`},
	{"adu", `{dialect: adu, url: URL, id: gw-1, secrets: {deviceKey: {file: device.key}}, settings: {hub: contoso.azure-devices.net, manufacturer: contoso, model: vacuum, rootKeys: roots.json, test: "true", plain: "true"}}`},
	{"tencent", `{dialect: tencent, url: URL, id: gw-1, secrets: {deviceKey: {file: device.key}}, settings: {product: a1B2c3, version: "0.1"}}`},
	{"awsiot", `{dialect: awsiot, url: URL, id: gw-1}`},
	{"awsjobs", `{dialect: awsjobs, url: URL, id: gw-1}`},
	{"haas", `{dialect: haas, url: URL, id: a1B2c3.gw-1, secrets: {deviceKey: {file: device.key}}, settings: {app: "8800100099990000"}}`},
	{"aliyunota", `{dialect: aliyunota, url: URL, id: a1B2c3.gw-1, secrets: {deviceKey: {file: device.key}}, settings: {version: "1.0.0"}}`},
	{"hawkbit", `{dialect: hawkbit, url: FACE, id: gw-1, secrets: {targetToken: {file: device.key}}}`},
}

// TestAnAgentForAnHourWithoutBrokers has one agent listen to all clouds at
// once. Nine of them want an update, one of them two; the agent does one at a
// time, all of them while no broker can be reached. An hour later each cloud has
// each end once, and the true one.
func TestAnAgentForAnHourWithoutBrokers(t *testing.T) {
	a := newAllPlanes(t)
	a.serve()
	jobs := map[string][]string{}
	for _, of := range agentPlanes {
		jobs[of.name] = append(jobs[of.name], a.push(of.name, 0))
	}
	jobs["awsiot"] = append(jobs["awsiot"], a.push("awsiot", 1))

	a.net.cut()
	for _, s := range a.sims {
		s.Disconnect("gw-1")
	}
	a.eventually("nobody is connected", func() bool { return a.connected() == 0 })
	for n := range updates {
		for range 36 {
			a.clock.Advance(10 * time.Second)
			time.Sleep(time.Millisecond) // for those whom it wakes
		}
		a.gate.open <- true
		a.eventually(fmt.Sprintf("the end of update %d", n+1), func() bool { return a.reports() == n+1 })
	}
	for name, s := range a.sims {
		if r, _ := s.Book().Look("gw-1"); len(r.Ends) > 0 {
			t.Errorf("%s heard %+v while nobody could be reached", name, r.Ends)
		}
	}

	a.net.restore()
	a.eventually("all ends at all clouds", func() bool {
		if !a.underWay() {
			a.clock.Advance(5 * time.Second) // the pauses between attempts are minutes by now
		}
		return !slices.ContainsFunc(agentPlanes, func(of agentPlane) bool {
			r, _ := a.sims[of.name].Book().Look("gw-1")
			return len(r.Ends) < len(jobs[of.name])
		})
	})
	for range 30 { // in which nothing more is to happen
		a.clock.Advance(10 * time.Second)
		time.Sleep(time.Millisecond) // for those whom it wakes
	}
	for name, s := range a.sims {
		r, _ := s.Book().Look("gw-1")
		var ended []string
		for _, e := range r.Ends {
			ended = append(ended, e.Job)
			want := cloudsim.Succeeded
			if name == "hawkbit" {
				want = cloudsim.Failed // its files are on the server that was away
			}
			if e.Outcome != want || e.Arrivals != 1 {
				t.Errorf("%s: end %+v, want one arrival and %s", name, e, want)
			}
		}
		if !slices.Equal(ended, jobs[name]) {
			t.Errorf("%s: ends of %q, want %q", name, ended, jobs[name])
		}
	}
	if n := a.reports(); n != updates || len(a.gate.came) > 0 {
		t.Errorf("%d runs ended and %d more began, want %d and none\n%s", n, len(a.gate.came), updates, a.lines())
	}
}

// underWay says whether a report has been sent of which the answer is missing.
func (a *allPlanes) underWay() bool {
	status, err := a.status()
	for _, p := range status.Planes {
		if p.Connected && p.Reports > 0 {
			return true
		}
	}
	return err != nil
}

func (a *allPlanes) status() (agent.Status, error) {
	return agent.Look(a.t.Context(), filepath.Join(a.dir, ".updraft", "agent.sock"))
}

// connected counts the brokers to which there is a connection. hawkBit has none.
func (a *allPlanes) connected() (n int) {
	for _, s := range a.sims {
		if s.Connected("gw-1") {
			n++
		}
	}
	return n
}

// gate is a verb that holds runs until the test lets them go on.
type gate struct {
	came chan string
	open chan bool
}

// passage is the step of a workflow at a gate.
type passage struct{ at *gate }

// Do waits.
func (p *passage) Do(ctx context.Context, task *engine.Task) error {
	p.at.came <- task.Run
	select {
	case <-p.at.open:
		<-p.at.came
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// allPlanes is one device with an agent that listens to every cloud.
type allPlanes struct {
	t     *testing.T
	dir   string
	clock *disk.Virtual // of clouds and links
	net   *network
	gate  *gate
	sims  map[string]*cloudsim.Sim

	mu     sync.Mutex
	pushed int
	said   []string
}

func newAllPlanes(t *testing.T) *allPlanes {
	t.Helper()
	a := &allPlanes{t: t, dir: t.TempDir(), clock: disk.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), net: &network{},
		gate: &gate{came: make(chan string, updates+1), open: make(chan bool)}, sims: map[string]*cloudsim.Sim{}}
	a.clock.Auto = false
	text := "apiVersion: updraft/v1\nkind: Agent\ndevice: device.yaml\nplanes:\n"
	commands := "commands:\n"
	for _, of := range agentPlanes {
		s := a.sim(of.name)
		at := s.Endpoints()
		text += fmt.Sprintf("  %s: %s\n", of.name, strings.NewReplacer("URL", fmt.Sprintf("%q", at.Broker), "FACE", fmt.Sprintf("%q", at.Face)).Replace(of.yaml))
		commands += fmt.Sprintf("  %s: {workflow: update.yaml, whenBusy: wait}\n", of.name)
	}
	a.net.face = strings.TrimPrefix(a.sims["hawkbit"].Endpoints().Face, "http://")
	trusted, err := roots()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"agent.yaml": text + commands, "device.key": key("gw-1") + "\n", "roots.json": trusted, "app.conf": "factory\n",
		"device.yaml": "apiVersion: updraft/v1\nkind: Device\ntargets: {config: {file: app.conf}}\nreport: {to: [{file: reports.ndjson}]}\ntrust: {require: none}\n",
		"update.yaml": `apiVersion: updraft/v1
kind: Workflow
name: config
inputs: {url: {type: string}}
steps:
  - {id: hold, gate: {}}
  - {id: new, fetch: {url: "${{ inputs.url }}"}, needs: [hold], retry: {max: 1, backoff: 100ms}}
  - {id: write, install: {artifacts: {new: new}, targets: {out: {target: config}}}}
`,
	} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// sim starts the simulator of a plane.
func (a *allPlanes) sim(name string) *cloudsim.Sim {
	a.t.Helper()
	all := planes()
	p := all[slices.IndexFunc(all, func(p plane) bool { return p.name == name })]
	cloud, err := p.cloud(p.accounts([]string{"gw-1"}), time.Second)
	if err != nil {
		a.t.Fatal(err)
	}
	folder := a.t.TempDir()
	for i := range 2 {
		if err := os.WriteFile(filepath.Join(folder, a.file(name, i)), fmt.Appendf(nil, "%s %d\n", name, i), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	s, err := cloudsim.Start(cloudsim.Config{State: a.t.TempDir(), Files: folder, Now: a.clock.Now}, cloud)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			a.t.Errorf("close the simulator: %v", err)
		}
	})
	a.sims[name] = s
	return s
}

func (a *allPlanes) file(name string, i int) string {
	if name == "haas" {
		return fmt.Sprintf("py9000-%s-2.0.%d.tar.gz", app, i)
	}
	return fmt.Sprintf("image-%d.bin", i)
}

// serve runs the agent until the test ends.
func (a *allPlanes) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := agent.Serve(ctx, agent.ServeConfig{File: filepath.Join(a.dir, "agent.yaml"), Restart: door.RestartSimulate, Clock: a.clock, Dial: a.net.dial,
			Verbs: map[string]engine.Verb{"gate": {New: func() any { return &passage{a.gate} }, Class: engine.Idempotent}}, Log: a.log})
		ended <- err
	}()
	a.t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			a.t.Errorf("serve ended with %v, want the cause of its context", err)
		}
	})
}

// push orders an update of a plane, once the device is there, and waits until
// the agent has it: the first one runs, the others wait.
func (a *allPlanes) push(name string, i int) (job string) {
	a.t.Helper()
	all := planes()
	p := all[slices.IndexFunc(all, func(p plane) bool { return p.name == name })]
	a.eventually(name+" knows the device", func() bool {
		status, err := a.status()
		r, _ := a.sims[name].Book().Look("gw-1")
		return err == nil && status.Planes[name].Ready && (p.known == nil || p.known(string(r.Doc)))
	})
	done, err := a.sims[name].Order(a.t.Context(), cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Set: p.set,
		Software: cloudsim.Software{File: a.file(name, i), Version: fmt.Sprintf("2.0.%d", i)}})
	if err != nil {
		a.t.Fatalf("%s: %v\n%s", name, err, a.lines())
	}
	a.pushed++
	a.eventually("the agent takes that of "+name, func() bool {
		return len(a.gate.came) == 1 && strings.Count(a.lines(), " waits") == a.pushed-1
	})
	return done[0].Job
}

// reports counts the runs that have ended.
func (a *allPlanes) reports() int {
	text, err := os.ReadFile(filepath.Join(a.dir, "reports.ndjson"))
	if err != nil {
		return 0
	}
	return bytes.Count(text, []byte("\n"))
}

func (a *allPlanes) log(line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.said = append(a.said, line)
}

func (a *allPlanes) lines() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.said, "\n")
}

// eventually waits for what happens on real sockets. Time passes too, slowly:
// answers that are under way are not late then.
func (a *allPlanes) eventually(what string, ok func() bool) {
	a.t.Helper()
	for n := range 2000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
		if n%20 == 19 {
			a.clock.Advance(time.Second)
		}
	}
	a.t.Fatalf("never: %s\n%s", what, a.lines())
}
