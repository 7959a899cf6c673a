package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPairs(t *testing.T) {
	pairs, err := allPairs()
	if err != nil {
		t.Fatal(err)
	}
	if len(pairs) < 16 {
		t.Errorf("%d pairs, want at least 16", len(pairs))
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		if seen[p.Name] {
			t.Errorf("%s stands in the table twice", p.Name)
		}
		seen[p.Name] = true
		if p.OldSize <= 0 || p.NewSize <= 0 || len(p.OldSum) != 64 || len(p.NewSum) != 64 {
			t.Errorf("%s: sizes %d, %d and sums of %d, %d digits, want sizes above 0 and 64 digits", p.Name, p.OldSize, p.NewSize, len(p.OldSum), len(p.NewSum))
		}
		for _, from := range []string{p.OldFrom, p.NewFrom} {
			how, _, _ := strings.Cut(from, ":")
			if !strings.Contains(fetchScript, "\n    "+how+":*)") {
				t.Errorf("%s: fetch.sh knows no %q", p.Name, how)
			}
		}
	}
	for _, name := range []string{smallPair, largePair, "kmod-tar-bare"} {
		if !seen[name] {
			t.Errorf("no pair %s, which an aim is about", name)
		}
	}
}

func TestParsePairsRefuses(t *testing.T) {
	for _, tt := range []struct{ name, table, want string }{
		{"a column short", "name\nx\tkind\ta\tb\t1\t2\tsum", "pairs.tsv:2: expected 8 columns, have 7"},
		{"a size in words", "name\nx\tkind\ta\tb\tone\t2\ts\tt", `pairs.tsv:2: strconv.ParseInt: parsing "one": invalid syntax`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parsePairs(tt.table); err == nil || err.Error() != tt.want {
				t.Errorf("error = %v, want %s", err, tt.want)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	self := func(s string) string { return s }
	all := []string{"a", "b", "c"}
	if got, err := choose(all, "c,a", self); err != nil || strings.Join(got, ",") != "a,c" {
		t.Errorf("choose = %v, %v, want a and c in the order of the table", got, err)
	}
	if got, err := choose(all, "", self); err != nil || len(got) != 3 {
		t.Errorf("choose nothing = %v, %v, want all", got, err)
	}
	if _, err := choose(all, "a,x", self); err == nil || !strings.Contains(err.Error(), `unknown name "x"`) {
		t.Errorf("error = %v, want unknown name", err)
	}
}

func TestCheckFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "old")
	if err := os.WriteFile(name, []byte("abc"), 0o644); err != nil {
		t.Fatal(err)
	}
	const sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	for _, tt := range []struct {
		name, sum string
		size      int64
		want      string
	}{
		{"right", sum, 3, ""},
		{"a byte more expected", sum, 4, "has 3 bytes, expected 4"},
		{"other bytes expected", strings.Repeat("0", 64), 3, "has SHA-256 " + sum},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkFile(name, tt.size, tt.sum)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
}
