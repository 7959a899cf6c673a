package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/internal/disk"
)

// inPlacePair gives files of which all moves, and the patch between them.
func inPlacePair(t *testing.T, seed uint64, copies, length int) pair {
	t.Helper()
	p := newPair(t, seed, copies, length, 300)
	var b bytes.Buffer
	if _, err := delta.MakeInPlace(t.Context(), &b, sectionOf(p.old), sectionOf(p.new), delta.InPlaceOptions{Level: delta.Fast, Journal: 256 << 10}); err != nil {
		t.Fatal(err)
	}
	p.patch = b.Bytes()
	return p
}

// folder gives a folder with the image, which is old, and the patch.
func (p pair) folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range map[string][]byte{"image": p.old, "patch": p.patch} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func inPlaceCommand(dir, image, patch, journal string) (*exec.Cmd, *bytes.Buffer) {
	c := exec.Command("updraft", "patch", "--in-place", image, patch, "--journal", journal)
	said := new(bytes.Buffer)
	c.Dir, c.Stdout, c.Stderr = dir, said, said
	return c, said
}

// done wants the new image and nothing but it and the patch.
func (p pair) done(t *testing.T, dir, after string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, "image"))
	if err != nil || !bytes.Equal(got, p.new) {
		t.Fatalf("%s the image is wrong (%d bytes, %v)", after, len(got), err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 2 {
		t.Fatalf("%s there are %v, %v", after, names, err)
	}
}

// TestInPlaceAfterKill kills the program at random moments.
func TestInPlaceAfterKill(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 4
	}
	p := inPlacePair(t, 1, 64, 128<<10)
	dir := p.folder(t)
	began := time.Now()
	c, said := inPlaceCommand(dir, "image", "patch", "journal")
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	took := time.Since(began)
	p.done(t, dir, "without a kill")
	dir = p.folder(t)
	dice := rand.New(rand.NewPCG(2, 1))
	killed, resumed, updates := 0, 0, 0
	for runs := 0; killed < kills; runs++ {
		if runs == 20*kills {
			t.Fatalf("only %d of %d runs were killed: they take less than %v now", killed, runs, took)
		}
		c, said := inPlaceCommand(dir, "image", "patch", "journal")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		end := time.AfterFunc(time.Duration(dice.Int64N(int64(took))), func() { _ = c.Process.Kill() })
		err := c.Wait()
		end.Stop()
		resumed += strings.Count(said.String(), "going on with image")
		switch {
		case err == nil:
			p.done(t, dir, fmt.Sprintf("after kill %d", killed))
			updates++
			dir = p.folder(t)
		case c.ProcessState.ExitCode() != -1:
			t.Fatalf("after kill %d: %v\n%s", killed, err, said)
		default:
			killed++
		}
	}
	c, said = inPlaceCommand(dir, "image", "patch", "journal")
	if err := c.Run(); err != nil {
		t.Fatalf("after the last kill: %v\n%s", err, said)
	}
	p.done(t, dir, "after the last kill")
	t.Logf("%d kills in %d updates of %v, went on %d times", killed, updates+1, took, resumed)
	if resumed < kills/4 {
		t.Errorf("of %d kills only %d were gone on after", killed, resumed)
	}
}

// halfImage gives a folder in which an update was interrupted after its first
// batch.
func halfImage(t *testing.T, p pair) (dir string) {
	t.Helper()
	dir = p.folder(t)
	said := new(bytes.Buffer)
	prog := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: said, getenv: func(string) string { return "" }}
	ctx, cancel := context.WithCancelCause(t.Context())
	a := applying{old: filepath.Join(dir, "image"), patch: filepath.Join(dir, "patch"), journal: filepath.Join(dir, "journal"), format: recognise, inPlace: true}
	in, err := prog.openPatch(a.patch)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	info, err := in.inPlaceInfo()
	if err != nil {
		t.Fatal(err)
	}
	w := &placeWork{p: prog, a: a, in: in, info: info, limits: delta.Limits{Size: delta.AnySize}}
	w.synced = func() { cancel(errInterrupted) }
	if err := w.run(ctx); exitCode(err) != exitWaiting || !strings.Contains(said.String(), "the same command goes on") {
		t.Fatalf("interrupted: %v\n%s", err, said)
	}
	got, err := os.ReadFile(a.old)
	if err != nil || bytes.Equal(got, p.old) || bytes.HasPrefix(got, p.new) {
		t.Fatalf("the image is old or new, not something between (%v)", err)
	}
	return dir
}

// TestInPlaceOfAnother gives the journal of an update that is not over to
// other updates: they leave it and their images alone.
func TestInPlaceOfAnother(t *testing.T) {
	p, other := inPlacePair(t, 3, 16, 64<<10), inPlacePair(t, 4, 16, 64<<10)
	dir := halfImage(t, p)
	for name, b := range map[string][]byte{"second": p.old, "other": other.old, "other.patch": other.patch} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ name, image, patch string }{
		{"another patch", "other", "other.patch"},
		{"the same patch, another image", "second", "patch"},
		{"the same image, another patch", "image", "other.patch"},
	} {
		before, err := os.ReadFile(filepath.Join(dir, tt.image))
		if err != nil {
			t.Fatal(err)
		}
		c, said := inPlaceCommand(dir, tt.image, tt.patch, "journal")
		_ = c.Run()
		if code := c.ProcessState.ExitCode(); code != exitUsage || !strings.Contains(said.String(), "it belongs to the update of "+filepath.Join(dir, "image")) {
			t.Errorf("%s: exit code %d\n%s", tt.name, code, said)
		}
		if after, err := os.ReadFile(filepath.Join(dir, tt.image)); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the image was written to (%v)", tt.name, err)
		}
	}
	// Without the journal nothing can go on, and a new one is not left.
	c, said := inPlaceCommand(dir, "image", "patch", "lost")
	_ = c.Run()
	if code := c.ProcessState.ExitCode(); code != exitUsage || !strings.Contains(said.String(), "give --journal what it had then") {
		t.Errorf("a lost journal: exit code %d\n%s", code, said)
	}
	for _, name := range []string{"lost", "second", "other", "other.patch"} {
		if err := os.Remove(filepath.Join(dir, name)); (err == nil) == (name == "lost") {
			t.Errorf("remove %s: %v", name, err)
		}
	}
	c, said = inPlaceCommand(dir, "image", "patch", "journal")
	if err := c.Run(); err != nil || !strings.Contains(said.String(), "going on with image") {
		t.Fatalf("then the right one: %v\n%s", err, said)
	}
	p.done(t, dir, "then")
}

// TestInPlaceLocked finds the image, or the journal, in use.
func TestInPlaceLocked(t *testing.T) {
	p := inPlacePair(t, 5, 16, 64<<10)
	dir := p.folder(t)
	image, err := disk.LockContent(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	locked := func(what string) {
		t.Helper()
		c, said := inPlaceCommand(dir, "image", "patch", "journal")
		_ = c.Run()
		if code := c.ProcessState.ExitCode(); code != exitBusy || !strings.Contains(said.String(), what+" is locked") {
			t.Errorf("%s: exit code %d\n%s", what, code, said)
		}
	}
	locked("image")
	if err := image.Close(); err != nil {
		t.Fatal(err)
	}
	journal, err := disk.Lock(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	locked("journal")
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}
	c, said := inPlaceCommand(dir, "image", "patch", "journal")
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	p.done(t, dir, "then")
}

// TestJournalOwner tells journals apart by what they begin with.
func TestJournalOwner(t *testing.T) {
	mine := journalOwner{File: "/dev/a", Old: "01", New: "02"}
	other := journalOwner{File: "/dev/b", Old: "01", New: "02"}
	over := other
	over.Done = true
	note := func(o journalOwner) []byte {
		b, err := appendSlot(journalMagic, o)
		if err != nil {
			t.Fatal(err)
		}
		lock := make([]byte, positionPage)
		copy(lock, lockNote+"12, boot 34")
		return append(lock, b...)
	}
	flipped := note(mine)
	flipped[positionPage+20]++
	const need = journalHead + 300<<10
	for _, tt := range []struct {
		name          string
		content       []byte
		unused, taken bool
	}{
		{"empty", nil, true, true},
		{"zeros", make([]byte, need), true, true},
		{"the note of a lock alone", note(mine)[:100], true, true},
		{"mine", append(note(mine), "pieces"...), false, true},
		{"mine, without the note of a lock", append(make([]byte, positionPage), note(mine)[positionPage:]...), false, true},
		{"of another", note(other), false, false},
		{"of another that is over", append(note(over), "pieces"...), true, true},
		{"a start that was cut short", flipped, true, true},
		{"a damaged note before pieces", append(flipped, "pieces"...), false, false},
		{"a text", []byte("precious"), false, false},
		{"zeros and then a text", append(make([]byte, need-9), "precious"...), false, false},
		{"a text in the second page", append(make([]byte, positionPage), "precious"...), false, false},
	} {
		j := &journalFile{name: "journal", owner: mine}
		unused, err := j.read(sectionOf(tt.content), need)
		if unused != tt.unused || (err == nil) != tt.taken {
			t.Errorf("%s: unused %v, %v; want %v, taken %v", tt.name, unused, err, tt.unused, tt.taken)
		}
	}
	// On a device, only what is needed is looked at.
	j := &journalFile{name: "journal", owner: mine}
	if unused, err := j.read(sectionOf(append(make([]byte, need), "precious"...)), need); !unused || err != nil {
		t.Errorf("a text behind the journal: unused %v, %v", unused, err)
	}
}
