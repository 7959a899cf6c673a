package aliyun_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	platform "github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/aliyunota"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aliyun"
	"github.com/updraft-ota/updraft/control/haas"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/engine"
)

const (
	product = "a1B2c3"
	app     = "8800100099990000"
)

var fleet = aliyun.Config{Accounts: cloudsim.Accounts{Product: product, Devices: map[string]string{"gw-1": "s3cr3t", "gw-2": "s3cr3t"}}}

// rig is a simulator that may be ended and started again where it was.
type rig struct {
	t     *testing.T
	build func() (cloudsim.Cloud, error)
	cfg   cloudsim.Config
	sim   *cloudsim.Sim
}

func ota() (cloudsim.Cloud, error)  { return aliyun.NewOTA(fleet) }
func apps() (cloudsim.Cloud, error) { return aliyun.NewHaaS(fleet) }

func newRig(t *testing.T, build func() (cloudsim.Cloud, error)) *rig {
	t.Helper()
	r := &rig{t: t, build: build, cfg: cloudsim.Config{State: t.TempDir(), Files: t.TempDir()}}
	for _, name := range []string{"fw-2.bin", "py9000-" + app + "-0.0.2.tar.gz"} {
		if err := os.WriteFile(filepath.Join(r.cfg.Files, name), []byte("content of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *rig) start() {
	r.t.Helper()
	cloud, err := r.build()
	if err != nil {
		r.t.Fatal(err)
	}
	if r.sim, err = cloudsim.Start(r.cfg, cloud); err != nil {
		r.t.Fatal(err)
	}
	at := r.sim.Endpoints()
	r.cfg.Listen = strings.TrimPrefix(at.Broker, "tcp://")
	r.cfg.FilesListen = strings.TrimSuffix(strings.TrimPrefix(at.Files, "http://"), "/files/")
}

func (r *rig) stop() {
	if err := r.sim.Close(); err != nil {
		r.t.Errorf("close the simulator: %v", err)
	}
}

func (r *rig) order(o cloudsim.Order) cloudsim.Done {
	r.t.Helper()
	o.Device = "gw-1"
	done, err := r.sim.Order(r.t.Context(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	return done[0]
}

func (r *rig) fault(f cloudsim.Fault) {
	r.t.Helper()
	if err := r.sim.SetFault(f); err != nil {
		r.t.Fatal(err)
	}
}

// end waits for the end of a job of gw-1, and checks that it has one alone.
func (r *rig) end(job string) cloudsim.End {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	ends := func(rec cloudsim.Record) []cloudsim.End {
		return slices.DeleteFunc(slices.Clone(rec.Ends), func(e cloudsim.End) bool { return e.Job != job })
	}
	rec, err := r.sim.Wait(ctx, "gw-1", func(rec cloudsim.Record) bool { return len(ends(rec)) > 0 })
	if err != nil {
		r.t.Fatalf("job %s has no end: %v; record %s", job, err, rec.Doc)
	}
	if got := ends(rec); len(got) != 1 {
		r.t.Fatalf("job %s has the ends %+v, want one", job, got)
	}
	return ends(rec)[0]
}

// machine is the engine's side of a device: it takes every command and ends
// what it is told to end.
type machine struct {
	link *mqtt.Link

	mu        sync.Mutex
	commands  []control.Command
	delivered []string
	logs      []string
	save      []byte
}

func (m *machine) Command(_ context.Context, c control.Command, answer func(control.In)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commands = append(m.commands, c)
	answer(control.In{Receipt: engine.Receipt{Answer: engine.Accepted, Run: "run of " + c.ID}})
}

func (m *machine) Cancel(context.Context, string) {}

func (m *machine) Delivered(_ context.Context, report string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delivered = append(m.delivered, report)
}

func (m *machine) Save(_ context.Context, state []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.save = slices.Clone(state)
	return nil
}

func (m *machine) Log(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.logs = append(m.logs, text)
}

func (m *machine) told() (commands []control.Command, delivered []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.commands), slices.Clone(m.delivered)
}

// command waits for the only command so far.
func (m *machine) command(t *testing.T) control.Command {
	t.Helper()
	eventually(t, "a command", func() bool { c, _ := m.told(); return len(c) > 0 })
	c, _ := m.told()
	if len(c) != 1 {
		t.Fatalf("commands %+v, want one", c)
	}
	return c[0]
}

// end tells how a command's run ended.
func (m *machine) end(c control.Command, state engine.EndState, code string) {
	in := control.In{Kind: control.InReport}
	in.Report = engine.Report{ID: "report of " + c.ID, Run: "run of " + c.ID, Command: c.ID, State: state, Code: code}
	m.link.Post(in)
}

// onlyDelivered waits until the one report is delivered.
func (m *machine) onlyDelivered(t *testing.T) {
	t.Helper()
	eventually(t, "the report is delivered", func() bool { _, d := m.told(); return len(d) > 0 })
	if c, d := m.told(); len(d) != 1 || len(c) != 1 {
		t.Errorf("commands %v, delivered %q, want one of each", c, d)
	}
}

// connect runs a device until the test ends, or until the end that it gives.
func (r *rig) connect(d control.Dialect, s platform.Settings) (m *machine, end func()) {
	r.t.Helper()
	s.Plain = true
	c, err := platform.Login(platform.Device{ProductKey: product, Name: "gw-1"}, s, "s3cr3t")
	if err != nil {
		r.t.Fatal(err)
	}
	return r.connectAs(d, c)
}

func (r *rig) connectAs(d control.Dialect, c platform.Credentials) (m *machine, end func()) {
	r.t.Helper()
	m = &machine{}
	var err error
	m.link, err = mqtt.New(mqtt.Config{URL: "tcp://" + r.cfg.Listen, KeepAlive: 2 * time.Second, ConnectTimeout: time.Second,
		AnswerTimeout: time.Second, RetryMin: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond,
		Login: func(time.Time) (mqtt.Login, error) {
			return mqtt.Login{ID: c.ClientID, User: c.User, Password: mqtt.SecretFrom("test", func() ([]byte, error) { return []byte(c.Password), nil })}, nil
		}}, d, m)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.link.Run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			r.t.Errorf("Run = %v, want the cause of its end", err)
		}
	})
	r.t.Cleanup(end)
	return m, end
}

func otaDialect(t *testing.T, save []byte) control.Dialect {
	t.Helper()
	d, err := aliyunota.New(aliyunota.Config{Device: platform.Device{ProductKey: product, Name: "gw-1"}, Versions: map[string]string{"default": "1.0.0"}, Ask: true}, save)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func appDialect(t *testing.T, save []byte) control.Dialect {
	t.Helper()
	d, err := haas.New(haas.Config{Device: platform.Device{ProductKey: product, Name: "gw-1"}, App: app}, save)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// ready waits until a device has subscribed.
func ready(t *testing.T, m *machine) {
	t.Helper()
	eventually(t, "connected and subscribed", func() bool { return m.link.Status().Ready })
}

// eventually polls, for things that happen on real sockets.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// fetch gets what a URL has.
func fetch(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext}}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", res.Status, err)
	}
	return string(data)
}
