package engine_test

import (
	"errors"
	"testing"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Open {
		m := engine.NewMemory()
		return func() (engine.Store, error) { return m, nil }
	})
}

func TestMemoryHooks(t *testing.T) {
	m := engine.NewMemory()
	refused := errors.New("refused")
	b := engine.Batch{Run: "r", Append: []engine.Entry{{Bytes: []byte("a")}}}
	m.Before = func(engine.Batch) error { return refused }
	if err := m.Apply(t.Context(), b); err != refused {
		t.Errorf("apply = %v, want %v", err, refused)
	}
	m.Before = nil
	m.After = func(engine.Batch) { panic("killed") }
	func() {
		defer func() {
			if r := recover(); r != "killed" {
				t.Errorf("recovered %v, want killed", r)
			}
		}()
		_ = m.Apply(t.Context(), b)
	}()
	m.After = nil
	log, err := m.Load(t.Context(), "r")
	if err != nil || len(log.Entries) != 1 {
		t.Errorf("after the kill there are %d entries, %v, want 1", len(log.Entries), err)
	}
}
