package agent_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

const deviceText = `
apiVersion: updraft/v1
kind: Device
facts: {model: gw}
targets: {config: {file: app.conf}}
report: {to: [{file: reports.ndjson}, {http: "URL"}]}
trust: {require: none}
`

const workflowText = `
apiVersion: updraft/v1
kind: Workflow
name: colour
steps:
  - {id: new, fetch: {url: new.conf}}
  - {id: write, install: {artifacts: {new: new}, targets: {out: {target: config}}}}
report: {fields: {model: "${{ facts.model }}"}}
`

// desk is a device in a folder, and a receiver of reports that first refuses.
type desk struct {
	dir    string
	mu     sync.Mutex
	refuse int
	got    []engine.Report
	keys   []string
}

func newDesk(t *testing.T, refuse int) *desk {
	t.Helper()
	d := &desk{dir: t.TempDir(), refuse: refuse}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		body, err := io.ReadAll(r.Body)
		var rep engine.Report
		if err != nil || json.Unmarshal(body, &rep) != nil {
			t.Errorf("report %q cannot be read: %v", body, err)
		}
		d.got, d.keys = append(d.got, rep), append(d.keys, r.Header.Get("Idempotency-Key"))
		if d.refuse > 0 {
			d.refuse--
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.Close)
	for name, text := range map[string]string{
		"app.conf": "red", "new.conf": "blue",
		"device.yaml":   strings.ReplaceAll(deviceText, "URL", s.URL+"/r?token=canary"),
		"workflow.yaml": strings.ReplaceAll(workflowText, "new.conf", filepath.Join(d.dir, "new.conf")),
	} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (d *desk) open(t *testing.T, events func(engine.Event)) *agent.Agent {
	t.Helper()
	a, err := agent.Open(t.Context(), agent.Config{Device: filepath.Join(d.dir, "device.yaml"), Events: events})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func (d *desk) update(t *testing.T, a *agent.Agent, id string) engine.Result {
	t.Helper()
	g, err := a.Read(filepath.Join(d.dir, "workflow.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := a.Run(t.Context(), engine.Command{CommandRef: engine.CommandRef{Plane: "local", ID: id}, Run: id, Graph: g})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestReportsAreSentUntilAllHaveTakenThem(t *testing.T) {
	d := newDesk(t, 2)
	a := d.open(t, nil)
	if res := d.update(t, a, "x"); res.State != engine.Succeeded {
		t.Fatalf("ended %+v", res)
	}
	if len(d.got) != 3 || d.keys[0] != "x.0" || d.keys[2] != "x.0" || d.got[2].State != engine.Succeeded || d.got[2].Fields["model"] != "gw" {
		t.Errorf("the receiver heard %+v with keys %q, want x.0 three times", d.got, d.keys)
	}
	lines, err := os.ReadFile(filepath.Join(d.dir, "reports.ndjson"))
	if err != nil || strings.Count(string(lines), `"id":"x.0"`) != 3 {
		t.Errorf("the file has %q, %v: want the report at each try", lines, err)
	}
	if err := a.Deliver(t.Context()); err != nil || len(d.got) != 3 {
		t.Errorf("a delivered report was sent again: %d, %v", len(d.got), err)
	}
}

func TestAReportThatNobodyTakesStays(t *testing.T) {
	d := newDesk(t, 1000)
	var told []string
	a := d.open(t, func(e engine.Event) {
		if e.State == "undelivered" {
			told = append(told, e.Run+" "+e.Text)
		}
	})
	if res := d.update(t, a, "x"); res.State != engine.Succeeded {
		t.Fatalf("ended %+v", res)
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], "x ") || strings.Contains(told[0], "canary") {
		t.Errorf("told %q, want one word about run x, without the query", told)
	}
	d.mu.Lock()
	d.refuse = 0
	d.mu.Unlock()
	if _, err := a.Resume(t.Context()); !errors.Is(err, agent.ErrNothing) {
		t.Errorf("resume: %v, want %v", err, agent.ErrNothing)
	}
	if last := d.got[len(d.got)-1]; last.ID != "x.0" {
		t.Errorf("the last report is %+v", last)
	}
}

func TestOneProcessHoldsAStateDirectory(t *testing.T) {
	d := newDesk(t, 0)
	d.open(t, nil)
	_, err := agent.Open(t.Context(), agent.Config{Device: filepath.Join(d.dir, "device.yaml")})
	if !errors.Is(err, disk.ErrLocked) {
		t.Errorf("second open: %v, want %v", err, disk.ErrLocked)
	}
}

func TestADamagedJournalIsSetAside(t *testing.T) {
	d := newDesk(t, 0)
	a := d.open(t, nil)
	d.update(t, a, "x")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(d.dir, ".updraft", "journal", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	data, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/3] ^= 1
	if err := os.WriteFile(tables[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if res := d.update(t, d.open(t, nil), "y"); res.State != engine.Succeeded {
		t.Errorf("ended %+v", res)
	}
	aside, err := filepath.Glob(filepath.Join(d.dir, ".updraft", "journal*damaged*"))
	if err != nil || len(aside) == 0 {
		t.Errorf("no copy of the damaged journal: %v", err)
	}
}

func TestAStateDirectoryBelongsToOneDevice(t *testing.T) {
	d := newDesk(t, 0)
	a := d.open(t, nil)
	d.update(t, a, "x")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(d.dir, "other.yaml")
	text, err := os.ReadFile(filepath.Join(d.dir, "device.yaml"))
	if err == nil {
		err = os.WriteFile(other, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = agent.Open(t.Context(), agent.Config{Device: other})
	if !errors.Is(err, agent.ErrForeign) || !strings.Contains(err.Error(), "device.yaml") {
		t.Errorf("open: %v, want %v and whose it is", err, agent.ErrForeign)
	}
}
