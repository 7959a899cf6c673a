package workflow

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/internal/document"
)

var update = flag.Bool("update", false, "write what is found into the golden files")

func TestMistakes(t *testing.T) {
	const name = "testdata/mistakes.txt"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split("\n"+string(data), "\n-- ")
	out := strings.TrimPrefix(sections[0], "\n")
	for i := 1; i+1 < len(sections); i += 2 {
		title, text, _ := strings.Cut(sections[i], " --\n")
		_, want, _ := strings.Cut(sections[i+1], " --\n")
		_, err := Read("f.yaml", []byte(text), env())
		got := fmt.Sprint(err)
		out += fmt.Sprintf("\n-- %s --\n%s\n-- want --\n%s", title, text, got)
		if !*update && got != strings.TrimSuffix(want, "\n") {
			t.Errorf("%s: got\n%s\nwant\n%s", title, got, want)
		}
	}
	if *update {
		if err := os.WriteFile(name, []byte(out+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManyAtOnce holds the golden file to its promise.
func TestManyAtOnce(t *testing.T) {
	data, err := os.ReadFile("testdata/mistakes.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(data), "-- many --\n")
	text, _, _ = strings.Cut(text, "-- want --")
	_, err = Read("f.yaml", []byte(text), env())
	var ps document.Problems
	if !errors.As(err, &ps) {
		t.Fatalf("got %v, want problems", err)
	}
	codes := map[string]bool{}
	for _, p := range ps {
		codes[p.Code] = true
	}
	if len(ps) < 40 || len(codes) < 20 {
		t.Errorf("%d problems with %d codes, want at least 40 and 20", len(ps), len(codes))
	}
}
