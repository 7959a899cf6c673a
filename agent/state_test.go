package agent_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

const deviceFile = `apiVersion: updraft/v1
kind: Device
facts: {model: gw}
targets:
  app: {directory: app}
trust: {require: none}
report: {to: [{file: reports.ndjson}]}
`

const workflowFile = `apiVersion: updraft/v1
kind: Workflow
name: hello
steps:
  - id: say
    report: {text: hello}
`

// machine is a folder with a device file and a workflow.
func machine(t *testing.T) (dir string, c agent.Config) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{"device.yaml": deviceFile, "workflow.yaml": workflowFile} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, agent.Config{Device: filepath.Join(dir, "device.yaml")}
}

func run(t *testing.T, a *agent.Agent, dir, id string) {
	t.Helper()
	g, err := a.Read(filepath.Join(dir, "workflow.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := a.Run(t.Context(), engine.Command{CommandRef: engine.CommandRef{Plane: "cli", ID: id}, Run: id, Graph: g})
	if err != nil || res.State != engine.Succeeded {
		t.Fatalf("run %s = %+v, %v", id, res, err)
	}
}

func TestAStateDirectoryForEverybodyIsRefused(t *testing.T) {
	dir, c := machine(t)
	c.State = filepath.Join(dir, "state")
	if err := os.Mkdir(c.State, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(c.State, 0o777); err != nil { // the umask does not count
		t.Fatal(err)
	}
	if err := os.Symlink(c.Device, filepath.Join(c.State, "status.json.new")); err != nil {
		t.Fatal(err)
	}
	if a, err := agent.Open(t.Context(), c); !errors.Is(err, fs.ErrPermission) {
		if err == nil {
			err = a.Close()
		}
		t.Fatalf("open: %v, want fs.ErrPermission", err)
	}
	if err := os.Remove(filepath.Join(c.State, "status.json.new")); err != nil {
		t.Fatal(err)
	}
	a, err := agent.Open(t.Context(), c) // it is empty, such as a fresh mount
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(c.State); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("state directory is %v, %v, want it closed to others", info.Mode(), err)
	}
}

// TestOneProcessHoldsADevice: another state directory is no way around the lock.
func TestOneProcessHoldsADevice(t *testing.T) {
	dir, c := machine(t)
	a, err := agent.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.State = filepath.Join(dir, "another")
	if b, err := agent.Open(t.Context(), c); !errors.Is(err, disk.ErrLocked) {
		if err == nil {
			err = b.Close()
		}
		t.Errorf("open with another state directory: %v, want %v", err, disk.ErrLocked)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if a, err = agent.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestManyRunsCostNoMoreThanAFew runs the real journal and looks at what stays.
func TestManyRunsCostNoMoreThanAFew(t *testing.T) {
	dir, c := machine(t)
	n := 60
	if testing.Short() {
		n = 2 * engine.KeptRuns
	}
	a, err := agent.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for i := range n {
		run(t, a, dir, fmt.Sprintf("r%05d", i))
	}
	took := time.Since(began)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	files, size := 0, int64(0)
	if err := filepath.WalkDir(filepath.Join(dir, ".updraft"), func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			info, err := e.Info()
			if err != nil {
				return err
			}
			files, size = files+1, size+info.Size()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadDir(filepath.Join(dir, ".updraft", "files"))
	if err != nil {
		t.Fatal(err)
	}
	// One workflow, and a command for each kept run.
	if len(stored) != engine.KeptRuns+1 {
		t.Errorf("%d stored files after %d runs, want %d", len(stored), n, engine.KeptRuns+1)
	}
	began = time.Now()
	if a, err = agent.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Resume(t.Context()); !errors.Is(err, agent.ErrNothing) {
		t.Errorf("resume: %v", err)
	}
	t.Logf("%d runs took %v; state: %d files, %d bytes; opened and looked for work in %v", n, took, files, size, time.Since(began))
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
}
