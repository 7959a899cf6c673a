package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
)

var update = flag.Bool("update", false, "write testdata anew")

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == memoryWord {
		main()
		return
	}
	os.Exit(m.Run())
}

// canned are results with every kind of figure.
func canned() *results {
	fast := section{Name: "a", Title: "Two sides", Note: "What was done."}
	fast.row("first", took("plain", 80*time.Millisecond), took("own", 100*time.Millisecond), ratio("own : plain", 100, 80))
	fast.row("second", took("own", 1234*time.Millisecond), through("speed", 100e6, time.Second/10), figure{"share", 4.96, percent})
	fast.atMost("first: own against plain", 1.25, times, 1.25)
	fast.atMost("second: start", 5.001, milliseconds, 5)
	small := section{Name: "b", Title: "Sizes", Note: "Counted."}
	small.row("module", figure{"size", 2_422_388, bytesUnit}, figure{"source", 40, lines}, figure{"memory", 15.25, mebibytes})
	small.atLeast("module: speed", 0.949, times, 0.95)
	small.atLeast("module: more speed", 2, times, 2)
	return &results{
		Date: "2030-01-02", Rounds: 7, Missing: []string{"a module in Zig needs zig"}, Sections: []section{fast, small},
		Machine: machine{CPU: "a processor", Cores: 2, Memory: "4 GiB", System: "a system", Go: "go1.26", Wazero: "wazero v1", Files: "tmpfs"},
	}
}

func TestPage(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := canned().save(page); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("testdata", "page.md")
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the page differs from %s; run the test with -update and look at the change. Got:\n%s", name, got)
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		list []time.Duration
		want time.Duration
	}{{[]time.Duration{5}, 5}, {[]time.Duration{9, 1, 5}, 5}, {[]time.Duration{8, 1, 2, 4}, 3}} {
		if got := median(tt.list); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.list, got, tt.want)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-only speed", `unknown section "speed"`},
		{"-n 0", "-n of at least 1"},
		{"-size 10", "at least 1048576"},
		{"-quick -report", "leave -quick and -only out"},
		{"-only sdk -report", "leave -quick and -only out"},
		{"all", `have "all"`},
		{"-root testdata", "run it in the project's folder"},
	} {
		args := append([]string{"-root", "../.."}, strings.Fields(tt.args)...)
		if err := run(args, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want one with %q", tt.args, err, tt.want)
		}
	}
	o, err := parseOptions([]string{"-root", "../..", "-quick", "-n", "5"})
	if err != nil || o.rounds != 5 || o.size != 8e6 || o.large != 64<<20 {
		t.Errorf("-quick -n 5 = %+v, %v", o, err)
	}
}

// One short round of what moves bytes: each side does what it says, or the
// run fails.
func TestShortRun(t *testing.T) {
	if err := toolchain.Check(t.Context(), toolchain.C, ""); err != nil {
		t.Skip(err)
	}
	var out bytes.Buffer
	err := run([]string{"-root", "../..", "-dir", t.TempDir(), "-only", "streaming,services,memory", "-n", "1", "-size", "1048577", "-large", "1048576", "-json"}, &out)
	if err != nil {
		t.Fatal(err)
	}
	var r results
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Sections) != 3 || len(r.Missing) > 0 {
		t.Fatalf("%d sections, left out %q; want 3 and nothing", len(r.Sections), r.Missing)
	}
	for _, s := range r.Sections {
		if len(s.Rows) < 2 || len(s.Aims) < 2 {
			t.Errorf("%s: %d rows and %d aims, want more", s.Name, len(s.Rows), len(s.Aims))
		}
		for _, row := range s.Rows {
			for _, f := range row.Figures {
				if f.Value < 0 || f.Value == 0 && f.Unit != mebibytes {
					t.Errorf("%s, %s: %s is %v", s.Name, row.What, f.Column, f.Value)
				}
			}
		}
	}
}
