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

// TestReadmesRun runs the console blocks of the pages that show a session, in a
// copy of the example, and looks for each line that they show.
func TestReadmesRun(t *testing.T) {
	if _, err := exec.LookPath("updraft"); err != nil {
		t.Fatal(err)
	}
	const example = "../../examples/first-update"
	for _, page := range []string{"../../README.md", example + "/README.md"} {
		t.Run(filepath.Base(filepath.Dir(page)), func(t *testing.T) {
			commands, shown := console(t, page)
			if len(commands) < 5 {
				t.Fatalf("%s shows %d commands, want at least 5", page, len(commands))
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
			said := strings.Split(withoutChance(string(out)), "\n")
			for _, line := range shown {
				for len(said) > 0 && said[0] != withoutChance(line) {
					said = said[1:]
				}
				if len(said) == 0 {
					t.Fatalf("%s shows %q, which is not said or not at this place:\n%s", page, line, out)
				}
			}
		})
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
	chance = regexp.MustCompile(`\b(\d+(\.\d+)?m?s|[0-9A-F]{16})\b`)
	rate   = regexp.MustCompile(`, \d+(\.\d+)? [KMG]?i?B/s`) // said only of what takes a while
)

// withoutChance takes times, rates and key ids out of a text.
func withoutChance(text string) string {
	return chance.ReplaceAllString(rate.ReplaceAllString(text, ""), "?")
}
