package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the process in between, as main does.
func TestMain(m *testing.M) {
	if done, err := helperMode(os.Args[1:]); done {
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte("fed"), 0o644); err != nil {
		t.Fatal(err)
	}
	shell := func(script string) command { return command{Args: []string{"/bin/sh", "-c", script}} }
	for _, tt := range []struct {
		name        string
		job         job
		want        outcome
		words, said string
	}{
		{"a program that ends well", job{Command: shell("echo hello")}, ok, "", "hello\n"},
		{"one that fails", job{Command: shell("echo one >&2; echo two words >&2; exit 3")}, failed, "two words", ""},
		{"one that fails without a word", job{Command: shell("exit 3")}, failed, "exit status 3", ""},
		{"one that takes too long, with its children", job{Command: shell("sleep 60 & wait"), Time: 50 * time.Millisecond}, noTime, "", ""},
		{"one that gets no memory", job{Command: shell("echo x: Cannot allocate memory >&2; exit 1")}, noMemory, "x: Cannot allocate memory", ""},
		{"the limit of memory", job{Command: shell("while [ $(ulimit -v) = unlimited ]; do :; done; ulimit -v"), Memory: 1 << 30}, ok, "", "1048576\n"},
		{"a file as standard input", job{Command: command{Args: []string{"/bin/sh", "-c", "cat; [ -p /dev/stdin ] || echo ' file'"}, In: in}}, ok, "", "fed file\n"},
		{"a pipe as standard input", job{Command: command{Args: []string{"/bin/sh", "-c", "cat; [ -p /dev/stdin ] && echo ' pipe'"}, In: in, Feed: true}}, ok, "", "fed pipe\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, err := measure(t.Context(), tt.job)
			if err != nil {
				t.Fatal(err)
			}
			if u.Outcome != tt.want || u.Words != tt.words || string(u.Stdout) != tt.said {
				t.Errorf("outcome %q, words %q, output %q; want %q, %q, %q", u.Outcome, u.Words, u.Stdout, tt.want, tt.words, tt.said)
			}
			if u.Wall <= 0 || u.RSS <= 0 {
				t.Errorf("wall %v, memory %d bytes, want both above 0", u.Wall, u.RSS)
			}
		})
	}
	if _, err := measure(t.Context(), job{Command: command{Args: []string{"/bin/echo", "kept"}, Out: out}}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(out); err != nil || string(text) != "kept\n" {
		t.Errorf("standard output in a file = %q, %v", text, err)
	}
}

// TestMeasureCountsTheProgramAlone: memory of this process must not show in
// what it measures.
func TestMeasureCountsTheProgramAlone(t *testing.T) {
	large := make([]byte, 128<<20)
	for i := 0; i < len(large); i += 4096 {
		large[i] = 1
	}
	u, err := measure(t.Context(), job{Command: command{Args: []string{"/bin/true"}}})
	if err != nil {
		t.Fatal(err)
	}
	if u.RSS > 64<<20 {
		t.Errorf("true took %d bytes beside a process that holds %d", u.RSS, len(large))
	}
	large[0] = 2 // so that it is held until here
}

func TestRaceChecksTheResult(t *testing.T) {
	dir := t.TempDir()
	c := corpus(filepath.Join(dir, "corpus"))
	p := pair{Name: "p", OldSize: 3, NewSize: 3, NewSum: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
	if err := os.MkdirAll(filepath.Join(string(c), "p"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"old": "xyz", "new": "abc"} {
		if err := os.WriteFile(c.file(p, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	r := &race{corpus: c, programs: programs{}, dir: work, rounds: 2, session: "1", say: t.Output(), time: time.Minute}
	records, err := r.pair(t.Context(), p, []peer{
		{Name: "right", Make: []string{"cp $new $patch"}, Apply: []string{"cp $patch $out"}},
		{Name: "wrong", Make: []string{"cp $old $patch"}, Apply: []string{"cp $patch $out"}, Checks: true, Syncs: true},
		{Name: "fails", Make: []string{"cp $old/x $patch"}, Apply: []string{"cp $patch $out"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := records[0]; !got.complete() || got.Rounds != 2 || got.Size != 3 || got.Apply.After <= 0 {
		t.Errorf("right = %+v, apply %+v; want two complete rounds, with sha256sum and sync", got, got.Apply)
	}
	if got := records[1].Apply; got.Outcome != wrong || !strings.HasPrefix(got.Words, "out has SHA-256") || got.After != 0 {
		t.Errorf("wrong = %+v, want that the digest differs, without a folder's name", got)
	}
	if got := records[2]; got.Make.Outcome != failed || got.Apply != nil || strings.Contains(got.Make.Words, dir) {
		t.Errorf("fails = %+v, want failed to make, without a folder's name", got)
	}
	if left, err := os.ReadDir(work); err != nil || len(left) != 0 {
		t.Errorf("%v is left in the work folder, %v", left, err)
	}
}
