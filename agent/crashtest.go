package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/crashtest"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/stages"
	"github.com/updraft-ota/updraft/wasmhost"
)

// CrashTest runs a workflow on a copy of the device's files in memory and cuts
// the power at every journal record and every effect. The device itself is only
// read, no command of its file is run, and each URL is fetched once.
func CrashTest(ctx context.Context, c Config, file string, inputs map[string]any, o crashtest.Options) (res crashtest.Result, err error) {
	dev, err := LoadDevice(c.Device)
	if err != nil {
		return res, err
	}
	v, err := stagesConfig(dev, &memoryTransport{under: c.HTTP})
	if err != nil {
		return res, err
	}
	v.Exec = nil
	modules, err := moduleHost(dev, &c)
	if err != nil {
		return res, err
	}
	host, err := wasmhost.New(ctx, modules)
	if err != nil {
		return res, err
	}
	v.Modules, v.KeepModules = host, true
	all, err := allVerbs(stages.Builtin(v), c.Verbs)
	if err != nil {
		return res, err
	}
	base := engineConfig(dev, all)
	graph, err := read(file, dev, base.Verbs)
	if err != nil {
		return res, err
	}
	seeded, err := seed(dev)
	if err != nil {
		return res, err
	}
	return crashtest.Sweep(ctx, crashtest.Rig{
		Disk: seeded, Device: dev,
		Command: engine.Command{CommandRef: engine.CommandRef{Plane: "crash-test", ID: "1"}, Run: "crash-test", Graph: graph, Inputs: inputs},
		Engine: func(cfg engine.Config) (*engine.Engine, error) {
			cfg.Verbs, cfg.Reread, cfg.Warnings = base.Verbs, base.Reread, base.Warnings
			cfg.Dir, cfg.Guard = "/updraft-state", dev.Guard
			return engine.New(cfg)
		},
	}, o)
}

// seed copies what the device file names into memory, in place.
func seed(c device.Config) (*disk.Forgetful, error) {
	f := disk.NewForgetful()
	var names []string
	for _, p := range c.Targets {
		for _, slot := range p.Slots {
			names = append(names, slot)
		}
		names = append(names, p.Boot.File, p.Directory, p.File)
	}
	for _, fact := range c.Facts {
		names = append(names, fact.File)
	}
	for _, name := range names {
		if name == "" {
			continue
		}
		err := f.CopyFrom(disk.OS(), name, name)
		if errors.Is(err, fs.ErrNotExist) {
			err = disk.MkdirAll(f, path.Dir(name), 0o755)
		}
		if err != nil {
			return nil, fmt.Errorf("copy the device: %w", err)
		}
	}
	for _, dir := range []string{"/updraft-state", path.Dir(c.Guard)} {
		if err := disk.MkdirAll(f, dir, 0o700); err != nil {
			return nil, fmt.Errorf("copy the device: %w", err)
		}
	}
	return f, engine.CopyFloor(f, disk.OS(), c.Guard)
}

// maxCached bounds what one URL may hold in memory during a crash test.
const maxCached = 1 << 30 // bytes

// memoryTransport fetches each URL once and then answers from memory, with
// ranges, so that a sweep of some thousand runs asks the network once.
type memoryTransport struct {
	under http.RoundTripper
	mu    sync.Mutex
	kept  map[string]*keptAnswer
}

type keptAnswer struct {
	status int
	header http.Header
	body   []byte
}

func (m *memoryTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet {
		return nil, fmt.Errorf("a crash test sends no %s", req.Method)
	}
	a, err := m.get(req)
	if err != nil {
		return nil, err
	}
	w := &answerWriter{header: a.header.Clone()}
	if a.status != http.StatusOK {
		w.status, w.body = a.status, *bytes.NewBuffer(a.body)
	} else {
		w.header.Del("Content-Length")
		w.header.Set("ETag", `"kept"`)
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(a.body))
	}
	return &http.Response{Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: req}, nil
}

func (m *memoryTransport) get(req *http.Request) (*keptAnswer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.kept[req.URL.String()]; a != nil {
		return a, nil
	}
	if m.under == nil {
		m.under = stages.NewTransport(nil)
	}
	whole := req.Clone(req.Context())
	whole.Header.Del("Range")
	whole.Header.Del("If-Range")
	resp, err := m.under.RoundTrip(whole)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxCached+1))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if len(body) > maxCached {
		return nil, fmt.Errorf("a crash test takes at most %d bytes of one URL", int64(maxCached))
	}
	a := &keptAnswer{resp.StatusCode, resp.Header, body}
	if m.kept == nil {
		m.kept = map[string]*keptAnswer{}
	}
	m.kept[strings.Clone(req.URL.String())] = a
	return a, nil
}

type answerWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *answerWriter) Header() http.Header    { return w.header }
func (w *answerWriter) WriteHeader(status int) { w.status = status }
func (w *answerWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.body.Write(p)
}
