package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
)

// machine is a folder with an agent file and what that names.
type machine struct {
	dir, config string
}

const slotDevice = `apiVersion: updraft/v1
kind: Device
targets: {rootfs: {slots: {a: a.img, b: b.img}, boot: {file: boot.json}}}
trust: {require: sha256}
`

const slotWorkflow = `apiVersion: updraft/v1
kind: Workflow
name: image
inputs:
  url: {type: string}
  sha256: {type: string}
  version: {type: string, default: ""}
  size: {type: int}
steps:
  - id: image
    fetch: {url: "${{ inputs.url }}", sha256: "${{ inputs.sha256 }}", size: "${{ inputs.size }}"}
  - id: write
    install: {artifacts: {image: image}, targets: {out: {target: rootfs@inactive}}}
  - id: prove
    confirm: {restart: device, within: 5m}
`

func newMachine(t *testing.T, broker string) machine {
	t.Helper()
	m := machine{dir: t.TempDir()}
	m.config = m.file(t, "agent.yaml", fmt.Sprintf(`apiVersion: updraft/v1
kind: Agent
device: device.yaml
planes: {aws: {dialect: awsiot, url: "%s", id: gw-1}}
commands: {aws: {workflow: workflow.yaml}}
`, broker))
	m.file(t, "device.yaml", slotDevice)
	m.file(t, "workflow.yaml", slotWorkflow)
	m.file(t, "a.img", "old")
	m.file(t, "b.img", "older")
	return m
}

func (m machine) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// cloud is a simulated cloud with one image to give.
func cloud(t *testing.T) (sim *aws.Sim, push func(job string)) {
	t.Helper()
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "new.img"), []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	sim, err := aws.Start(cloudsim.Config{Files: files})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	return sim, func(job string) {
		t.Helper()
		if _, err := sim.Push("gw-1", map[string]any{"jobID": job, "softwareURL": sim.Endpoints().Files + "new.img",
			"size": 3, "sha256": fmt.Sprintf("%x", sha256.Sum256([]byte("new")))}); err != nil {
			t.Fatal(err)
		}
	}
}

// call runs the program to its end.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, said strings.Builder
	code = run(t.Context(), args, &out, &said, noEnv)
	return code, out.String(), said.String()
}

func noEnv(string) (string, bool) { return "", false }

// running is the program at work.
type running struct {
	t     *testing.T
	stop  context.CancelCauseFunc
	ended chan int
	lines chan string // of standard error
	mu    sync.Mutex
	all   []string
}

// start runs the program until stop, or until it ends by itself.
func start(t *testing.T, env func(string) (string, bool), args ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancelCause(context.Background())
	r := &running{t: t, stop: stop, ended: make(chan int, 1), lines: make(chan string, 1000)}
	from, to := io.Pipe()
	go func() {
		code := run(ctx, args, io.Discard, to, env)
		_ = to.Close()
		r.ended <- code
	}()
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(from); s.Scan(); {
			r.mu.Lock()
			r.all = append(r.all, s.Text())
			r.mu.Unlock()
			r.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { stop(errInterrupted) })
	return r
}

// until waits for a line that holds text.
func (r *running) until(text string) string {
	r.t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case line, more := <-r.lines:
			if !more {
				r.t.Fatalf("the program ended without a line with %q; it said\n%s", text, r.said())
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-late:
			r.t.Fatalf("no line with %q in a minute; it said\n%s", text, r.said())
		}
	}
}

// said is all that it said so far.
func (r *running) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.all, "\n")
}

// end waits for the exit code.
func (r *running) end() int {
	for range r.lines {
	}
	return <-r.ended
}
