package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestMergeReplacesWhatWasMeasuredAnew(t *testing.T) {
	pairs := []pair{{Name: "a"}, {Name: "b"}}
	done := phase{Outcome: ok}
	var r results
	r.merge(pairs, session{ID: "1"}, []record{
		{Pair: "b", Peer: "bsdiff", Session: "1", Size: 1, Make: done}, {Pair: "a", Peer: "bsdiff", Session: "1", Size: 2, Make: done}}, nil)
	r.merge(pairs, session{ID: "2"}, []record{{Pair: "b", Peer: "bsdiff", Session: "2", Size: 3, Make: done}}, nil)
	if got := r.find("b", "bsdiff"); got == nil || got.Size != 3 || len(r.Records) != 2 || len(r.Sessions) != 2 {
		t.Fatalf("after the second merge: %+v", r)
	}
	if r.Records[0].Pair != "a" {
		t.Errorf("the first record is of %s, want the order of the table", r.Records[0].Pair)
	}
	r.merge(pairs, session{ID: "3"}, []record{{Pair: "a", Peer: "bsdiff", Session: "3", Size: 4, Make: done}},
		[]cross{{Pair: "a", Maker: "bsdiff", Applier: "updraft", Session: "3", Made: true, Outcome: ok}})
	if len(r.Sessions) != 2 || r.session("1").ID != "" {
		t.Errorf("sessions = %v, want the first gone, of which no record is left", r.Sessions)
	}

	name := filepath.Join(t.TempDir(), "results.json")
	if err := r.save(name); err != nil {
		t.Fatal(err)
	}
	read, err := loadResults(name)
	if err != nil || !reflect.DeepEqual(read, &r) {
		t.Errorf("read back %+v, %v, want %+v", read, err, r)
	}
}

func TestLoadResults(t *testing.T) {
	dir := t.TempDir()
	if r, err := loadResults(filepath.Join(dir, "none")); err != nil || len(r.Records) != 0 {
		t.Errorf("no file: %v, %v, want empty results", r, err)
	}
	name := filepath.Join(dir, "bad")
	if err := os.WriteFile(name, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := loadResults(name); err == nil {
		t.Error("half a file was read without an error")
	}
}

func TestMedian(t *testing.T) {
	round := func(wall float64, rss int64, out outcome) record {
		return record{Size: 7, Make: phase{Outcome: ok, Wall: wall, CPU: 2 * wall, RSS: rss}, Apply: &phase{Outcome: out, Wall: wall / 2}}
	}
	m := median([]record{round(3, 30, ok), round(1, 10, ok), round(8, 20, ok)})
	if m.Rounds != 3 || m.Make.Wall != 3 || m.Make.CPU != 6 || m.Make.RSS != 20 || m.Apply.Wall != 1.5 || m.Size != 7 || m.Cold != nil {
		t.Errorf("median of three = %+v", m)
	}
	if m = median([]record{round(3, 30, ok), round(1, 10, ok)}); m.Make.Wall != 2 || m.Make.RSS != 20 {
		t.Errorf("median of two = %+v, want the mean", m)
	}
	if m = median([]record{round(3, 30, ok), round(1, 10, wrong)}); m.complete() || m.worst().Outcome != wrong {
		t.Errorf("median with a wrong result = %+v, want that it is wrong", m)
	}
}
