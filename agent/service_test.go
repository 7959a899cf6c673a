package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// gates hold runs where a test wants them.
type gates struct {
	entered chan string // the run that stands before its gate
	open    chan struct{}
	prepare func(ctx context.Context) error // of the verb, if not nil
}

type gate struct{ at *gates }

func (g *gate) Do(ctx context.Context, t *engine.Task) error {
	select {
	case g.at.entered <- t.Run:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-g.at.open:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *gate) Prepare(ctx context.Context, _ map[string][]byte) error {
	if g.at.prepare == nil {
		return nil
	}
	return g.at.prepare(ctx)
}

// stand is a device with a cloud.
type stand struct {
	t     *testing.T
	dir   string
	sim   *aws.Sim
	gates *gates
	clock *disk.Virtual // of the planes, nil for the machine's
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	tell  func(engine.Event)

	mu   sync.Mutex
	said []string
}

func newStand(t *testing.T, planes, commands string) *stand {
	t.Helper()
	s := &stand{t: t, dir: t.TempDir(), gates: &gates{entered: make(chan string, 100), open: make(chan struct{}, 100)}}
	var err error
	if s.sim, err = aws.Start(cloudsim.Config{Files: s.dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.sim.Close(); err != nil {
			t.Error(err)
		}
	})
	write(s.dir, "app.conf", "colour: red\n")
	for _, colour := range []string{"green", "blue", "black"} {
		write(s.dir, colour, "colour: "+colour+"\n")
	}
	write(s.dir, "device.yaml", `
apiVersion: updraft/v1
kind: Device
targets: {config: {file: app.conf}}
report: {to: [{file: reports.ndjson}]}
trust: {require: none}
`)
	write(s.dir, "colour.yaml", `
apiVersion: updraft/v1
kind: Workflow
name: colour
inputs: {url: {type: string}}
steps:
  - {id: hold, gate: {}}
  - {id: new, fetch: {url: "${{ inputs.url }}"}, needs: [hold]}
  - {id: write, install: {artifacts: {new: new}, targets: {out: {target: config}}}}
`)
	write(s.dir, "agent.yaml", fmt.Sprintf(`
apiVersion: updraft/v1
kind: Agent
device: device.yaml
planes: {%s}
commands: {%s}
`, strings.ReplaceAll(planes, "BROKER", s.sim.Endpoints().Broker), commands))
	return s
}

const (
	onePlane  = `one: {dialect: awsiot, url: "BROKER", id: gw-1}`
	twoPlanes = onePlane + `, two: {dialect: awsiot, url: "BROKER", id: gw-2}`
	oneWaits  = `one: {workflow: colour.yaml, whenBusy: wait}`
)

// serve runs the agent until the test or what it gives ends it.
func (s *stand) serve() (stop func() error) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := agent.Serve(ctx, agent.ServeConfig{
			File: filepath.Join(s.dir, "agent.yaml"), Restart: device.RestartSimulate, Clock: nilClock(s.clock), Dial: s.dial,
			Verbs: map[string]engine.Verb{"gate": {New: func() any { return &gate{s.gates} }, Class: engine.Idempotent}},
			Log:   s.log, Events: s.tell,
		})
		ended <- err
	}()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			return fmt.Errorf("serve ended with %v, want the cause of its context", err)
		}
		return nil
	}
	s.t.Cleanup(func() {
		if err := stop(); err != nil {
			s.t.Error(err)
		}
	})
	return stop
}

// nilClock keeps a nil pointer from becoming an interface that is not nil.
func nilClock(v *disk.Virtual) interface {
	Now() time.Time
	Sleep(context.Context, time.Duration) error
} {
	if v == nil {
		return nil
	}
	return v
}

func (s *stand) log(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, text)
}

func (s *stand) has(text string) bool { return strings.Contains(s.lines(), text) }

func (s *stand) lines() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.said, "\n")
}

func (s *stand) push(device, job, file string) {
	s.t.Helper()
	_, err := s.sim.Push(device, map[string]any{"softwareURL": s.sim.Endpoints().Files + file, "jobID": job})
	if err != nil {
		s.t.Fatal(err)
	}
}

// ends waits for so many ends at the cloud.
func (s *stand) ends(device string, n int) []cloudsim.End {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	d, err := s.sim.Wait(ctx, device, func(d aws.Device) bool { return len(d.Ends) >= n })
	if err != nil {
		s.t.Fatalf("%v: has %+v\n%s", err, d.Ends, s.lines())
	}
	return d.Ends
}

// entered waits until a run stands before its gate.
func (s *stand) entered() string {
	s.t.Helper()
	select {
	case run := <-s.gates.entered:
		return run
	case <-time.After(30 * time.Second):
		s.t.Fatalf("no run came to its gate\n%s", s.lines())
		return ""
	}
}

// eventually waits for something that nobody announces.
func (s *stand) eventually(what string, ok func() bool) {
	s.t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("%s did not come\n%s", what, s.lines())
}

func (s *stand) content(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServeDoesWhatTheCloudAsks(t *testing.T) {
	s := newStand(t, onePlane, oneWaits)
	stop := s.serve()
	s.gates.open <- struct{}{}
	s.push("gw-1", "j-1", "green")
	ends := s.ends("gw-1", 1)
	if len(ends) != 1 || ends[0].Job != "j-1" || ends[0].Result != "SUCCESS" || ends[0].Arrivals != 1 {
		t.Errorf("the cloud heard %+v, want one success of j-1", ends)
	}
	if got := s.content("app.conf"); got != "colour: green\n" {
		t.Errorf("app.conf holds %q", got)
	}
	s.eventually("the report of the device file", func() bool {
		text, _ := os.ReadFile(filepath.Join(s.dir, "reports.ndjson"))
		return strings.Count(string(text), ends[0].Report) == 1
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
	out := filepath.Join(s.dir, ".updraft", "planes", "one")
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("state of the plane: %v, %v, want a file that nobody else reads", info, err)
	}
}

func TestServeLeasesTheDevice(t *testing.T) {
	for _, tt := range []struct {
		name, whenBusy, file string // of the second plane's command
		result, code         string
	}{
		{"the same goal joins", "refuse", "green", "SUCCESS", ""},
		{"another is refused", "refuse", "blue", "FAILURE", "busy"},
		{"another waits", "wait", "blue", "SUCCESS", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, twoPlanes, `one: {workflow: colour.yaml}, two: {workflow: colour.yaml, whenBusy: `+tt.whenBusy+`}`)
			s.serve()
			s.push("gw-1", "j-1", "green")
			s.entered()
			s.push("gw-2", "k-1", tt.file)
			switch {
			case tt.code == "busy":
				s.ends("gw-2", 1)
			case tt.file == "green":
				s.eventually("the join", func() bool { return s.has("joins run") })
			default:
				s.eventually("the wait", func() bool { return s.has("waits for run") })
			}
			s.gates.open <- struct{}{}
			s.gates.open <- struct{}{}
			if ends := s.ends("gw-1", 1); ends[0].Result != "SUCCESS" {
				t.Errorf("first plane heard %+v, want success", ends)
			}
			ends := s.ends("gw-2", 1)
			if ends[0].Result != tt.result || ends[0].Job != "k-1" {
				t.Errorf("second plane heard %+v, want %s", ends, tt.result)
			}
			reported, _ := s.sim.Device("gw-2").Reported["error"].(map[string]any)
			if code, _ := reported["code"].(string); code != tt.code {
				t.Errorf("second plane heard the code %q, want %q", code, tt.code)
			}
			want := "colour: " + tt.file + "\n"
			if tt.code == "busy" {
				want = "colour: green\n"
			}
			if got := s.content("app.conf"); got != want {
				t.Errorf("app.conf holds %q, want %q", got, want)
			}
		})
	}
}

func TestServeGoesOnAfterAStop(t *testing.T) {
	s := newStand(t, onePlane, oneWaits)
	stop := s.serve()
	s.push("gw-1", "j-1", "green")
	first := s.entered()
	s.push("gw-1", "j-2", "blue") // waits, and is not durable yet
	s.eventually("the wait", func() bool { return s.has("waits for run") })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s.serve()
	if again := s.entered(); again != first {
		t.Errorf("after the stop run %s goes on, want %s", again, first)
	}
	s.gates.open <- struct{}{}
	s.gates.open <- struct{}{}
	ends := s.ends("gw-1", 2)
	if len(ends) != 2 || ends[0].Job != "j-1" || ends[1].Job != "j-2" || ends[0].Result+ends[1].Result != "SUCCESSSUCCESS" {
		t.Errorf("the cloud heard %+v, want success of j-1 and j-2", ends)
	}
	if got := s.content("app.conf"); got != "colour: blue\n" {
		t.Errorf("app.conf holds %q", got)
	}
}

// TestServeWithoutABroker: three updates end while the broker is away for an
// hour of virtual time. Their reports arrive afterwards, in order.
func TestServeWithoutABroker(t *testing.T) {
	var mu sync.Mutex
	away, dials := false, 0
	gone := func() bool { mu.Lock(); defer mu.Unlock(); return away }
	s := newStand(t, onePlane, oneWaits)
	s.clock = disk.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	s.clock.Auto = false
	s.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		dials++
		mu.Unlock()
		if gone() {
			return nil, errors.New("no route to host")
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	s.serve()
	for i, colour := range []string{"green", "blue", "black"} {
		s.push("gw-1", fmt.Sprint("j-", i), colour)
		if i == 0 {
			s.entered()
		} else {
			s.eventually("the wait", func() bool { return s.has(fmt.Sprintf(`command "j-%d" waits`, i)) })
		}
	}
	mu.Lock()
	away, dials = true, 0
	mu.Unlock()
	if err := s.sim.SetFault(cloudsim.Fault{Kind: cloudsim.FaultDrop}); err != nil {
		t.Fatal(err)
	}
	s.eventually("the end of the connection", func() bool { return s.has("next attempt in") })
	for range 3 {
		s.gates.open <- struct{}{}
	}
	s.eventually("three ends", func() bool {
		text, _ := os.ReadFile(filepath.Join(s.dir, "reports.ndjson"))
		return strings.Count(string(text), "\n") == 3
	})
	for range 360 {
		s.clock.Advance(10 * time.Second)
		time.Sleep(time.Millisecond) // for the dialling goroutine to take its turn
	}
	if ends := s.sim.Device("gw-1").Ends; len(ends) != 0 {
		t.Fatalf("the cloud heard %+v while the broker was away", ends)
	}
	mu.Lock()
	away = false
	t.Logf("%d attempts in an hour", dials)
	if dials < 5 || dials > 40 {
		t.Errorf("%d attempts in an hour, want a few: it backs off", dials)
	}
	mu.Unlock()
	s.eventually("the connection", func() bool {
		back := s.sim.Clients()["gw-1"].Connected
		if !back { // time that goes on would have answers come late
			s.clock.Advance(10 * time.Second)
		}
		return back
	})
	var got []string
	for _, e := range s.ends("gw-1", 3) {
		got = append(got, fmt.Sprint(e.Job, " ", e.Result, " ", e.Arrivals))
	}
	if want := "j-0 SUCCESS 1, j-1 SUCCESS 1, j-2 SUCCESS 1"; strings.Join(got, ", ") != want {
		t.Errorf("the cloud heard %v, want %s", got, want)
	}
}

// TestServeAtTheEndOfARun: the engine takes a command as soon as the last run
// has ended, which may be before the agent has heard of that.
func TestServeAtTheEndOfARun(t *testing.T) {
	s := newStand(t, onePlane, oneWaits)
	const jobs = 8
	next := func(i int) error {
		s.gates.open <- struct{}{}
		_, err := s.sim.Push("gw-1", map[string]any{"softwareURL": s.sim.Endpoints().Files + []string{"green", "blue"}[i%2], "jobID": fmt.Sprint("j-", i)})
		return err
	}
	done := 0
	s.tell = func(e engine.Event) {
		if e.Kind == engine.EventRun && e.State == string(engine.Succeeded) {
			if done++; done < jobs {
				if err := next(done); err != nil {
					t.Error(err)
				}
				time.Sleep(100 * time.Millisecond) // it comes in before the engine returns
			}
		}
	}
	s.serve()
	if err := next(0); err != nil {
		t.Fatal(err)
	}
	if ends := s.ends("gw-1", jobs); len(ends) != jobs {
		t.Errorf("the cloud heard %+v, want %d ends", ends, jobs)
	}
}

// TestServeKnowsTheJobAgain: what the dialect or the journal knew is lost between
// two starts, or a URL is signed anew. The cloud hears one end of the job.
func TestServeKnowsTheJobAgain(t *testing.T) {
	for _, tt := range []struct {
		name string
		lose []string // in the state directory, or beside it
		ends string   // of the job
	}{
		{"the state of the plane", []string{".updraft/planes"}, "SUCCESS"},
		{"the journal", []string{".updraft/journal"}, "FAILURE"},
		{"the journal and what it stores", []string{".updraft/journal", ".updraft/files"}, "FAILURE"},
		{"all but the state of the plane", []string{".updraft/journal", ".updraft/files", "guard.bin"}, "SUCCESS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, onePlane, oneWaits)
			stop := s.serve()
			s.push("gw-1", "j-1", "green?sig=ONE")
			s.entered()
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			for _, name := range tt.lose {
				if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			s.push("gw-1", "j-1", "green?sig=TWO")
			s.serve()
			for range 3 {
				s.gates.open <- struct{}{}
			}
			s.ends("gw-1", 1)
			time.Sleep(300 * time.Millisecond) // for an end too many
			ends := s.ends("gw-1", 1)
			if len(ends) != 1 || ends[0].Result != tt.ends {
				t.Errorf("the cloud heard %+v, want one end, %s\n%s", ends, tt.ends, s.lines())
			}
		})
	}
}

// TestServeLeavesNoReportToOthers: a person resumes the run of a cloud on the
// device. The report is still the cloud's.
func TestServeLeavesNoReportToOthers(t *testing.T) {
	s := newStand(t, onePlane, oneWaits)
	stop := s.serve()
	s.push("gw-1", "j-1", "green")
	s.entered()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	a, err := agent.Open(t.Context(), agent.Config{Device: filepath.Join(s.dir, "device.yaml"),
		Verbs: map[string]engine.Verb{"gate": {New: func() any { return &gate{s.gates} }, Class: engine.Idempotent}}})
	if err != nil {
		t.Fatal(err)
	}
	s.gates.open <- struct{}{}
	res, err := a.Resume(t.Context())
	if err = errors.Join(err, a.Close()); err != nil || res.State != engine.Succeeded {
		t.Fatalf("resume = %+v, %v, want succeeded", res, err)
	}
	s.serve()
	if ends := s.ends("gw-1", 1); ends[0].Result != "SUCCESS" {
		t.Errorf("the cloud heard %+v, want success", ends)
	}
}

// TestServeTellsEachOnce: one of those who are to have a report is deaf. The
// others are not told again at each start.
func TestServeTellsEachOnce(t *testing.T) {
	s := newStand(t, onePlane, oneWaits)
	device := s.content("device.yaml")
	write(s.dir, "device.yaml", strings.Replace(device, "report: {to: [{file: reports.ndjson}]}", `report: {to: [{http: "http://127.0.0.1:1/nobody"}]}`, 1))
	stop := s.serve()
	for i, colour := range []string{"green", "blue", "black"} {
		s.gates.open <- struct{}{}
		s.push("gw-1", fmt.Sprint("j-", i), colour)
		s.ends("gw-1", i+1)
	}
	time.Sleep(300 * time.Millisecond) // for the cloud's last answer to be noted
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.dir, ".updraft/planes/one")); err != nil {
		t.Fatal(err)
	}
	s.serve()
	s.gates.open <- struct{}{}
	s.push("gw-1", "j-3", "green")
	var got []string
	for _, e := range s.ends("gw-1", 4) {
		got = append(got, fmt.Sprint(e.Job, " ", e.Arrivals))
	}
	if want := "j-0 1, j-1 1, j-2 1, j-3 1"; strings.Join(got, ", ") != want {
		t.Errorf("the cloud heard %v, want %s", got, want)
	}
}

// TestServeStopsWhilePreparing: a stop is not the command's fault.
func TestServeStopsWhilePreparing(t *testing.T) {
	s := newStand(t, onePlane, oneWaits)
	began := make(chan struct{}, 8)
	s.gates.prepare = func(ctx context.Context) error {
		began <- struct{}{}
		<-ctx.Done()
		return context.Cause(ctx)
	}
	stop := s.serve()
	s.push("gw-1", "j-1", "green")
	select {
	case <-began:
	case <-time.After(30 * time.Second):
		t.Fatalf("nothing is prepared\n%s", s.lines())
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s.gates.prepare = nil
	s.gates.open <- struct{}{}
	s.serve()
	if ends := s.ends("gw-1", 1); ends[0].Result != "SUCCESS" {
		t.Errorf("the cloud heard %+v, want success", ends)
	}
}
