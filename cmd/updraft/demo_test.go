package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// startDemo starts the demo in a process of its own. What it gives reads its
// standard output and, to the end, its standard error: the programs of the demo
// hold that open too, so the end means that no program is left.
func startDemo(t *testing.T, args ...string) (cmd *exec.Cmd, stdout io.Reader, left func() string) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command("updraft", append([]string{"demo"}, args...)...) // TestMain has put it into PATH
	cmd.Stderr = write
	if stdout, err = cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = read.Close()
	})
	return cmd, stdout, func() string {
		t.Helper()
		if err := read.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(read)
		if err != nil {
			t.Fatalf("a process of the demo is left: %v", err)
		}
		return string(text)
	}
}

// tell runs the demo to its end.
func tell(t *testing.T, args ...string) []string {
	t.Helper()
	cmd, stdout, left := startDemo(t, args...)
	text, err := io.ReadAll(stdout)
	if err != nil {
		t.Fatal(err)
	}
	stderr := left()
	if err := cmd.Wait(); err != nil || stderr != "" {
		t.Fatalf("demo: %v, want exit code 0 and nothing on standard error\n%s\n%s", err, text, stderr)
	}
	if bytes.Contains(text, []byte("\x1b")) {
		t.Error("escape codes are printed, but standard output is no terminal")
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestDemoTellsItsStory(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs and waits for a probe to fail")
	}
	keep := filepath.Join(t.TempDir(), "look")
	lines := tell(t, "--keep", keep)
	if len(lines) > 100 {
		t.Errorf("the demo prints %d lines, want at most 100", len(lines))
	}
	for _, line := range lines {
		if n := utf8.RuneCountInString(line); n > pageWidth && !strings.Contains(line, keep) {
			t.Errorf("a line has %d columns, want at most %d: %s", n, pageWidth, line)
		}
	}
	text := strings.Join(lines, "\n")
	for _, want := range []string{"exit code 6", "kill -9", "rolled_back", "came twice", "All as promised"} {
		if !strings.Contains(text, want) {
			t.Errorf("the demo does not print %q:\n%s", want, text)
		}
	}
	for _, name := range []string{"device/boot.json", "device/agent.yaml", "cloud/trace.ndjson", "releases/3.0.0/release.json.minisig", "build/updraft-agent"} {
		if _, err := os.Stat(filepath.Join(keep, name)); err != nil {
			t.Errorf("the folder lacks %v", err)
		}
	}
	commands, shown := console(t, "../../README.md")
	if len(commands) != 1 || commands[0] != "make demo" || len(shown) < 15 {
		t.Errorf("README.md shows the commands %q and %d lines, want make demo and at least 15", commands, len(shown))
	}
	said(t, shown, lines)
}

// TestDemoTellsPrograms holds the help to its list of events.
func TestDemoTellsPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs and waits for a probe to fail")
	}
	happened, last := map[string]int{}, map[string]any{}
	for _, line := range tell(t, "--json", "--keep", filepath.Join(t.TempDir(), "look")) {
		last = map[string]any{}
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		event, _ := last["event"].(string)
		happened[event]++
		if event == "ended" {
			happened[fmt.Sprintf("ended %v %v", last["exit"], last["signal"])]++
		}
	}
	if last["event"] != "result" || last["ok"] != true || last["seconds"] == nil {
		t.Errorf("the last line is %v, want the result, ok, with its seconds", last)
	}
	help := (&program{}).demoCommand().Long
	for event, n := range happened {
		if !strings.Contains(help, event) && !strings.HasPrefix(event, "ended ") {
			t.Errorf("the help says nothing of the event %q", event)
		}
		if strings.HasPrefix(event, "ended ") != (event == "ended 6 <nil>" || event == "ended -1 9") {
			t.Errorf("%d times %s", n, event)
		}
	}
	for event, want := range map[string]int{"chapter": 7, "ended 6 <nil>": 4, "ended -1 9": 1, "started": 6, "power": 5, "desired": 3, "released": 3, "result": 1} {
		if happened[event] != want {
			t.Errorf("%d times %s, want %d", happened[event], event, want)
		}
	}
}

func TestDemoLeavesNoProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	for _, tt := range []struct {
		name, after string // part of a line
		signal      syscall.Signal
		code        int
	}{
		{"interrupted while it builds", "1. Build", syscall.SIGINT, exitCancelled},
		{"terminated while its program runs", "power on", syscall.SIGTERM, exitCancelled},
		{"interrupted while the agent works", "is to do job", syscall.SIGINT, exitCancelled},
		{"killed while the agent works", "is to do job", syscall.SIGKILL, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd, stdout, left := startDemo(t, "--keep", filepath.Join(t.TempDir(), "look"))
			lines := bufio.NewScanner(stdout)
			for lines.Scan() && !strings.Contains(lines.Text(), tt.after) {
			}
			if err := cmd.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			stderr := left()
			for lines.Scan() {
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != tt.code {
				t.Errorf("exit code = %d, want %d\n%s", got, tt.code, stderr)
			}
		})
	}
}

func TestDemoSaysWhatItNeeds(t *testing.T) {
	updraft, err := exec.LookPath("updraft")
	if err != nil {
		t.Fatal(err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, dir, path, keep, want string }{
		{"no source", t.TempDir(), os.Getenv("PATH"), "", "run it inside a clone"},
		{"no Go", ".", t.TempDir(), "", "with go in PATH"},
		{"a folder in use", ".", os.Getenv("PATH"), full, "it holds thesis.txt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(updraft, "demo", "--keep", tt.keep)
			cmd.Dir, cmd.Env = tt.dir, append(os.Environ(), "PATH="+tt.path)
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != exitUsage || bytes.Count(out, []byte("\n")) != 1 || !strings.Contains(string(out), tt.want) {
				t.Errorf("exit code %d, want %d, and one line with %q:\n%s", got, exitUsage, tt.want, out)
			}
		})
	}
}

func TestDemoHoldsReportsToTheStory(t *testing.T) {
	story := func(change func([]cloudsim.End) []cloudsim.End) []cloudsim.End {
		return change([]cloudsim.End{
			{Job: "to-2.0.0", Result: "SUCCESS", Report: "1", Arrivals: 3},
			{Job: "to-3.0.0", Result: "FAILURE", Code: "probe", Message: "it is unhealthy", Report: "2", Arrivals: 1},
			{Job: "to-2.1.0", Result: "SUCCESS", Report: "3", Arrivals: 1},
		})
	}
	for _, tt := range []struct {
		name   string
		change func([]cloudsim.End) []cloudsim.End
		want   string
	}{
		{"as promised", func(e []cloudsim.End) []cloudsim.End { return e }, ""},
		{"one is missing", func(e []cloudsim.End) []cloudsim.End { return e[:2] }, "knows 2 ends"},
		{"one came in two reports", func(e []cloudsim.End) []cloudsim.End { return append(e, e[0]) }, "knows 4 ends"},
		{"another order", func(e []cloudsim.End) []cloudsim.End { e[0], e[1] = e[1], e[0]; return e }, "end 1 is FAILURE of job to-3.0.0"},
		{"another end", func(e []cloudsim.End) []cloudsim.End { e[1].Result = "SUCCESS"; return e }, "end 2 is SUCCESS"},
		{"another cause", func(e []cloudsim.End) []cloudsim.End { e[1].Message = "it is late"; return e }, "end 2 is FAILURE"},
		{"another code", func(e []cloudsim.End) []cloudsim.End { e[1].Code = "network"; return e }, "end 2 is FAILURE"},
		{"two with one id", func(e []cloudsim.End) []cloudsim.End { e[2].Report = "1"; return e }, "is not one of its own"},
		{"one without an id", func(e []cloudsim.End) []cloudsim.End { e[2].Report = ""; return e }, "is not one of its own"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := (&demo{}).promiseEnds(story(tt.change)); err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("error = %q, want one with %q", got, tt.want)
			}
		})
	}
}

func TestDemoPageKeepsItsWidth(t *testing.T) {
	var out bytes.Buffer
	g := newPage(&program{stdout: &out}, false)
	g.command("updraft", []string{"release", "new", "--artifact", "image=" + strings.Repeat("a", 50), "--delta-from", "image=a file", "--out", "dist"})
	g.note("cloud", "%s", strings.Repeat("ä", 200))
	want := "   $ updraft release new --artifact image=" + strings.Repeat("a", 50) + " \\\n" +
		"       --delta-from 'image=a file' --out dist\n" +
		"   cloud    " + strings.Repeat("ä", 87) + "…\n"
	if out.String() != want {
		t.Errorf("page:\n%s\nwant:\n%s", out.String(), want)
	}
}
