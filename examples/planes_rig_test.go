package examples_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/workflow"
	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
)

// planeModules are the modules of the folder planes, by the folder of their source.
var planeModules = map[string]string{"ab-slot.wasm": "install-c", "haas-app.wasm": "planes/haas-app"}

var builtModules sync.Map // by name: their bytes

// planeModule builds a module once.
func planeModule(t *testing.T, name string) []byte {
	t.Helper()
	if wasm, ok := builtModules.Load(name); ok {
		return wasm.([]byte)
	}
	out := filepath.Join(t.TempDir(), name)
	err := toolchain.Build(t.Context(), toolchain.Options{Dir: planeModules[name], Out: out})
	var missing *toolchain.Missing
	if errors.As(err, &missing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	wasm := readFile(t, out)
	builtModules.Store(name, wasm)
	return wasm
}

// planes is a copy of the folder planes with its modules, in which nothing waits for long.
func planes(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("planes")); err != nil {
		t.Fatal(err)
	}
	for name := range planeModules {
		writeFile(t, filepath.Join(dir, name), planeModule(t, name))
	}
	flows, err := filepath.Glob(filepath.Join(dir, "*", "update.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(flows, filepath.Join(dir, "release.yaml")) {
		substitute(t, name, "within: 5m", "within: 300ms\n      every: 50ms")
		substitute(t, name, "backoff: 2s", "backoff: 10ms")
	}
	return dir
}

// substitute replaces what a file must have.
func substitute(t *testing.T, name, old, new string) {
	t.Helper()
	text := string(readFile(t, name))
	if !strings.Contains(text, old) {
		t.Fatalf("%s has no %q", name, old)
	}
	writeFile(t, name, []byte(strings.ReplaceAll(text, old, new)))
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func writeFile(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// files is a server that cuts the first answer for each large file.
type files struct {
	*httptest.Server
	mu      sync.Mutex
	content map[string][]byte // by path
	asked   map[string]int
	ranges  map[string]string // the Range headers
}

func serve(t *testing.T) *files {
	f := &files{content: map[string][]byte{}, asked: map[string]int{}, ranges: map[string]string{}}
	f.Server = httptest.NewUnstartedServer(f)
	f.Config.ErrorLog = nil
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

func (f *files) put(path string, content []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.content[path] = content
}

func (f *files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	content, ok := f.content[r.URL.Path]
	f.asked[r.URL.Path]++
	first := f.asked[r.URL.Path] == 1
	f.ranges[r.URL.Path] += " " + r.Header.Get("Range")
	f.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprint(len(content))))
	if first && len(content) > 100_000 {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:len(content)/4*3])
		panic(http.ErrAbortHandler)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// update runs a workflow with what a cloud's command names, as the agent
// does: on the device of a folder, to the end.
func update(t *testing.T, from *files, dir, flow string, c control.Command) engine.Result {
	t.Helper()
	a, err := agent.Open(t.Context(), agent.Config{Device: filepath.Join(dir, "device.yaml"), Restart: device.RestartSimulate, HTTP: from.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	graph, err := a.Read(flow)
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]any{}
	for name, value := range c.Inputs {
		if _, declared := graph.Inputs[name]; declared {
			given[name] = value
		}
	}
	inputs, err := workflow.Inputs(graph, maps.Clone(given))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result, err := a.Run(ctx, engine.Command{CommandRef: engine.CommandRef{Plane: "cloud", ID: c.ID}, Graph: graph, Inputs: inputs})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// slots wants the image in a slot that runs, and the other one as it should be.
func slots(t *testing.T, dir, active string, a, b []byte) {
	t.Helper()
	boot := "{}"
	if text, err := os.ReadFile(filepath.Join(dir, "boot.json")); err == nil {
		boot = string(text)
	}
	if got := strings.Contains(boot, `"active": "b"`) || strings.Contains(boot, `"active":"b"`); got != (active == "b") {
		t.Errorf("slot %s should run: %s", active, boot)
	}
	if got := readFile(t, filepath.Join(dir, "slot-a.img")); !bytes.Equal(got, a) {
		t.Errorf("slot a has %d other bytes", len(got))
	}
	if b == nil {
		return
	}
	if got := readFile(t, filepath.Join(dir, "slot-b.img")); !bytes.Equal(got, b) {
		t.Errorf("slot b has %d other bytes, want %d", len(got), len(b))
	}
}
