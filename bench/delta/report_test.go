package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata anew")

func TestPage(t *testing.T) {
	r, pairs := canned()
	r.merge(pairs, r.Sessions[0], nil, []cross{
		{Pair: "lib", Maker: "bsdiff", Applier: "updraft", Session: "1", Made: true, Outcome: ok},
		{Pair: "lib", Maker: "zstd-3", Applier: "updraft", Session: "1", Made: true, Outcome: failed, Words: "too large"},
		{Pair: "tar", Maker: "bsdiff", Applier: "updraft", Session: "1", Outcome: noTime},
	})
	var page bytes.Buffer
	r.writePage(&page, pairs)
	_, got, _ := strings.Cut(page.String(), introduction)
	// The command lines are the table of peers, which has a test of its own.
	head, tail, _ := strings.Cut(got, "\n## Command lines")
	_, tail, _ = strings.Cut(tail, "\n## Sessions")
	got = head + "\n## Sessions" + tail

	name := filepath.Join("testdata", "page.md")
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the page differs from %s; run the test with -update and look at the change. Got:\n%s", name, got)
	}
}

func TestPictureIsWhole(t *testing.T) {
	r, pairs := canned()
	pairs[0].Name = "a<b>&c"
	r.Records[0].Pair, r.Records[1].Pair = pairs[0].Name, pairs[0].Name
	var picture bytes.Buffer
	r.writePicture(&picture, pairs)
	d := xml.NewDecoder(&picture)
	dots, named := 0, false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "circle" {
				dots++
			}
			for _, a := range token.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") || strings.Contains(a.Value, "%!") {
					t.Errorf("%s has %s=%q", token.Name.Local, a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			named = named || string(token) == pairs[0].Name
		}
	}
	// Two peers of the first pair and three of the second, in two panels,
	// and three in the legend beside the one whose pair is not drawn.
	if dots < 13 || !named {
		t.Errorf("%d dots, the first pair named: %v; want at least 13 and true", dots, named)
	}
}

// TestPageIsOfTheResults holds the committed page to the committed figures.
func TestPageIsOfTheResults(t *testing.T) {
	pairs, err := allPairs()
	if err != nil {
		t.Fatal(err)
	}
	r, err := loadResults("results.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := r.report(pairs, dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"benchmarks.md", "benchmarks.svg"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("docs/%s is not what results.json gives: go run ./bench/delta -report", name)
		}
	}
}

func TestGroup(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := group(n); got != want {
			t.Errorf("group(%d) = %q, want %q", n, got, want)
		}
	}
}
