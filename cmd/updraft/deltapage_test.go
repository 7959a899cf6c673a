package main

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// deltaFigures are what depends on the version of the maker.
var deltaFigures = regexp.MustCompile(`[0-9a-f]{64}|\d+(\.\d+)?( [KMG]iB| B)?`)

// TestThePageOfDeltas runs every command of docs/delta.md, and looks for what
// the page shows of it.
func TestThePageOfDeltas(t *testing.T) {
	if _, err := exec.LookPath("cmp"); err != nil {
		t.Skip("the page compares with cmp, which is not here")
	}
	commands, shown := console(t, "../../docs/delta.md")
	if len(commands) < 15 {
		t.Fatalf("it shows %d commands, want at least 15", len(commands))
	}
	dir := t.TempDir()
	random := rand.NewChaCha8([32]byte{7})
	older, photo := make([]byte, 1<<20), make([]byte, 100_000)
	_, _ = random.Read(older)
	_, _ = random.Read(photo)
	var newer []byte
	for i := 0; i < len(older); i += 16 << 10 {
		newer = append(append(newer, older[i:i+16<<10]...), photo[i>>10:i>>10+25]...)
	}
	for name, b := range map[string][]byte{"app-1.0": older, "app-1.1": newer, "photo.jpg": photo} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shell := exec.Command("sh", "-e", "-c", strings.Join(commands, "\n"))
	shell.Dir = dir
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rest := deltaFigures.ReplaceAllString(string(out), "?")
	for _, line := range shown {
		_, after, found := strings.Cut(rest, deltaFigures.ReplaceAllString(line, "?")+"\n")
		if !found {
			t.Fatalf("the page shows %q, which is not said or not at this place:\n%s", line, out)
		}
		rest = after
	}
}
