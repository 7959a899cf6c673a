package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

func TestByteCount(t *testing.T) {
	for _, tt := range []struct {
		n    int64
		want string
	}{
		{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1536, "1.5 KiB"}, {1 << 20, "1.0 MiB"},
		{1<<31 + 1, "2.0 GiB"}, {1<<63 - 1, "8.0 EiB"},
	} {
		if got := byteCount(tt.n); got != tt.want {
			t.Errorf("byteCount(%d) = %q, want %q", tt.n, got, tt.want)
		}
	}
}

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

// A gigabyte in steps of a megabyte is a dozen lines, not a thousand.
func TestProgressIsThinnedOut(t *testing.T) {
	var out bytes.Buffer
	l := &lines{to: &out}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const mega, total = 1 << 20, 1 << 30
	for done := int64(0); done <= total; done += mega {
		at = at.Add(10 * time.Millisecond)
		l.show(engine.Event{Kind: engine.EventProgress, Step: "write", Done: done, Total: total, Time: at})
	}
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(got) < 11 || len(got) > 14 {
		t.Errorf("%d lines, want 11 to 14:\n%s", len(got), out.String())
	}
	if want := "write: 100 % 1.0 GiB of 1.0 GiB, 100.0 MiB/s"; got[len(got)-1] != want {
		t.Errorf("last line %q, want %q", got[len(got)-1], want)
	}
}

func TestJoinSaysThingsOnce(t *testing.T) {
	for _, tt := range []struct{ name, code, text, want string }{
		{"nothing more", "", "", "refused"},
		{"code and text", "network", "no route", "refused: network: no route"},
		{"the text begins with its code", "untrusted", "untrusted: no signature", "refused: untrusted: no signature"},
		{"the text is the code", "cancelled", "cancelled", "refused: cancelled"},
	} {
		if got := join("refused", tt.code, tt.text); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestTook(t *testing.T) {
	for _, tt := range []struct {
		spent time.Duration
		want  string
	}{
		{0, "0s"}, {1499 * time.Microsecond, "1ms"}, {340 * time.Millisecond, "340ms"}, {1234 * time.Millisecond, "1.2s"}, {90 * time.Second, "1m30s"},
	} {
		if got := took(tt.spent); got != tt.want {
			t.Errorf("took(%v) = %q, want %q", tt.spent, got, tt.want)
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

// The bytes of one step come and go while another one has begun.
func TestAStepLastsFromItsBeginning(t *testing.T) {
	var out bytes.Buffer
	l := &lines{to: &out}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l.show(engine.Event{Kind: engine.EventStep, Step: "write", State: "begin", Time: at})
	l.show(engine.Event{Kind: engine.EventProgress, Step: "image", Done: 1, Total: 1, Time: at.Add(3 * time.Second)})
	l.show(engine.Event{Kind: engine.EventStep, Step: "write", State: "done", Time: at.Add(4 * time.Second)})
	if got, want := out.String(), "write: done in 4s\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q at its end", got, want)
	}
}

// What a server or module says must not steer the terminal.
func TestLinesArePrintable(t *testing.T) {
	var out bytes.Buffer
	l := &lines{to: &out}
	l.show(engine.Event{Kind: engine.EventLog, Step: "write", Text: "\x1b[2Jclear\nsecond"})
	if got, want := out.String(), "write: \uFFFD[2Jclear; second\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
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
