package agent_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
)

func TestByteCount(t *testing.T) {
	for _, tt := range []struct {
		n    int64
		want string
	}{
		{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1536, "1.5 KiB"}, {1 << 20, "1.0 MiB"},
		{1<<31 + 1, "2.0 GiB"}, {1<<63 - 1, "8.0 EiB"},
	} {
		if got := agent.ByteCount(tt.n); got != tt.want {
			t.Errorf("ByteCount(%d) = %q, want %q", tt.n, got, tt.want)
		}
	}
}

// A gigabyte in steps of a megabyte is a dozen lines, not a thousand.
func TestProgressIsThinnedOut(t *testing.T) {
	var out bytes.Buffer
	l := &agent.Lines{To: &out}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const mega, total = 1 << 20, 1 << 30
	for done := int64(0); done <= total; done += mega {
		at = at.Add(10 * time.Millisecond)
		l.Show(engine.Event{Kind: engine.EventProgress, Step: "write", Done: done, Total: total, Time: at})
	}
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(got) < 11 || len(got) > 14 {
		t.Errorf("%d lines, want 11 to 14:\n%s", len(got), out.String())
	}
	if want := "write: 100 % 1.0 GiB of 1.0 GiB, 100.0 MiB/s"; got[len(got)-1] != want {
		t.Errorf("last line %q, want %q", got[len(got)-1], want)
	}
}

func TestPhraseSaysThingsOnce(t *testing.T) {
	for _, tt := range []struct{ name, code, text, want string }{
		{"nothing more", "", "", "refused"},
		{"code and text", "network", "no route", "refused: network: no route"},
		{"the text begins with its code", "untrusted", "untrusted: no signature", "refused: untrusted: no signature"},
		{"the text is the code", "cancelled", "cancelled", "refused: cancelled"},
	} {
		if got := agent.Phrase("refused", tt.code, tt.text); got != tt.want {
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
		if got := agent.Took(tt.spent); got != tt.want {
			t.Errorf("Took(%v) = %q, want %q", tt.spent, got, tt.want)
		}
	}
}

// The bytes of one step come and go while another one has begun.
func TestAStepLastsFromItsBeginning(t *testing.T) {
	var out bytes.Buffer
	l := &agent.Lines{To: &out}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l.Show(engine.Event{Kind: engine.EventStep, Step: "write", State: "begin", Time: at})
	l.Show(engine.Event{Kind: engine.EventProgress, Step: "image", Done: 1, Total: 1, Time: at.Add(3 * time.Second)})
	l.Show(engine.Event{Kind: engine.EventStep, Step: "write", State: "done", Time: at.Add(4 * time.Second)})
	if got, want := out.String(), "write: done in 4s\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q at its end", got, want)
	}
}

// What a server or module says must not steer the terminal.
func TestLinesArePrintable(t *testing.T) {
	var out bytes.Buffer
	l := &agent.Lines{To: &out}
	l.Show(engine.Event{Kind: engine.EventLog, Step: "write", Text: "\x1b[2Jclear\nsecond"})
	if got, want := out.String(), "write: \uFFFD[2Jclear; second\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The result says how a run ended; what goes on in the same process is no news.
func TestBriefLinesLeaveTheEndToTheResult(t *testing.T) {
	events := []engine.Event{
		{Kind: engine.EventRun, Run: "r1", State: "accepted"},
		{Kind: engine.EventRun, Run: "r1", State: "resumed"},
		{Kind: engine.EventRun, Run: "r1", State: "waiting", Text: "restart"},
		{Kind: engine.EventRun, Run: "r1", State: "resumed"},
		{Kind: engine.EventRun, Run: "r1", State: "succeeded"},
	}
	for _, tt := range []struct {
		name  string
		brief bool
		want  string
	}{
		{"brief", true, "run r1 accepted\n"},
		{"whole", false, "run r1 accepted\nrun r1 waits for the restart\nrun r1 resumed\nrun r1 succeeded\n"},
	} {
		var out bytes.Buffer
		l := &agent.Lines{To: &out, Brief: tt.brief}
		for _, e := range events {
			l.Show(e)
		}
		if got := out.String(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
