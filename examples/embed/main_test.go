package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/engine"
)

// stamp is what package log puts before a line.
var stamp = regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d +`)

// TestReadmeRuns runs the console blocks of the README in this folder: each
// line between the commands must be said, in this order.
func TestReadmeRuns(t *testing.T) {
	page := read(t, "README.md")
	var commands, shown []string
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(page, -1) {
		for line := range strings.Lines(block[1]) {
			line = strings.TrimSuffix(line, "\n")
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				commands = append(commands, command)
			} else {
				shown = append(shown, line)
			}
		}
	}
	if len(commands) < 10 || len(shown) < 8 {
		t.Fatalf("the README shows %d commands and %d lines, want at least 10 and 8", len(commands), len(shown))
	}
	shell := exec.Command("sh", "-e", "-c", strings.Join(commands, "\n"))
	shell.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said := strings.Split(strings.TrimSuffix(stamp.ReplaceAllString(string(out), ""), "\n"), "\n")
	if !slices.Equal(said, shown) {
		t.Errorf("the commands say\n%s\nthe README shows\n%s", strings.Join(said, "\n"), strings.Join(shown, "\n"))
	}
}

func TestProgram(t *testing.T) {
	updater := build(t)
	const held = "retry: {max: 600, backoff: 1s}"
	for _, tt := range []struct {
		name     string
		inUse    bool
		old, new string // in update.yaml
		says     string // "" and the program must succeed
		lamp     string // afterwards
		steps    []string
	}{
		{name: "nobody uses the machine", lamp: "bright",
			steps: []string{"step free begin", "step free done", "step write begin", "step write done"}},
		{name: "in use for longer than the workflow allows", inUse: true, old: held, new: "retry: {max: 2, backoff: 10ms}",
			says: "rolled_back: the machine is in use (tried 3 times)", lamp: "dim",
			steps: []string{"step free begin", "retry free ", "retry free ", "step free undone"}},
		{name: "settings with another digest", old: "sha256: e", new: "sha256: f", says: "rolled_back: step settings: artifact has the sha256 e436", lamp: "dim",
			steps: []string{"step free begin", "step free done", "step write begin", "step free undone"}},
		{name: "a misspelt field", old: "{file: in-use}", new: "{fiel: in-use}",
			says: "update.yaml:7:12: E009 unknown key \"fiel\", did you mean \"file\"?", lamp: "dim"},
		{name: "a field too few", old: "{file: in-use}", new: "{}", says: "update.yaml:7:5: E010 key \"file\" is missing", lamp: "dim"},
		{name: "a target that the device has not", old: "{file: in-use}", new: "{file: in-usse}",
			says: "update.yaml:7:18: E022 unknown target \"in-usse\", did you mean \"in-use\"?", lamp: "dim"},
		{name: "a misspelt verb", old: "hold:", new: "hodl:",
			says: "update.yaml:7:5: E014 unknown verb \"hodl\", did you mean \"hold\"?", lamp: "dim"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := machine(t, tt.old, tt.new)
			if tt.inUse {
				write(t, dir, "in-use", "")
			}
			program := exec.Command(updater)
			program.Dir = dir
			out, err := program.CombinedOutput()
			var exit *exec.ExitError
			if tt.says == "" && (err != nil || len(out) > 0) || tt.says != "" && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
				t.Errorf("the program ended with %v and said:\n%s", err, out)
			}
			if !strings.Contains(string(out), tt.says) {
				t.Errorf("the program said\n%s\nwant %s", out, tt.says)
			}
			if lamp := read(t, filepath.Join(dir, "lamp.conf")); lamp != "light: "+tt.lamp+"\n" {
				t.Errorf("lamp.conf is %q, want %s", lamp, tt.lamp)
			}
			if got := steps(t, dir); !slices.Equal(got, tt.steps) {
				t.Errorf("steps %q, want %q", got, tt.steps)
			}
		})
	}
}

// TestAKilledProgramGoesOn kills the program while it waits. Started again, it
// ends the same run.
func TestAKilledProgramGoesOn(t *testing.T) {
	updater, dir := build(t), machine(t, "", "")
	write(t, dir, "in-use", "")
	first := exec.Command(updater)
	first.Dir = dir
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); !slices.Contains(steps(t, dir), "retry free "); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Error("the program does not wait")
			break
		}
	}
	if err := errors.Join(first.Process.Kill(), os.Remove(filepath.Join(dir, "in-use"))); err != nil {
		t.Error(err)
	}
	_ = first.Wait() // killed
	second := exec.Command(updater)
	second.Dir = dir
	if out, err := second.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if lamp := read(t, filepath.Join(dir, "lamp.conf")); lamp != "light: bright\n" {
		t.Errorf("lamp.conf is %q, want bright", lamp)
	}
	reports := read(t, filepath.Join(dir, "reports.ndjson"))
	if strings.Count(reports, "\n") != 1 || !strings.Contains(reports, `"state":"succeeded"`) {
		t.Errorf("reports %s, want one of success", reports)
	}
}

// build builds the program of this folder.
func build(t *testing.T) string {
	t.Helper()
	updater := filepath.Join(t.TempDir(), "updater")
	if out, err := exec.Command("go", "build", "-o", updater, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return updater
}

// machine is a copy of this folder's documents with a lamp that is dim. old,
// if it is not empty, is replaced in update.yaml.
func machine(t *testing.T, old, new string) string {
	t.Helper()
	dir, update := t.TempDir(), read(t, "update.yaml")
	if old != "" && strings.Count(update, old) != 1 {
		t.Fatalf("update.yaml holds %q %d times, want once", old, strings.Count(update, old))
	}
	for name, text := range map[string]string{
		"device.yaml": read(t, "device.yaml"), "update.yaml": strings.Replace(update, old, new, 1),
		"lamp.conf": "light: dim\n", "lamp-2.conf": "light: bright\n",
	} {
		write(t, dir, name, text)
	}
	return dir
}

// steps are the events of steps and retries, if there was a run.
func steps(t *testing.T, dir string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, ".updraft", engine.EventsFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it is being written
		}
		var e engine.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.Kind == engine.EventStep || e.Kind == engine.EventRetry {
			all = append(all, fmt.Sprintf("%s %s %s", e.Kind, e.Step, e.State))
		}
	}
	return all
}

// TestFortyLines holds main.go to what the README says of it.
func TestFortyLines(t *testing.T) {
	if n := strings.Count(read(t, "main.go"), "\n"); n > 40 {
		t.Errorf("main.go has %d lines, want at most 40", n)
	}
}

// TestThePageShowsTheProgram holds docs/embedding.md to main.go.
func TestThePageShowsTheProgram(t *testing.T) {
	if page := read(t, "../../docs/embedding.md"); !strings.Contains(page, "```go\n"+read(t, "main.go")+"```\n") {
		t.Error("docs/embedding.md does not show main.go as it is")
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
