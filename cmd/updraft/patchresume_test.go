package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
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

// pair is an old and a new file and the patch between them.
type pair struct{ old, new, patch []byte }

// newPair gives files that share most, with so many literals after each copy.
func newPair(t *testing.T, seed uint64, copies, length, literals int) pair {
	t.Helper()
	random := rand.NewChaCha8([32]byte{byte(seed)})
	p := pair{old: make([]byte, copies*length)}
	_, _ = random.Read(p.old)
	gap := make([]byte, literals)
	for i := range copies {
		_, _ = random.Read(gap)
		p.new = append(append(p.new, p.old[i*length:(i+1)*length]...), gap...)
	}
	format, err := delta.Lookup(usualFormat)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := delta.Make(t.Context(), format, &b, sectionOf(p.old), sectionOf(p.new), delta.Options{Level: delta.Fast}); err != nil {
		t.Fatal(err)
	}
	p.patch = b.Bytes()
	return p
}

func sectionOf(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

// apply makes /new on a disk, with positions in /position.
func (p pair) apply(fsys disk.FS, stream bool, stride int64) (resumedAt int64, err error) {
	in := &patchInput{name: "p", section: sectionOf(p.patch), head: p.patch[:min(len(p.patch), patchHead)]}
	if stream {
		in.section, in.stream = nil, bufio.NewReader(bytes.NewReader(p.patch))
	}
	source := &patchSource{format: usualFormat, old: sectionOf(p.old), in: in, limits: delta.Limits{Size: delta.AnySize}}
	w := &partWork{fs: fsys, clock: disk.NewVirtual(time.Time{}), say: func(string, ...any) {}, source: source, to: &applyWriter{}, stride: stride}
	resumedAt, err = w.run(context.Background(), "/new", "/position")
	if err == nil && w.to.size != int64(len(p.new)) {
		err = errors.New("the result counts other bytes")
	}
	return resumedAt, err
}

// check wants the new file and nothing beside it.
func (p pair) check(t *testing.T, fsys disk.FS) {
	t.Helper()
	got, err := disk.ReadFile(fsys, "/new", int64(len(p.new))+1)
	if err != nil || !bytes.Equal(got, p.new) {
		t.Errorf("the result is wrong (%d bytes, want %d; %v)", len(got), len(p.new), err)
	}
	names, err := fsys.ReadDir("/")
	if err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

// TestResumeAfterCuts stops the machine before every change of the disk, in
// every way, and again while it goes on.
func TestResumeAfterCuts(t *testing.T) {
	p := newPair(t, 1, 24, 12<<10, 200)
	whole := disk.NewForgetful()
	if _, err := p.apply(whole, false, 32<<10); err != nil {
		t.Fatal(err)
	}
	p.check(t, whole)
	total, resumed := whole.Calls(), 0
	for n := int64(1); n <= total; n++ {
		for _, mode := range []disk.Cut{disk.Kill, disk.Power, disk.PowerKeepNames, disk.PowerTorn} {
			d := disk.NewForgetful()
			d.Seed = uint64(n)
			for _, stop := range []int64{n, n/2 + 1} {
				d.Before = disk.StopAt(d.Calls() + stop)
				if _, err := p.apply(d, n%2 == 0, 32<<10); err != nil && !errors.Is(err, disk.ErrCut) {
					t.Fatalf("call %d, %v: %v", n, mode, err)
				}
				d.Cut(mode)
			}
			d.Before = nil
			at, err := p.apply(d, n%3 == 0, 32<<10)
			if err != nil {
				t.Fatalf("call %d, %v: %v", n, mode, err)
			}
			if at > 0 {
				resumed++
			}
			p.check(t, d)
			if t.Failed() {
				t.Fatalf("after a cut at call %d of %d, %v", n, total, mode)
			}
		}
	}
	if resumed < int(total) {
		t.Errorf("only %d of %d went on, the others began anew", resumed, 4*total)
	}
}

// halfway gives a disk on which the work was killed in the middle.
func (p pair) halfway(t *testing.T, stride int64) *disk.Forgetful {
	t.Helper()
	whole := disk.NewForgetful()
	if _, err := p.apply(whole, false, stride); err != nil {
		t.Fatal(err)
	}
	d := disk.NewForgetful()
	d.Before = disk.StopAt(whole.Calls() * 2 / 3)
	if _, err := p.apply(d, false, stride); !errors.Is(err, disk.ErrCut) {
		t.Fatal(err)
	}
	d.Before = nil
	d.Cut(disk.Power)
	if at, err := p.apply(d.Clone(), false, stride); err != nil || at == 0 {
		t.Fatalf("it does not go on: at %d, %v", at, err)
	}
	return d
}

// TestResumeFromDamage flips every byte of the positions and of the partial
// file, and cuts both short.
func TestResumeFromDamage(t *testing.T) {
	p := newPair(t, 2, 6, 2<<10, 100)
	d := p.halfway(t, 4<<10)
	step := 1
	if testing.Short() {
		step = 37
	}
	for _, name := range []string{"/position", "/.new.part"} {
		was, err := disk.ReadFile(d, name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		refused, flips := 0, step
		if name != "/position" {
			flips = 7 * step // there one byte is like another
		}
		try := func(b []byte, what string, at int) {
			c := d.Clone()
			if err := disk.WriteFile(c, name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := p.apply(c, false, 4<<10); err != nil {
				refused++
				if !strings.Contains(err.Error(), "name one that is missing") {
					t.Errorf("%s %s at %d: %v", name, what, at, err)
				}
				return
			}
			p.check(t, c)
			if t.Failed() {
				t.Fatalf("%s %s at %d", name, what, at)
			}
		}
		for i := 0; i < len(was); i += flips {
			if was[i] == 0 && i%64 != 0 { // most zeros fill a page
				continue
			}
			b := bytes.Clone(was)
			b[i] ^= 1 << (i % 8)
			try(b, "flipped", i)
			if i%8 == 0 {
				try(was[:i], "cut", i)
			}
		}
		if refused > 0 {
			t.Errorf("%s: %d were refused; damage should begin anew", name, refused)
		}
	}
}

// TestForeignFile writes over nothing that somebody else may miss.
func TestForeignFile(t *testing.T) {
	for _, tt := range []struct {
		name, content string
		want          bool
	}{
		{"empty", "", false},
		{"the note of a lock", "process 12, boot 34", false},
		{"a note that a power cut took", strings.Repeat("\x00", 128), false},
		{"a text", "precious", true},
		{"a short text", "p", true},
		{"zeros and then a text", strings.Repeat("\x00", 7) + "text", true},
		{"a large file", "process " + strings.Repeat("x", positionPage*positionPages), true},
	} {
		d := disk.NewForgetful()
		if err := disk.WriteFile(d, "/file", []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := foreignFile(d, "/file"); got != tt.want || err != nil {
			t.Errorf("%s: %v, %v; want %v", tt.name, got, err, tt.want)
		}
	}
	if got, err := foreignFile(disk.NewForgetful(), "/file"); got || err != nil {
		t.Errorf("no file: %v, %v", got, err)
	}
}

// TestResumeOfAnother refuses positions of another patch, and keeps them.
func TestResumeOfAnother(t *testing.T) {
	p, other := newPair(t, 3, 6, 2<<10, 100), newPair(t, 4, 6, 2<<10, 100)
	d := p.halfway(t, 4<<10)
	if _, err := other.apply(d, false, 4<<10); err == nil || !strings.Contains(err.Error(), "another patch") {
		t.Errorf("another patch: %v", err)
	}
	wrongOld := pair{other.old, p.new, p.patch}
	if _, err := wrongOld.apply(d, false, 4<<10); !errors.Is(err, delta.ErrCorrupt) || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("another old file: %v", err)
	}
	if at, err := p.apply(d, false, 4<<10); err != nil || at == 0 {
		t.Errorf("the right patch does not go on then: at %d, %v", at, err)
	}
	p.check(t, d)
}

// TestResumeAfterInterrupt stops the program with a signal: it says that the
// same command goes on, and it does.
func TestResumeAfterInterrupt(t *testing.T) {
	p := newPair(t, 7, 128, 128<<10, 16<<10)
	dir := t.TempDir()
	for name, b := range map[string][]byte{"old": p.old, "patch": p.patch} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, said := resumeCommand(dir, "-")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	most := len(p.patch) * 9 / 10
	if _, err := in.Write(p.patch[:most]); err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_, _ = in.Write(p.patch[most : len(p.patch)-1]) // a read that is under way ends; the program may have
	_ = in.Close()
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != exitWaiting || !strings.Contains(said.String(), "the same command goes on") {
		t.Errorf("exit code %d, want %d\n%s", code, exitWaiting, said)
	}
	c, said = resumeCommand(dir, "patch")
	if err := c.Run(); err != nil || !strings.Contains(said.String(), "going on at") {
		t.Fatalf("%v\n%s", err, said)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "new")); err != nil || !bytes.Equal(got, p.new) {
		t.Errorf("the result is wrong (%d bytes, %v)", len(got), err)
	}
}

// resumeCommand makes the file new in dir, with positions.
func resumeCommand(dir, patch string) (*exec.Cmd, *bytes.Buffer) {
	c := exec.Command("updraft", "patch", "old", patch, "new", "--resume", "position")
	said := new(bytes.Buffer)
	c.Dir, c.Stdout, c.Stderr = dir, said, said
	return c, said
}

// TestResumeAfterKill kills the program itself, with a patch from a pipe, after
// a random part of it.
func TestResumeAfterKill(t *testing.T) {
	kills := 40
	if testing.Short() {
		kills = 6
	}
	p := newPair(t, 5, 256, 128<<10, 32<<10)
	dir := t.TempDir()
	for name, b := range map[string][]byte{"old": p.old, "patch": p.patch} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	resumed := 0
	rnd := rand.New(rand.NewPCG(1, 2))
	for kill := 1; kill <= kills; kill++ {
		c, said := resumeCommand(dir, "-")
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		// The pipe holds little, so the program has read and made about as
		// much as that.
		if _, err := in.Write(p.patch[:rnd.IntN(len(p.patch))]); err != nil {
			t.Fatalf("kill %d: %v\n%s", kill, err, said)
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		resumed += strings.Count(said.String(), "going on at")
		if kill%4 != 0 && kill != kills {
			continue
		}
		c, said = resumeCommand(dir, "patch")
		if err := c.Run(); err != nil {
			t.Fatalf("after kill %d: %v\n%s", kill, err, said)
		}
		resumed += strings.Count(said.String(), "going on at")
		got, err := os.ReadFile(filepath.Join(dir, "new"))
		if err != nil || !bytes.Equal(got, p.new) {
			t.Fatalf("after kill %d the result is wrong (%d bytes, %v)", kill, len(got), err)
		}
		if err := os.Remove(filepath.Join(dir, "new")); err != nil {
			t.Fatal(err)
		}
		names, err := os.ReadDir(dir)
		if err != nil || len(names) != 2 {
			t.Fatalf("after kill %d there are %v, %v", kill, names, err)
		}
	}
	t.Logf("%d kills, went on %d times", kills, resumed)
	if resumed < kills/4 {
		t.Errorf("of %d kills only %d were gone on after", kills, resumed)
	}
}
