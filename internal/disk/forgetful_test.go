package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// do runs a script, one call a clause, on a disk.
func do(t *testing.T, fsys FS, script string) {
	t.Helper()
	for line := range strings.SplitSeq(script, ";") {
		w := append(strings.Fields(line), "", "", "")
		var err error
		switch w[0] {
		case "":
		case "write": // the whole file
			err = withFile(fsys, w[1], os.O_RDWR|os.O_CREATE|os.O_TRUNC, func(f File) error {
				return second(f.WriteAt([]byte(w[2]), 0))
			})
		case "patch": // from the start, without cutting
			err = withFile(fsys, w[1], os.O_RDWR, func(f File) error { return second(f.WriteAt([]byte(w[2]), 0)) })
		case "cut":
			err = withFile(fsys, w[1], os.O_RDWR, func(f File) error { return f.Truncate(int64(len(w[2]))) })
		case "sync":
			err = withFile(fsys, w[1], os.O_RDONLY, File.Sync)
		case "syncdir":
			err = fsys.SyncDir(w[1])
		case "mkdir":
			err = fsys.Mkdir(w[1], 0o755)
		case "rename":
			err = fsys.Rename(w[1], w[2])
		case "remove":
			err = fsys.Remove(w[1])
		case "symlink":
			err = fsys.Symlink(w[1], w[2])
		default:
			err = errors.New("unknown call in the script")
		}
		if err != nil {
			t.Fatalf("%s: %v", strings.TrimSpace(line), err)
		}
	}
}

func withFile(fsys FS, name string, flag int, use func(File) error) error {
	f, err := fsys.OpenFile(name, flag, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(use(f), f.Close())
}

// list tells what is on a disk: "a=text d/ d/l->a".
func list(t *testing.T, fsys FS, dir string) string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case e.IsDir():
			out = append(out, name+"/")
			if below := list(t, fsys, name); below != "" {
				out = append(out, below)
			}
		case e.Type()&fs.ModeSymlink != 0:
			out = append(out, name+"->"+must(fsys.Readlink(name)))
		default:
			out = append(out, name+"="+string(must(ReadFile(fsys, name, 1<<20))))
		}
	}
	return strings.ReplaceAll(strings.Join(out, " "), "\x00", "0")
}

// What a cut leaves.
func TestCut(t *testing.T) {
	for _, tt := range []struct{ name, script, kill, power, names string }{
		{"nothing synced", "write a x", "a=x", "", "a="},
		{"content but not the name", "write a x; sync a", "a=x", "", "a=x"},
		{"name but not the content", "write a x; syncdir .", "a=x", "a=", "a="},
		{"both", "write a x; sync a; syncdir .", "a=x", "a=x", "a=x"},
		{"overwritten", "write a old; sync a; syncdir .; write a fresh", "a=fresh", "a=old", "a=old"},
		{"overwritten in part", "write a old; sync a; syncdir .; patch a X", "a=Xld", "a=old", "a=old"},
		{"cut short", "write a old; sync a; syncdir .; cut a 1", "a=o", "a=old", "a=old"},
		{"cut short and synced", "write a old; sync a; syncdir .; cut a 1; sync a", "a=o", "a=o", "a=o"},
		{"cut short, extended, synced", "write a old; sync a; syncdir .; cut a 1; cut a 12345; sync a", "a=o0000", "a=o0000", "a=o0000"},
		{"extended", "write a o; sync a; syncdir .; cut a 123", "a=o00", "a=o", "a=o"},
		{"renamed", "write a x; sync a; syncdir .; rename a b", "b=x", "a=x", "b=x"},
		{"renamed and synced", "write a x; sync a; syncdir .; rename a b; syncdir .", "b=x", "b=x", "b=x"},
		{"renamed over before its sync", "write a old; sync a; write n new; syncdir .; rename n a", "a=new", "a=old n=", "a="},
		{"renamed over, name synced alone", "write a old; sync a; syncdir .; write n new; rename n a; syncdir .", "a=new", "a=", "a="},
		{"renamed over, all synced", "write a old; sync a; syncdir .; write n new; sync n; rename n a; syncdir .", "a=new", "a=new", "a=new"},
		{"removed", "write a x; sync a; syncdir .; remove a", "", "a=x", ""},
		{"removed and synced", "write a x; sync a; syncdir .; remove a; syncdir .", "", "", ""},
		{"removed and made anew", "write a old; sync a; syncdir .; remove a; write a new; sync a", "a=new", "a=old", "a=new"},
		{"folder", "mkdir d", "d/", "", "d/"},
		{"folder synced itself, not the one above", "mkdir d; write d/a x; sync d/a; syncdir d", "d/ d/a=x", "", "d/ d/a=x"},
		{"folder above synced, not itself", "mkdir d; write d/a x; sync d/a; syncdir .", "d/ d/a=x", "d/", "d/ d/a=x"},
		{"both folders synced", "mkdir d; write d/a x; sync d/a; syncdir .; syncdir d", "d/ d/a=x", "d/ d/a=x", "d/ d/a=x"},
		{"folder emptied and removed", "mkdir d; write d/a x; sync d/a; syncdir .; syncdir d; remove d/a; remove d", "", "d/ d/a=x", ""},
		{"link", "symlink a l", "l->a", "", "l->a"},
		{"link synced", "symlink a l; syncdir .", "l->a", "l->a", "l->a"},
		{"link replaced", "symlink a l; syncdir .; symlink b n; rename n l", "l->b", "l->a", "l->b"},
		{"moved, nothing synced", "mkdir d; mkdir e; write d/a x; sync d/a; syncdir .; syncdir d; rename d/a e/a", "d/ e/ e/a=x", "d/ d/a=x e/", "d/ e/ e/a=x"},
		{"moved, new place synced: both names", "mkdir d; mkdir e; write d/a x; sync d/a; syncdir .; syncdir d; rename d/a e/a; syncdir e", "d/ e/ e/a=x", "d/ d/a=x e/ e/a=x", "d/ e/ e/a=x"},
		{"moved, old place synced: no name", "mkdir d; mkdir e; write d/a x; sync d/a; syncdir .; syncdir d; rename d/a e/a; syncdir d", "d/ e/ e/a=x", "d/ e/", "d/ e/ e/a=x"},
		{"folder moved, new place synced: one name", "mkdir d; mkdir e; mkdir d/f; write d/f/a x; sync d/f/a; syncdir .; syncdir d; syncdir d/f; rename d/f e/g; syncdir e",
			"d/ e/ e/g/ e/g/a=x", "d/ e/ e/g/ e/g/a=x", "d/ e/ e/g/ e/g/a=x"},
		{"renamed there and back", "write a x; sync a; syncdir .; rename a b; rename b a", "a=x", "a=x", "a=x"},
		{"folder renamed there and back", "mkdir d; write d/a x; sync d/a; syncdir .; syncdir d; rename d e; rename e d; syncdir .", "d/ d/a=x", "d/ d/a=x", "d/ d/a=x"},
		{"synced by another name", "write a x; symlink a l; sync l; syncdir .", "a=x l->a", "a=x l->a", "a=x l->a"},
	} {
		for mode, want := range map[Cut]string{Kill: tt.kill, Power: tt.power, PowerKeepNames: tt.names} {
			t.Run(tt.name+", "+mode.String(), func(t *testing.T) {
				d := NewForgetful()
				do(t, d, tt.script)
				twin := d.Clone()
				d.Cut(mode)
				if got := list(t, d, "."); got != want {
					t.Errorf("left %q, want %q", got, want)
				}
				if mode != Kill {
					d.Cut(Power)
					if got := list(t, d, "."); got != want {
						t.Errorf("a second cut left %q, want %q", got, want)
					}
				}
				if got := list(t, twin, "."); got != tt.kill {
					t.Errorf("the clone shows %q, want %q", got, tt.kill)
				}
				twin.Cut(mode)
				if got := list(t, twin, "."); got != want {
					t.Errorf("the clone was left %q, want %q", got, want)
				}
			})
		}
	}
}

// A cut in which the program alone died leaves unsynced bytes unsynced.
func TestKillThenPower(t *testing.T) {
	d := NewForgetful()
	do(t, d, "write a old; sync a; syncdir .; write a new")
	d.Cut(Kill)
	d.Cut(Power)
	if got := list(t, d, "."); got != "a=old" {
		t.Errorf("left %q, want the old content", got)
	}
}

func TestFilesEndWithACut(t *testing.T) {
	for _, mode := range []Cut{Kill, Power, PowerKeepNames, PowerTorn} {
		d := NewForgetful()
		f := must(d.OpenFile("a", os.O_RDWR|os.O_CREATE, 0o600))
		d.Cut(mode)
		for op, err := range map[string]error{
			"read": second(f.ReadAt(make([]byte, 1), 0)), "write": second(f.WriteAt([]byte("x"), 0)),
			"truncate": f.Truncate(1), "sync": f.Sync(), "size": second(f.Size()), "close": f.Close(),
		} {
			if !errors.Is(err, ErrCut) {
				t.Errorf("%s: %s = %v, want ErrCut", mode, op, err)
			}
		}
		mustDo(t, WriteFile(d, "b", nil, 0))
	}
}

// Torn writes: each 512-byte sector is old or new, some are either, and the
// same seed gives the same.
func TestTornWrites(t *testing.T) {
	const size = 40*pageSize + 700
	fill := func(d *Forgetful, b byte) error {
		return withFile(d, "a", os.O_RDWR|os.O_CREATE, func(f File) error {
			return second(f.WriteAt(bytes.Repeat([]byte{b}, size), 0))
		})
	}
	base := NewForgetful()
	mustDo(t, fill(base, 'o'), withFile(base, "a", os.O_RDWR, File.Sync), base.SyncDir("."), fill(base, 'n'))
	seen := map[string]int{}
	for seed := range uint64(10) {
		var got [2][]byte
		for i := range got {
			d := base.Clone()
			d.Seed = seed
			d.Cut(PowerTorn)
			got[i] = must(ReadFile(d, "a", size))
			d.Cut(Power)
			if !bytes.Equal(must(ReadFile(d, "a", size)), got[i]) {
				t.Fatalf("seed %d: what is left changes by another cut", seed)
			}
		}
		if !bytes.Equal(got[0], got[1]) {
			t.Fatalf("seed %d gives two results", seed)
		}
		fresh := 0
		for at := 0; at < size; at += 512 {
			sector := got[0][at:min(at+512, size)]
			if n := bytes.Count(sector, []byte("n")); n == len(sector) {
				fresh++
			} else if n != 0 {
				t.Fatalf("seed %d: the sector at %d is half new", seed, at)
			}
		}
		if fresh < 100 || fresh > 222 {
			t.Errorf("seed %d: %d of 322 sectors are new, want about half", seed, fresh)
		}
		seen[string(got[0])]++
	}
	if len(seen) != 10 {
		t.Errorf("10 seeds give %d results", len(seen))
	}
}

// A size that was not synced is kept by some torn cuts and not by others.
func TestTornSize(t *testing.T) {
	base := NewForgetful()
	do(t, base, "write a old; sync a; syncdir .; write a longer")
	sizes := map[int]int{}
	for seed := range uint64(20) {
		d := base.Clone()
		d.Seed = seed
		d.Cut(PowerTorn)
		sizes[len(must(ReadFile(d, "a", 99)))]++
	}
	if len(sizes) != 2 || sizes[3] == 0 || sizes[6] == 0 {
		t.Errorf("sizes left = %v, want some 3 and some 6", sizes)
	}
}

// One file against a plain model of it, with failed syncs and cuts.
func TestContentAgainstAModel(t *testing.T) {
	const limit = 300 * pageSize
	for seed := range uint64(3) {
		dice := rand.New(rand.NewPCG(seed, 2))
		d := NewForgetful()
		do(t, d, "write a x; sync a; syncdir .")
		m := model{live: []byte("x"), kept: []byte("x"), dirty: map[int]bool{}, low: 1}
		f := must(d.OpenFile("a", os.O_RDWR, 0))
		for i := range 1200 {
			off := dice.IntN(limit)
			switch op := dice.IntN(40); {
			case op == 0:
				mustDo(t, f.Truncate(int64(off)))
				m.truncate(off)
			case op < 4:
				mustDo(t, f.Sync())
				m.sync()
			case op == 4:
				d.Before = func(Call) error { return syscall.EIO }
				if err := f.Sync(); !errors.Is(err, syscall.EIO) {
					t.Fatalf("sync = %v, want EIO", err)
				}
				d.Before = nil
				clear(m.dirty)
			case op == 5:
				d.Cut(Power)
				f = must(d.OpenFile("a", os.O_RDWR, 0))
				m.live, m.low = bytes.Clone(m.kept), len(m.kept)
				clear(m.dirty)
			case op == 6:
				old := d
				d = d.Clone()
				mustDo(t, withFile(old, "a", os.O_RDWR, func(f File) error {
					return errors.Join(second(f.WriteAt(make([]byte, 3*pageSize), int64(off))), f.Sync())
				}))
				f = must(d.OpenFile("a", os.O_RDWR, 0))
			default:
				p := bytes.Repeat([]byte{byte(dice.Uint32())}, 1+dice.IntN(3*pageSize))
				if got := must(f.WriteAt(p, int64(off))); got != len(p) {
					t.Fatalf("wrote %d of %d", got, len(p))
				}
				m.write(p, off)
			}
			if i%10 == 0 && !bytes.Equal(must(ReadFile(d, "a", 1<<30)), m.live) {
				t.Fatalf("seed %d, call %d: the content is not that of the model", seed, i)
			}
		}
	}
}

type model struct {
	live, kept []byte
	dirty      map[int]bool
	low        int
}

func (m *model) truncate(size int) {
	m.live = append(m.live[:min(size, len(m.live)):min(size, len(m.live))], make([]byte, max(0, size-len(m.live)))...)
	m.low = min(m.low, size)
	m.dirty[size/pageSize] = true
}

func (m *model) write(p []byte, off int) {
	if end := off + len(p); end > len(m.live) {
		m.live = append(m.live, make([]byte, end-len(m.live))...)
	}
	copy(m.live[off:], p)
	for i := off / pageSize; i <= (off+len(p)-1)/pageSize; i++ {
		m.dirty[i] = true
	}
}

func (m *model) sync() {
	kept := make([]byte, len(m.live))
	copy(kept, m.kept[:min(m.low, len(m.kept))])
	for i := range m.dirty {
		if start := i * pageSize; start < len(m.live) {
			end := min(start+pageSize, len(m.live))
			copy(kept[start:end], m.live[start:end])
		}
	}
	m.kept, m.low = kept, len(m.live)
	clear(m.dirty)
}

// Sync, Clone and Cut of a large file cost what was changed.
func TestCostsAreThoseOfTheChange(t *testing.T) {
	allocs := func(size int64) float64 {
		d := NewForgetful()
		mustDo(t, withFile(d, "a", os.O_RDWR|os.O_CREATE, func(f File) error {
			return errors.Join(second(f.WriteAt(bytes.Repeat([]byte("x"), int(size)), 0)), f.Sync())
		}), d.SyncDir("."))
		return testing.AllocsPerRun(10, func() {
			c := d.Clone()
			err := withFile(c, "a", os.O_RDWR, func(f File) error {
				return errors.Join(second(f.WriteAt([]byte("y"), size/2)), f.Sync(), second(f.WriteAt([]byte("z"), size/3)))
			})
			if err != nil {
				t.Fatal(err)
			}
			c.Cut(PowerTorn)
		})
	}
	small, large := allocs(1<<20), allocs(64<<20)
	if large > small+20 {
		t.Errorf("%.0f allocations with 64 MiB, %.0f with 1 MiB; want about as many", large, small)
	}
}

func BenchmarkCrashPoint(b *testing.B) {
	const size = 10 << 20
	d := NewForgetful()
	err := withFile(d, "a", os.O_RDWR|os.O_CREATE, func(f File) error {
		return errors.Join(second(f.WriteAt(bytes.Repeat([]byte("x"), size), 0)), f.Sync())
	})
	if err = errors.Join(err, d.SyncDir(".")); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c := d.Clone()
		err := withFile(c, "a", os.O_RDWR, func(f File) error {
			return errors.Join(second(f.WriteAt([]byte("y"), size/2)), f.Sync())
		})
		if err != nil {
			b.Fatal(err)
		}
		c.Cut(Power)
	}
}

func TestCopyFrom(t *testing.T) {
	src := sub(t, OS(), t.TempDir())
	do(t, src, "mkdir d; mkdir d/e; write d/a text; symlink ../x d/e/l; write b other")
	mustDo(t, withFile(src, "d/big", os.O_RDWR|os.O_CREATE, func(f File) error {
		return errors.Join(f.Truncate(5<<20), second(f.WriteAt([]byte("end"), 5<<20)))
	}))
	d := NewForgetful()
	mustDo(t, d.CopyFrom(src, "d", "/dev/copy"), d.CopyFrom(src, "b", "dev/b"), d.CopyFrom(src, "b", "dev/copy/a"))
	if d.Calls() != 0 {
		t.Errorf("%d calls, want 0", d.Calls())
	}
	d.Cut(Power)
	big := must(ReadFile(d, "dev/copy/big", 6<<20))
	if string(big[5<<20:]) != "end" || bytes.Count(big, []byte{0}) != 5<<20 {
		t.Error("the large file differs")
	}
	if d.used > 3*pageSize {
		t.Errorf("%d bytes used, want holes to stay holes", d.used)
	}
	mustDo(t, d.Remove("dev/copy/big"))
	if got, want := list(t, d, "."), "dev/ dev/b=other dev/copy/ dev/copy/a=other dev/copy/e/ dev/copy/e/l->../x"; got != want {
		t.Errorf("copied %q, want %q", got, want)
	}
	if err := d.CopyFrom(src, "b", "dev/copy"); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("a file over a folder = %v, want EISDIR", err)
	}
	if err := d.CopyFrom(src, "b", "dev/b/below"); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file below a file = %v, want ENOTDIR", err)
	}
	if err := d.CopyFrom(OS(), "/dev/null", "null"); err == nil {
		t.Error("a character device was copied")
	}
	other := NewForgetful()
	mustDo(t, other.CopyFrom(d, "dev", "."), d.CopyFrom(d, "dev/b", "self"))
	if got, want := list(t, other, "."), "b=other copy/ copy/a=other copy/e/ copy/e/l->../x"; got != want {
		t.Errorf("copied %q, want %q", got, want)
	}
}

func TestForgetfulIsShared(t *testing.T) {
	d := NewForgetful()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			name := fmt.Sprint("file", i)
			for range 50 {
				if err := WriteFile(d, name, bytes.Repeat([]byte(name), 3000), 0); err != nil {
					t.Error(err)
				}
				c := d.Clone()
				c.Cut(PowerTorn)
			}
		})
	}
	all.Wait()
	d.Cut(Power)
	for i := range 4 {
		if got := must(ReadFile(d, fmt.Sprint("file", i), 1<<20)); len(got) != 15000 {
			t.Errorf("file%d has %d bytes, want 15000", i, len(got))
		}
	}
}
