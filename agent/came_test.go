package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/updraft-ota/updraft/engine"
)

// TestTheNextRunStays: the engine may take a command before the agent has heard
// that the last run ended. The end of that one must not lose the next.
func TestTheNextRunStays(t *testing.T) {
	device := filepath.Join(t.TempDir(), "device.yaml")
	text := "apiVersion: updraft/v1\nkind: Device\ntargets: {config: {file: app.conf}}\ntrust: {require: none}\n"
	if err := os.WriteFile(device, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := Open(t.Context(), Config{Device: device})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, tt := range []struct{ run, ended, want string }{
		{"next", "last", "next"},
		{"last", "last", ""},
	} {
		s := &service{agent: a, run: tt.run, kick: make(chan struct{}, 1)}
		s.came(t.Context(), outcome{run: tt.ended, res: engine.Result{Run: tt.ended, State: engine.Succeeded}})
		if s.run != tt.want {
			t.Errorf("after the end of %s the run to drive is %q, want %q", tt.ended, s.run, tt.want)
		}
	}
}
