package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

func TestQuoted(t *testing.T) {
	for _, tt := range []struct{ path, want string }{
		{"/etc/updraft/device.yaml", "/etc/updraft/device.yaml"},
		{"my device.yaml", "'my device.yaml'"},
		{"it's", `'it'\''s'`},
	} {
		if got := quoted(tt.path); got != tt.want {
			t.Errorf("quoted(%q) = %s, want %s", tt.path, got, tt.want)
		}
	}
}

func TestAbandoned(t *testing.T) {
	boot, err := disk.BootID()
	if err != nil {
		t.Fatal(err)
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, note string
		want       bool
	}{
		{"this process", fmt.Sprintf("process %d, boot %s", os.Getpid(), boot), false},
		{"a process that has ended", fmt.Sprintf("process %d, boot %s", gone.Process.Pid, boot), true},
		{"a process before the restart", fmt.Sprintf("process %d, boot another", os.Getpid()), true},
		{"no note", "", false},
		{"another note", "somebody", false},
	} {
		name := filepath.Join(t.TempDir(), "lock")
		if err := os.WriteFile(name, []byte(tt.note), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := abandoned(name); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if abandoned(filepath.Join(t.TempDir(), "missing")) {
		t.Error("without a lock file nobody was there to leave")
	}
}

func TestTail(t *testing.T) {
	name := filepath.Join(t.TempDir(), "events.ndjson")
	const accepted, ended = `{"seq":1,"kind":"run","state":"accepted"}` + "\n", `{"seq":2,"kind":"run","state":"succeeded"}` + "\n"
	tl := &tail{fs: disk.OS(), name: name}
	for _, tt := range []struct {
		name, content string
		want          int
		ended         bool
	}{
		{"nothing yet", "", 0, false},
		{"one event and a half", accepted + ended[:10], 1, false},
		{"the other half", accepted + ended, 1, true},
		{"nothing new", accepted + ended, 0, true},
		{"begun anew, with a damaged line", "\x00\x00\n" + accepted, 1, false},
	} {
		if err := os.WriteFile(name, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := tl.read(func([]byte, engine.Event) error { return nil })
		if err != nil || got != tt.want || tl.ended != tt.ended {
			t.Errorf("%s: %d events, ended %v, %v; want %d, %v", tt.name, got, tl.ended, err, tt.want, tt.ended)
		}
	}
}
