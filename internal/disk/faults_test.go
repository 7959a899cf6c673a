package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The hook sees each call that changes something, in order, and no other.
func TestBefore(t *testing.T) {
	d := NewForgetful()
	var got []string
	d.Before = func(c Call) error {
		s := fmt.Sprint(c.N, " ", c.Op, " ", c.Name)
		if c.To != "" {
			s += " to " + c.To
		}
		if c.Op == "write" || c.Op == "truncate" {
			s += fmt.Sprintf(" %d+%d", c.Off, c.Len)
		}
		got = append(got, s)
		return nil
	}
	do(t, d, "mkdir d; write d/a text; write d/a xy; sync d/a; syncdir d; rename d/a d/b; symlink b d/l; cut d/l 123")
	do(t, sub(t, d, "d"), "patch b z; remove l")
	mustDo(t, withFile(d, "d/b", os.O_RDWR|os.O_CREATE, func(f File) error { return second(f.WriteAt(nil, 0)) }))
	for op, err := range map[string]error{
		"mkdir": d.Mkdir("d", 0o755), "remove": d.Remove("d"), "rename": d.Rename("none", "x"), "syncdir": d.SyncDir("none"),
		"open": second(d.OpenFile("none", os.O_RDWR, 0)), "symlink": d.Symlink("x", "d/b"), "lstat": second(d.Lstat("none")),
	} {
		if err == nil {
			t.Errorf("%s = nil, want an error", op)
		}
	}
	want := []string{
		"1 mkdir /d", "2 create /d/a", "3 write /d/a 0+4", "4 truncate /d/a 0+0", "5 write /d/a 0+2", "6 sync /d/a", "7 syncdir /d",
		"8 rename /d/a to /d/b", "9 symlink /d/l", "10 truncate /d/l 0+3", "11 write /d/b 0+1", "12 remove /d/l",
	}
	if !slices.Equal(got, want) {
		t.Errorf("calls:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if d.Calls() != 12 || d.Clone().Calls() != 0 {
		t.Errorf("Calls = %d, of a clone %d; want 12 and 0", d.Calls(), d.Clone().Calls())
	}
}

// A refused call returns the hook's error and does nothing, and only that one.
func TestFailAt(t *testing.T) {
	const setup = "mkdir d; write a text; symlink a l"
	for _, tt := range []struct {
		name string
		call func(d *Forgetful) error
	}{
		{"mkdir", func(d *Forgetful) error { return d.Mkdir("new", 0o755) }},
		{"create", func(d *Forgetful) error { return second(d.OpenFile("new", os.O_RDWR|os.O_CREATE, 0)) }},
		{"open to truncate", func(d *Forgetful) error { return second(d.OpenFile("a", os.O_RDWR|os.O_TRUNC, 0)) }},
		{"write", func(d *Forgetful) error {
			return withFile(d, "a", os.O_RDWR, func(f File) error { return second(f.WriteAt([]byte("x"), 0)) })
		}},
		{"truncate", func(d *Forgetful) error {
			return withFile(d, "a", os.O_RDWR, func(f File) error { return f.Truncate(1) })
		}},
		{"sync", func(d *Forgetful) error { return withFile(d, "a", os.O_RDWR, File.Sync) }},
		{"syncdir", func(d *Forgetful) error { return d.SyncDir(".") }},
		{"rename", func(d *Forgetful) error { return d.Rename("a", "b") }},
		{"remove", func(d *Forgetful) error { return d.Remove("d") }},
		{"symlink", func(d *Forgetful) error { return d.Symlink("a", "m") }},
	} {
		for _, want := range []error{syscall.EIO, syscall.ENOSPC, syscall.EROFS} {
			d := NewForgetful()
			do(t, d, setup)
			before := list(t, d, ".")
			d.Before = FailAt(d.Calls()+1, want)
			if err := tt.call(d); !errors.Is(err, want) || strings.HasPrefix(class(err), "not a PathError") {
				t.Errorf("%s = %v, want a PathError with %v", tt.name, err, want)
			}
			if got := list(t, d, "."); got != before {
				t.Errorf("%s failed and left %q, want %q", tt.name, got, before)
			}
			if err := tt.call(d); err != nil {
				t.Errorf("%s after the fault = %v, want nil", tt.name, err)
			}
		}
	}
}

func TestShortAt(t *testing.T) {
	d := NewForgetful()
	d.Before = ShortAt(3)
	f := must(d.OpenFile("a", os.O_RDWR|os.O_CREATE, 0o600))
	for i, tt := range []struct {
		n   int
		err error
	}{{5, nil}, {2, io.ErrShortWrite}, {5, nil}} {
		n, err := f.WriteAt([]byte("12345"), int64(5*i))
		if n != tt.n || !errors.Is(err, tt.err) {
			t.Errorf("write %d = %d, %v; want %d, %v", i, n, err, tt.n, tt.err)
		}
	}
	if got := list(t, d, "."); got != "a=123451200012345" {
		t.Errorf("content %q, want the half that was written", got)
	}
	d.Before = ShortAt(d.Calls() + 1)
	if err := f.Sync(); err != nil {
		t.Errorf("a call that is no write = %v, want nil", err)
	}
}

func TestStopAt(t *testing.T) {
	d := NewForgetful()
	d.Before = StopAt(2)
	do(t, d, "mkdir d")
	for range 3 {
		if err := d.Mkdir("e", 0o755); !errors.Is(err, ErrCut) {
			t.Errorf("call after the stop = %v, want ErrCut", err)
		}
	}
}

// The hook may cut, and it may panic as a process that dies does.
func TestHookCutsAndPanics(t *testing.T) {
	d := NewForgetful()
	do(t, d, "write a old; sync a; syncdir .")
	f := must(d.OpenFile("a", os.O_RDWR, 0))
	d.Before = func(Call) error { d.Cut(Power); return nil }
	for op, err := range map[string]error{"write": second(f.WriteAt([]byte("x"), 0)), "remove": d.Remove("a"), "create": second(d.OpenFile("b", os.O_RDWR|os.O_CREATE, 0))} {
		if !errors.Is(err, ErrCut) {
			t.Errorf("%s over a cut = %v, want ErrCut", op, err)
		}
	}
	d.Before = func(Call) error { panic("killed") }
	func() {
		defer func() {
			if recover() != "killed" {
				t.Error("the hook's panic did not come out")
			}
		}()
		_ = d.Remove("a")
	}()
	d.Before = nil
	if got := list(t, d, "."); got != "a=old" {
		t.Errorf("left %q, want what was there", got)
	}
}

// After a failed sync its bytes are seen but never get durable, unless they
// are written again.
func TestFailedSyncLosesItsBytes(t *testing.T) {
	old := strings.Repeat("o", 3*pageSize)
	fresh := strings.Repeat("n", 3*pageSize)
	for _, tt := range []struct {
		name  string
		again func(f File) error
		want  string
	}{
		{"synced again", func(f File) error { return nil }, old},
		{"the middle written again", func(f File) error { return second(f.WriteAt([]byte("n"), pageSize+9)) },
			old[:pageSize] + fresh[:pageSize] + old[:pageSize]},
		{"all written again", func(f File) error { return second(f.WriteAt([]byte(fresh), 0)) }, fresh},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := NewForgetful()
			mustDo(t, WriteFile(d, "a", []byte(old), 0))
			f := must(d.OpenFile("a", os.O_RDWR, 0))
			mustDo(t, second(f.WriteAt([]byte(fresh), 0)))
			d.Before = FailAt(d.Calls()+1, syscall.EIO)
			if err := f.Sync(); !errors.Is(err, syscall.EIO) {
				t.Fatalf("sync = %v, want EIO", err)
			}
			mustDo(t, f.Sync(), tt.again(f), f.Sync(), withFile(d, "a", os.O_RDWR, File.Sync))
			if got := string(must(ReadFile(d, "a", 1<<20))); got != fresh {
				t.Error("the new bytes are not seen before the cut")
			}
			d.Cut(Power)
			if got := string(must(ReadFile(d, "a", 1<<20))); got != tt.want {
				t.Errorf("left %s, want %s", pattern(got), pattern(tt.want))
			}
		})
	}
}

// pattern gives the first byte of each page.
func pattern(s string) (out string) {
	for i := 0; i < len(s); i += pageSize {
		out += s[i : i+1]
	}
	return out
}

func TestLieSync(t *testing.T) {
	d := NewForgetful()
	d.LieSync = func(name string) bool { return name == "/d/a" }
	do(t, d, "mkdir d; write d/a x; write d/b y; sync d/a; sync d/b; syncdir .; syncdir d")
	d.Cut(Power)
	if got := list(t, d, "."); got != "d/ d/a= d/b=y" {
		t.Errorf("left %q, want a to be empty", got)
	}
	do(t, d, "write d/a x; sync d/a")
	d.LieSync = nil
	do(t, d, "sync d/a")
	d.Cut(Power)
	if got := list(t, d, "."); got != "d/ d/a=x d/b=y" {
		t.Errorf("left %q, want an honest sync after a lie to hold", got)
	}
}

func TestCapacity(t *testing.T) {
	d := NewForgetful()
	if free := must(d.Free(".")); free < 1<<50 {
		t.Errorf("free without a capacity = %d, want plenty", free)
	}
	d.Capacity = 10000
	mustDo(t, WriteFile(d, "a", make([]byte, 6000), 0))
	f := must(d.OpenFile("b", os.O_RDWR|os.O_CREATE, 0o600))
	free := func(want int64) {
		t.Helper()
		if got := must(d.Free(".")); got != want {
			t.Errorf("free = %d, want %d", got, want)
		}
	}
	free(4000)
	mustDo(t, f.Truncate(1<<40), f.Truncate(0))
	free(4000)
	if n, err := f.WriteAt(make([]byte, 4000), 0); n != 4000 || err != nil {
		t.Errorf("write that just fits = %d, %v", n, err)
	}
	if n, err := f.WriteAt(make([]byte, 4000), 0); n != 4000 || err != nil {
		t.Errorf("write over it = %d, %v", n, err)
	}
	if n, err := f.WriteAt(make([]byte, 1), 4000); n != 0 || !IsNoSpace(err) {
		t.Errorf("write of one byte more = %d, %v; want ENOSPC", n, err)
	}
	if err := WriteFile(d, "a", make([]byte, 6000), 0); !IsNoSpace(err) {
		t.Errorf("WriteFile on a full disk = %v, want ENOSPC", err)
	}
	free(0)
	mustDo(t, f.Truncate(0))
	if n, err := f.WriteAt(make([]byte, 5000), 0); n != 0 || !IsNoSpace(err) {
		t.Errorf("write of too much = %d, %v; want the pages that fit, none, and ENOSPC", n, err)
	}
	mustDo(t, second(f.WriteAt(make([]byte, 1000), 0)), d.Remove("b"))
	free(3000)
	mustDo(t, f.Close())
	free(4000)
	mustDo(t, d.Remove("a"))
	free(10000)
	d.Cut(Power)
	free(4000) // the removal was not synced
	if got := must(d.Clone().Free(".")); got != 4000 {
		t.Errorf("free on a clone = %d, want 4000", got)
	}
}
