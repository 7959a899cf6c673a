package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// startDemo starts the demo in a process of its own. What it gives reads its
// standard output and, to the end, its standard error: the program of the demo
// holds that open too, so the end means that no program is left.
func startDemo(t *testing.T, keep string) (cmd *exec.Cmd, stdout io.Reader, left func() string) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command("updraft", "demo", "--keep", keep) // TestMain has put it into PATH
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

func TestDemoTellsItsStory(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs and waits for a probe to fail")
	}
	keep := filepath.Join(t.TempDir(), "look")
	cmd, stdout, left := startDemo(t, keep)
	text, err := io.ReadAll(stdout)
	if err != nil {
		t.Fatal(err)
	}
	stderr := left()
	if err := cmd.Wait(); err != nil || stderr != "" {
		t.Fatalf("demo: %v, want exit code 0 and nothing on standard error\n%s\n%s", err, text, stderr)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) > 90 {
		t.Errorf("the demo prints %d lines, want at most 90", len(lines))
	}
	for _, line := range lines {
		if n := utf8.RuneCountInString(line); n > pageWidth && !strings.Contains(line, keep) {
			t.Errorf("a line has %d columns, want at most %d: %s", n, pageWidth, line)
		}
	}
	if strings.Contains(string(text), "\x1b") {
		t.Error("escape codes are printed, but standard output is no terminal")
	}
	for _, want := range []string{`says "unhealthy"`, "ends with exit code 4", "already_installed", "All as promised"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the demo does not print %q:\n%s", want, text)
		}
	}
	for _, name := range []string{"device/boot.json", "device/reports.ndjson", "releases/3.0.0/release.json.minisig", "release.pub"} {
		if _, err := os.Stat(filepath.Join(keep, name)); err != nil {
			t.Errorf("the folder lacks %v", err)
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
		{"killed while its program runs", "power on", syscall.SIGKILL, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd, stdout, left := startDemo(t, filepath.Join(t.TempDir(), "look"))
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
	const (
		first = `{"id":"to-2.0","state":"succeeded","release":{"version":"2.0.0"},"fields":{"running":"2.0.0"}}` + "\n"
		back  = `{"id":"to-3.0","state":"rolled_back","code":"probe","message":"it is unhealthy","fields":{"running":"2.0.0"}}` + "\n"
		again = `{"id":"to-2-again.0","state":"succeeded","code":"already_installed","fields":{"running":"2.0.0"}}` + "\n"
	)
	for _, tt := range []struct{ name, text, want string }{
		{"as promised", first + back + again, ""},
		{"one is missing", first + back, "there are 2 reports"},
		{"one came twice", first + first + back + again, "there are 4 reports"},
		{"another order", back + first + again, "report 1 is to-3.0"},
		{"another end", first + strings.Replace(back, "rolled_back", "failed", 1) + again, "report 2 is to-3.0 failed"},
		{"another cause", first + strings.Replace(back, "unhealthy", "late", 1) + again, `does not say "unhealthy"`},
		{"another version runs", first + strings.Replace(back, "2.0.0", "3.0.0", 1) + again, "the device runs 3.0.0"},
		{"no report at all", "{\n", "there are 1 reports"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &demo{dir: t.TempDir(), page: &page{to: io.Discard}}
			if err := os.Mkdir(d.path("device"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(d.path("device/reports.ndjson"), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := d.reports(t.Context()); err != nil {
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
	g := &page{to: &out}
	g.command([]string{"release", "new", "--artifact", "image=" + strings.Repeat("a", 50), "--delta-from", "image=a file", "--out", "dist"})
	g.note("%s", strings.Repeat("ä", 200))
	want := "   $ updraft release new --artifact image=" + strings.Repeat("a", 50) + " \\\n" +
		"       --delta-from 'image=a file' --out dist\n" +
		"   * " + strings.Repeat("ä", 94) + "…\n"
	if out.String() != want {
		t.Errorf("page:\n%s\nwant:\n%s", out.String(), want)
	}
}
