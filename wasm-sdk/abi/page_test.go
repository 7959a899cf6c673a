package abi

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The public page names every function with its type and capability, and
// every errno with its number, and no others.
func TestThePageIsTheContract(t *testing.T) {
	text, err := os.ReadFile("../../docs/module-contract.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{} // first cell: second and third
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(strings.TrimSpace(line), " | "); len(cells) >= 3 {
			rows[strings.TrimPrefix(cells[0], "| ")] = cells[1] + " " + cells[2]
		}
	}
	for _, f := range Functions() {
		needs := string(f.Needs)
		if needs == "" {
			needs = "–"
		}
		name := "`" + f.Name + "`"
		if got, want := rows[name], "`"+f.Type+"` "+needs; got != want {
			t.Errorf("%s: the page has %q, want %q", f.Name, got, want)
		}
		delete(rows, name)
	}
	for name, rest := range rows {
		if strings.HasPrefix(name, "`") && strings.HasPrefix(rest, "`") {
			t.Errorf("the page has %s, which the contract has not", name)
		}
	}
	for e := ENOENT; e >= ECONN; e-- {
		if rows[fmt.Sprint(int32(e))] == "" {
			t.Errorf("errno %d (%v) is not on the page", int32(e), e)
		}
	}
}
