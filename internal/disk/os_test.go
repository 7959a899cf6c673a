package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A file whose Sync failed stays failed. A null device cannot be synced.
func TestFailedSyncPoisonsTheFile(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs a device whose sync fails")
	}
	for kind, fsys := range map[string]FS{"host": OS(), "sub": sub(t, OS(), "/dev")} {
		name := map[string]string{"host": "/dev/null", "sub": "null"}[kind]
		f := must(fsys.OpenFile(name, os.O_RDWR, 0))
		if n, err := f.WriteAt([]byte("x"), 0); n != 1 || err != nil {
			t.Fatalf("%s: write before the sync = %d, %v", kind, n, err)
		}
		first := f.Sync()
		if !errors.Is(first, syscall.EINVAL) {
			t.Fatalf("%s: sync = %v, want EINVAL", kind, first)
		}
		for op, err := range map[string]error{"sync": f.Sync(), "write": second(f.WriteAt([]byte("x"), 0)), "truncate": f.Truncate(0)} {
			if err != first {
				t.Errorf("%s: %s after it = %v, want the same error", kind, op, err)
			}
		}
		mustDo(t, f.Close())
	}
}

func TestOpenRefuses(t *testing.T) {
	for kind, fsys := range bothKinds(t) {
		mustDo(t, fsys.Mkdir("d", 0o755))
		for _, tt := range []struct {
			name, file string
			flag       int
			want       error
		}{
			{"a folder to read", "d", os.O_RDONLY, syscall.EISDIR},
			{"a folder to write", "d", os.O_RDWR, syscall.EISDIR},
			{"appending", "new", os.O_RDWR | os.O_CREATE | os.O_APPEND, syscall.EINVAL},
			{"a missing file", "none", os.O_RDWR, fs.ErrNotExist},
			{"a name with a zero", "a\x00b", os.O_RDWR | os.O_CREATE, syscall.EINVAL},
			{"a long name", strings.Repeat("x", 256), os.O_RDWR | os.O_CREATE, syscall.ENAMETOOLONG},
		} {
			if _, err := fsys.OpenFile(tt.file, tt.flag, 0o600); !errors.Is(err, tt.want) {
				t.Errorf("%s: %s = %v, want %v", kind, tt.name, err, tt.want)
			}
		}
		if got := list(t, fsys, "."); got != "d/" {
			t.Errorf("%s: left %q, want nothing new", kind, got)
		}
	}
}

// Links are followed, but not for ever.
func TestLinkLoops(t *testing.T) {
	for kind, fsys := range bothKinds(t) {
		do(t, fsys, "symlink a b; symlink b a; symlink . self")
		if err := second(fsys.OpenFile("a", os.O_RDONLY, 0)); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("%s: a loop of links = %v, want ELOOP", kind, err)
		}
		if _, err := fsys.Lstat("self/self/self/a"); err != nil {
			t.Errorf("%s: a few links = %v, want nil", kind, err)
		}
	}
}

// The size of a block device, against what the kernel says.
func TestSizeOfBlockDevice(t *testing.T) {
	entries, err := os.ReadDir("/sys/block")
	if err != nil {
		t.Skip("the kernel lists no block devices")
	}
	for _, e := range entries {
		f, err := OS().OpenFile("/dev/"+e.Name(), os.O_RDONLY, 0)
		if err != nil {
			continue
		}
		defer f.Close() //nolint:errcheck // it was only read
		text, err := os.ReadFile(filepath.Join("/sys/block", e.Name(), "size"))
		if err != nil {
			t.Fatal(err)
		}
		sectors, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if sectors == 0 {
			continue
		}
		if got, err := f.Size(); got != sectors*512 || err != nil {
			t.Errorf("size of %s = %d, %v; want %d", e.Name(), got, err, sectors*512)
		}
		return
	}
	t.Skip("no block device may be opened")
}

func TestFree(t *testing.T) {
	dir := t.TempDir()
	mustDo(t, WriteFile(OS(), dir+"/a", nil, 0))
	for name, free := range map[string]func() (int64, error){
		"folder": func() (int64, error) { return OS().Free(dir) },
		"file":   func() (int64, error) { return OS().Free(dir + "/a") },
		"sub":    func() (int64, error) { return sub(t, OS(), dir).Free(".") },
	} {
		if got, err := free(); got <= 0 || err != nil {
			t.Errorf("free by %s = %d, %v; want more than nothing", name, got, err)
		}
	}
	if _, err := OS().Free(dir + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("free of a missing name = %v, want ErrNotExist", err)
	}
}

// An error with two names still is a PathError, and shows both.
func TestErrorsNameBothNames(t *testing.T) {
	for kind, fsys := range bothKinds(t) {
		err := fsys.Rename("from", "to")
		var p *fs.PathError
		if !errors.As(err, &p) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(fmt.Sprint(err), "from") || !strings.Contains(fmt.Sprint(err), "to") {
			t.Errorf("%s: rename = %v, want a PathError with both names", kind, err)
		}
	}
}

func TestIsNoSpaceAndIsReadOnly(t *testing.T) {
	for err, want := range map[error][2]bool{
		&fs.PathError{Op: "write", Path: "a", Err: syscall.ENOSPC}: {true, false},
		&fs.PathError{Op: "write", Path: "a", Err: syscall.EDQUOT}: {true, false},
		&fs.PathError{Op: "write", Path: "a", Err: syscall.EROFS}:  {false, true},
		syscall.EIO: {false, false},
	} {
		if got := [2]bool{IsNoSpace(err), IsReadOnly(err)}; got != want {
			t.Errorf("%v: no space, read-only = %v, want %v", err, got, want)
		}
	}
}
