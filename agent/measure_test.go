package agent

import (
	"testing"
	"time"
)

func TestMeasure(t *testing.T) {
	now := time.Unix(1000, 0)
	m := newMeasure(func() time.Time { return now })
	for i := range logBurst {
		if first, ok := m.take(); !ok || first != "" {
			t.Fatalf("line %d: %q, %t", i, first, ok)
		}
	}
	for range 7 {
		if _, ok := m.take(); ok {
			t.Fatal("a line too many came through")
		}
	}
	now = now.Add(1500 * time.Millisecond)
	if first, ok := m.take(); !ok || first != "7 lines were left out" {
		t.Errorf("%q, %t, want the seven told", first, ok)
	}
	if _, ok := m.take(); ok {
		t.Error("two lines came in a second and a half")
	}
	now = now.Add(-time.Hour) // the clock was set back
	if _, ok := m.take(); ok {
		t.Error("a clock that goes back makes room")
	}
	now = now.Add(10 * time.Hour)
	for i := range logBurst {
		if _, ok := m.take(); !ok {
			t.Fatalf("after hours there is room for %d lines only", i)
		}
	}
	if _, ok := m.take(); ok {
		t.Error("room grows for ever")
	}
}
