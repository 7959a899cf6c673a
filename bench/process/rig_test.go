package process

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// kit is what all devices of a test share: the program, two images, signed
// releases and the modules.
type kit struct {
	dir      string // with updraft, rel.pub, full/, delta/, *.wasm
	updraft  string
	old, new []byte
}

// makeKit builds everything once. With the corpus at hand the images are a
// real pair, otherwise two builds' worth of bytes that differ in places.
func makeKit(t *testing.T) *kit {
	t.Helper()
	k := &kit{dir: t.TempDir()}
	k.updraft = filepath.Join(k.dir, "updraft")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", k.updraft, "github.com/updraft-ota/updraft/cmd/updraft")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build updraft: %v\n%s", err, out)
	}
	k.images(t)
	for name, module := range map[string]string{"install-go": "ab-slot.wasm", "compat-go": "model-check.wasm"} {
		k.module(t, name, module)
	}
	k.command(t, k.dir, k.updraft, "keys", "new", "rel", "--no-password")
	for _, kind := range []string{"full", "delta", "stored-delta"} {
		args := []string{"release", "new", "--name", "gw", "--version", "2.0.0", "--artifact", "image=new", "--out", kind}
		switch kind {
		case "delta":
			args = append(args, "--delta-from", "image=old")
		case "stored-delta": // in a format that is brought to the disk first
			args = append(args, "--delta-from", "image=old", "--delta-format", "zstd")
		}
		k.command(t, k.dir, k.updraft, args...)
		k.command(t, k.dir, k.updraft, "release", "sign", kind, "--key", "rel.key")
	}
	return k
}

func (k *kit) images(t *testing.T) {
	t.Helper()
	var err error
	pair := filepath.Join("..", "..", "corpus", "elf-go-11m")
	if k.old, err = os.ReadFile(filepath.Join(pair, "old")); err == nil {
		k.new, err = os.ReadFile(filepath.Join(pair, "new"))
	}
	if err != nil {
		t.Logf("no corpus (make corpus): made-up images of 11 MB instead of the real pair")
		k.old = make([]byte, 11<<20)
		_, _ = rand.Read(k.old)
		k.new = bytes.Clone(k.old)
		for at := 0; at+5000 < len(k.new); at += 50_000 { // about a tenth is new
			_, _ = rand.Read(k.new[at : at+5000])
		}
	}
	for name, data := range map[string][]byte{"old": k.old, "new": k.new} {
		if err := os.WriteFile(filepath.Join(k.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// module builds an example module with its manifest.
func (k *kit) module(t *testing.T, example, name string) {
	t.Helper()
	src, raw := filepath.Join("..", "..", "examples", example), filepath.Join(k.dir, name+".raw")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", raw, ".")
	cmd.Dir, cmd.Env = src, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", example, err, out)
	}
	wasm, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(src, "updraft.json"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := abi.DecodeManifest(text)
	if err != nil {
		t.Fatal(err)
	}
	if wasm, err = abi.WithManifest(wasm, manifest); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(k.dir, name), wasm, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (k *kit) command(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// server serves releases slowly and takes reports badly.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	sent     map[string]int64 // bytes of bodies, by device and file
	reports  map[string]int   // by device and id
	posts    int
	inReport map[string]chan struct{} // closed when a report of the device arrives
	hold     map[string]bool          // do not answer its next report
	rate     map[string]int64         // bytes a second, by device
}

func newServer(t *testing.T, files string) *server {
	s := &server{sent: map[string]int64{}, reports: map[string]int{}, inReport: map[string]chan struct{}{}, hold: map[string]bool{}, rate: map[string]int64{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /report/{device}", s.report)
	mux.HandleFunc("GET /{device}/{kind}/{file}", func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Join(files, r.PathValue("kind"), r.PathValue("file"))
		sum := sha256.Sum256([]byte(name))
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sum[:8]))
		s.mu.Lock()
		rate := s.rate[r.PathValue("device")]
		s.mu.Unlock()
		http.ServeFile(&slow{ResponseWriter: w, ctx: r.Context(), s: s, key: r.PathValue("device") + "/" + r.PathValue("file"), rate: rate}, r, name)
	})
	s.Server = httptest.NewUnstartedServer(mux)
	// What waits in the kernel when a process dies was sent, but never fetched.
	s.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if err := c.(*net.TCPConn).SetWriteBuffer(32 << 10); err != nil {
			t.Error(err)
		}
		return ctx
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// report counts a report; one in three acknowledgements is lost.
func (s *server) report(w http.ResponseWriter, r *http.Request) {
	var rep struct{ ID, State string }
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&rep); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	dev := r.PathValue("device")
	s.mu.Lock()
	s.reports[dev+" "+rep.ID+" "+rep.State]++
	s.posts++
	lose := s.posts%3 == 0
	hold := s.hold[dev]
	delete(s.hold, dev)
	if c := s.inReport[dev]; c != nil {
		close(c)
		delete(s.inReport, dev)
	}
	s.mu.Unlock()
	if hold {
		<-r.Context().Done()
		return
	}
	if lose {
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = c.Close()
		}
	}
}

// slow throttles a body and counts it.
type slow struct {
	http.ResponseWriter
	ctx  context.Context
	s    *server
	key  string
	rate int64
}

func (w *slow) Write(p []byte) (n int, err error) {
	const slice = 16 << 10
	for n < len(p) {
		end := min(n+slice, len(p))
		if w.rate > 0 {
			select {
			case <-w.ctx.Done():
				return n, w.ctx.Err()
			case <-time.After(time.Duration(int64(end-n)) * time.Second / time.Duration(w.rate)):
			}
		}
		k, err := w.ResponseWriter.Write(p[n:end])
		w.s.mu.Lock()
		w.s.sent[w.key] += int64(k)
		w.s.mu.Unlock()
		n += k
		if err != nil {
			return n, err
		}
		_ = http.NewResponseController(w.ResponseWriter).Flush()
	}
	return n, nil
}

// box is one device in a folder.
type box struct {
	k    *kit
	s    *server
	name string
	dir  string
	kind string // full or delta
}

func (k *kit) box(t *testing.T, s *server, name, kind string) *box {
	t.Helper()
	b := &box{k: k, s: s, name: name, dir: filepath.Join(k.dir, name), kind: kind}
	for file, text := range map[string]string{
		"device.yaml": fmt.Sprintf(`apiVersion: updraft/v1
kind: Device
facts: {model: gw-200, version: {target: rootfs}}
targets:
  rootfs: {slots: {a: slot-a.img, b: slot-b.img}, boot: {file: boot.json}}
report: {to: [{http: %s/report/%s}]}
trust: {require: signature, keys: [../rel.pub]}
modules: {memory: 64MiB, grants: [rootfs]}
`, s.URL, name),
		"update.yaml": `apiVersion: updraft/v1
kind: Workflow
name: rootfs
inputs: {release: {type: string}}
compat:
  - {module: ../model-check.wasm, with: {models: [gw-200]}}
steps:
  - id: image
    fetch: {manifest: "${{ inputs.release }}", artifact: image, base: rootfs@active}
    retry: {max: 5, backoff: 100ms}
  - id: checked
    verify: {artifact: image}
  - id: write
    install: {module: ../ab-slot.wasm, artifacts: {image: checked}, targets: {out: {target: rootfs@inactive, mode: write, quota: 4GiB}}}
  - id: prove
    confirm: {restart: device, within: 1m, probes: [{fact: version, equals: "${{ release.version }}"}]}
`,
		"slot-a.img": string(k.old), "slot-b.img": "",
	} {
		if err := os.MkdirAll(b.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(b.dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// event is what of an event these tests look at.
type event struct{ Kind, Step, State string }

// start runs the update in a process of its own and tells its events.
func (b *box) start(events func(event)) (*exec.Cmd, func() error, error) {
	cmd := exec.Command(b.k.updraft, "run", "update.yaml", "--device", "device.yaml", "--id", "x", "--restart", "simulate", "--progress", "json",
		"--input", "release="+b.s.URL+"/"+b.name+"/"+b.kind+"/release.json")
	cmd.Dir = b.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for d := json.NewDecoder(out); ; {
			var e event
			if err := d.Decode(&e); err != nil {
				return
			}
			events(e)
		}
	}()
	return cmd, func() error {
		<-read
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
		}
		return nil
	}, nil
}

// lastEvent is the last one that the process wrote down.
func (b *box) lastEvents(n int) []event {
	data, err := os.ReadFile(filepath.Join(b.dir, ".updraft", "events.ndjson"))
	if err != nil {
		return nil
	}
	var all []event
	for _, line := range bytes.Split(data, []byte("\n")) {
		var e event
		if json.Unmarshal(line, &e) == nil && e.Kind != "" {
			all = append(all, e)
		}
	}
	return all[max(0, len(all)-n):]
}
