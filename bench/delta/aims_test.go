package main

import (
	"math"
	"strings"
	"testing"
)

// canned is a measurement with round numbers: a library, a tar, identical
// files, and one that hdiffz did not finish.
func canned() (*results, []pair) {
	pairs := []pair{
		{Name: "lib", Kind: "elf-x86_64-c", OldSize: 1000, NewSize: 1000, OldFrom: "deb:lib=1:so", NewFrom: "deb:lib=2:so"},
		{Name: "tar", Kind: "source-tar", OldSize: 1000, NewSize: 1000},
		{Name: "same", Kind: "identical", OldSize: 1000, NewSize: 1000},
		{Name: "never", Kind: "unrelated", OldSize: 1000, NewSize: 1000},
	}
	took := func(wall, cpu float64, rss int64) phase { return phase{Outcome: ok, Wall: wall, CPU: cpu, RSS: rss} }
	one := func(pair, peer, session string, size int64, make, apply phase) record {
		return record{Pair: pair, Peer: peer, Session: session, Rounds: 1, Size: size, Make: make, Apply: &apply}
	}
	own := one("lib", "updraft-default", "1", 50, took(0.4, 0.6, 3000), took(0.1, 0.1, 20<<20))
	own.Executables, own.Solid = 1, 49
	own.Pipe = &phase{Outcome: ok, RSS: 20 << 20}
	stopped := record{Pair: "lib", Peer: "bsdiff", Session: "1", Rounds: 1, Make: phase{Outcome: noTime, Wall: 60, CPU: 59, RSS: 5 << 20}}
	r := &results{
		Sessions: []session{{ID: "1", Speeds: speeds{SHA256: setSHA256 / 2, Copy: setCopy / 2}, Time: 60, Memory: 1 << 30,
			Machine: machine{CPU: "a processor", Cores: 2, Memory: 4 << 30, System: "a system", Kernel: "a kernel", FileSystem: "ext4", Go: "go1"},
			Missing: map[string]string{"zucchini-xz": "no program zucchini"}}, {ID: "2"}},
		Records: []record{
			own,
			one("lib", "hdiffz-zstd", "1", 125, took(0.5, 0.9, 9000), took(0.2, 0.1, 5<<20)),
			one("lib", "hdiffz-lzma2", "1", 100, took(0.6, 0.9, 9000), took(0.2, 0.1, 5<<20)),
			stopped,
			one("tar", "updraft-default", "1", 332, took(0.9, 0.9, 1000), took(0.19, 0.1, 1<<20)),
			one("tar", "hdiffz-zstd", "2", 300, took(1, 1, 9000), took(0.2, 0.1, 5<<20)),
			one("tar", "xdelta3", "1", 200, took(1, 1, 9000), took(0.2, 0.1, 5<<20)),
			one("same", "updraft-default", "1", 100, took(0.1, 0.1, 1000), took(0.1, 0.1, 1<<20)),
			{Pair: "never", Peer: "hdiffz-zstd", Session: "1", Rounds: 1, Make: phase{Outcome: noMemory, Words: "no memory"}},
			one("never", "updraft-default", "1", 900, took(0.1, 0.1, 1000), phase{Outcome: wrong, Words: "out has SHA-256 1"}),
		}}
	return r, pairs
}

func TestJudge(t *testing.T) {
	r, pairs := canned()
	aims := r.judge(pairs)
	for _, tt := range []struct {
		pair, what   string
		value, limit float64
		apart        bool
	}{
		{"lib", bestOfHdiffz, 0.5, 0.6, false},
		{"lib", "make, wall : hdiffz zstd-21", 0.8, 0.8, false},
		{"lib", "make, CPU : hdiffz zstd-21", 0.6 / 0.9, 0, false},
		{"lib", "make, memory : old + new", 1.5, 2, false},
		{"lib", "apply, wall : hpatchz + sha256sum + sync", 0.5, 0, false},
		{"lib", "apply, wall : output at 250 MB/s + patch at 10 MB/s, scaled", 0.1 / (2 * (1000/250e6 + 50/10e6)), 1.15, false},
		{"lib", "apply from a pipe, memory in MiB", 20, 40, false},
		{"lib", "size : the same in one frame", 50.0 / 49, 1.01, false},
		{"tar", "(size - 128) : best of bsdiff, xdelta3, zstd-19, hdiffz", 204.0 / 200, 1.02, false},
		{"tar", "apply, wall : hpatchz + sha256sum + sync", 0.95, 0.9, true},
		{"same", "size in bytes", 100, 128, false},
		{"", "geometric mean over 1 of 1 executables, " + bestOfHdiffz, 0.5, 0.46, false},
	} {
		found := false
		for _, a := range aims {
			if a.Pair != tt.pair || a.What != tt.what {
				continue
			}
			found = true
			if a.Level != "default" || math.Abs(a.Value-tt.value) > 1e-9*tt.value || a.Limit != tt.limit || a.Apart != tt.apart {
				t.Errorf("%s, %s = %+v, want %v (≤ %v), apart %v", tt.pair, tt.what, a, tt.value, tt.limit, tt.apart)
			}
		}
		if !found {
			t.Errorf("no ratio %q of %q", tt.what, tt.pair)
		}
	}
	for _, a := range ofPair(aims, "never") {
		if strings.Contains(a.What, "hdiffz") || strings.Contains(a.What, "apply") {
			t.Errorf("a ratio to a patch that does not exist, or of a wrong result: %+v", a)
		}
	}
}

func TestMissed(t *testing.T) {
	for _, tt := range []struct {
		aim  aim
		want bool
	}{
		{aim{Value: 0.6, Limit: 0.6}, false},
		{aim{Value: 0.61, Limit: 0.6}, true},
		{aim{Value: 9}, false},
	} {
		if got := tt.aim.missed(); got != tt.want {
			t.Errorf("%+v missed = %v, want %v", tt.aim, got, tt.want)
		}
	}
}
