package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmesRun runs the console blocks of a page that shows a session, in a
// copy of the example, and looks for each line that it shows.
func TestReadmesRun(t *testing.T) {
	if _, err := exec.LookPath("updraft"); err != nil {
		t.Fatal(err)
	}
	const example = "../../examples/first-update"
	commands, shown := console(t, example+"/README.md")
	if len(commands) < 5 {
		t.Fatalf("it shows %d commands, want at least 5", len(commands))
	}
	dir := t.TempDir()
	for _, name := range []string{"device.yaml", "update.yaml"} {
		text, err := os.ReadFile(filepath.Join(example, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shell := exec.Command("sh", "-e", "-c", strings.Join(commands, "\n"))
	shell.Dir = dir
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("succeeded to-2")) {
		t.Errorf("no run succeeded:\n%s", out)
	}
	said(t, shown, strings.Split(string(out), "\n"))
}

// said looks for each line that a page shows among those that were printed, in
// this order and without what is chance.
func said(t *testing.T, shown, printed []string) {
	t.Helper()
	rest := printed
	for _, line := range shown {
		for len(rest) > 0 && withoutChance(rest[0]) != withoutChance(line) {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			t.Fatalf("the page shows %q, which is not said or not at this place:\n%s", line, strings.Join(printed, "\n"))
		}
	}
}

// console gives the commands in the console blocks of a page, and the lines
// between them.
func console(t *testing.T, page string) (commands, shown []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllSubmatch(text, -1) {
		for line := range strings.Lines(string(block[1])) {
			line = strings.TrimSuffix(line, "\n")
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				commands = append(commands, command)
			} else if line != "" {
				shown = append(shown, line)
			}
		}
	}
	return commands, shown
}

var (
	chance = regexp.MustCompile(`\b(\d+(\.\d+)?m?s|[0-9A-F]{16}|[0-9a-f]{12}|sha256 a [0-9a-f]{8}, b [0-9a-f]{8}|pid \d+|127\.0\.0\.1:\d+)\b`)
	rate   = regexp.MustCompile(`, \d+(\.\d+)? [KMG]?i?B/s`) // said only of what takes a while
	// built is what depends on the version of Go and on the machine.
	built = regexp.MustCompile(` *\b\d+(\.\d+)? ([KMG]iB|B\b|bytes|%)|full image of \d+`)
)

// withoutChance takes times, rates, sizes, numbers of processes and ports, digests
// and ids out of a text.
func withoutChance(text string) string {
	return built.ReplaceAllString(chance.ReplaceAllString(rate.ReplaceAllString(text, ""), "?"), "?")
}
