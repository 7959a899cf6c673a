package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// class gives the part of an error in which two file systems must agree.
func class(err error) string {
	var no syscall.Errno
	var p *fs.PathError
	switch {
	case err == nil:
		return "ok"
	case err == io.EOF:
		return "EOF"
	case !errors.As(err, &p):
		return "not a PathError: " + err.Error()
	case errors.Is(err, fs.ErrClosed):
		return "closed"
	case errors.As(err, &no):
		return no.Error()
	case errors.Is(err, errLeaves), strings.Contains(err.Error(), "path escapes from parent"):
		return "leaves"
	case strings.Contains(err.Error(), "negative offset"):
		return syscall.EINVAL.Error()
	}
	return err.Error()
}

// player plays random calls on a file system and writes down what it sees.
type player struct {
	fsys  FS
	dice  *rand.Rand
	start string // of names
	outer bool   // names and links that lead out, too
	files [4]File
}

func (p *player) name() string {
	n := 1 + p.dice.IntN(3)
	elems := make([]string, 0, n)
	for range n {
		elems = append(elems, string("abcd"[p.dice.IntN(4)]))
	}
	if p.dice.IntN(8) == 0 {
		elems[p.dice.IntN(n)] = []string{".", ".."}[p.dice.IntN(2)]
	}
	name := path.Join(elems...)
	if !p.outer {
		name = path.Join("/", name)[1:]
		if name == "" {
			name = "a"
		}
	} else if p.dice.IntN(30) == 0 {
		name = []string{"/etc", "../..", "a/../../x", "/"}[p.dice.IntN(4)]
	}
	return p.start + name
}

func (p *player) target() string {
	targets := []string{"a", "b/c", ".", "a/b", "nowhere"}
	if p.outer {
		targets = append(targets, "..", "/etc", "../../x", "b/../..", "c/../a")
	} else {
		targets = append(targets, p.start+"b", p.start+"a/c")
	}
	return targets[p.dice.IntN(len(targets))]
}

// play makes one call and tells it with its result.
func (p *player) play() string {
	i := p.dice.IntN(len(p.files))
	f := p.files[i]
	switch op := p.dice.IntN(20); {
	case op < 3:
		return p.open(i)
	case op < 11 && f != nil:
		return fmt.Sprintf("file %d: ", i) + p.useFile(i)
	case op < 13:
		name := p.name()
		return fmt.Sprintf("mkdir %s: %s", name, class(p.fsys.Mkdir(name, 0o755)))
	case op < 15:
		from, to := p.name(), p.name()
		return fmt.Sprintf("rename %s %s: %s", from, to, class(p.fsys.Rename(from, to)))
	case op == 15:
		name := p.name()
		return fmt.Sprintf("remove %s: %s", name, class(p.fsys.Remove(name)))
	case op == 16:
		target, name := p.target(), p.name()
		return fmt.Sprintf("symlink %s %s: %s", target, name, class(p.fsys.Symlink(target, name)))
	case op == 17:
		name := p.name()
		target, err := p.fsys.Readlink(name)
		return fmt.Sprintf("readlink %s: %q %s", name, target, class(err))
	case op == 18:
		name := p.name()
		return fmt.Sprintf("syncdir %s: %s", name, class(p.fsys.SyncDir(name)))
	}
	name := p.name()
	return fmt.Sprintf("lstat %s: %s", name, describe(p.fsys, name))
}

func (p *player) open(i int) string {
	if p.files[i] != nil {
		_ = p.files[i].Close()
		p.files[i] = nil
	}
	flags := []int{os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_CREATE, os.O_RDWR | os.O_CREATE,
		os.O_RDWR | os.O_CREATE | os.O_EXCL, os.O_RDWR | os.O_CREATE | os.O_TRUNC, os.O_WRONLY | os.O_CREATE | os.O_TRUNC}
	flag, name := flags[p.dice.IntN(len(flags))], p.name()
	f, err := p.fsys.OpenFile(name, flag, 0o644)
	if err == nil {
		p.files[i] = f
	}
	return fmt.Sprintf("open %d %s %#x: %s", i, name, flag, class(err))
}

func (p *player) useFile(i int) string {
	f := p.files[i]
	off, n := p.dice.Int64N(3*pageSize)-1, p.dice.IntN(2*pageSize)
	switch p.dice.IntN(10) {
	case 0:
		return fmt.Sprintf("truncate %d: %s", off, class(f.Truncate(off)))
	case 1:
		return fmt.Sprintf("sync: %s", class(f.Sync()))
	case 2:
		size, err := f.Size()
		return fmt.Sprintf("size: %d %s", size, class(err))
	case 3:
		err := f.Close()
		if p.dice.IntN(2) == 0 {
			p.files[i] = nil
		}
		return fmt.Sprintf("close: %s", class(err))
	case 4, 5, 6:
		buf := make([]byte, n)
		got, err := f.ReadAt(buf, off)
		return fmt.Sprintf("read %d+%d: %s %s", off, n, summary(buf[:got]), class(err))
	}
	buf := make([]byte, n)
	for j := range buf {
		buf[j] = byte(p.dice.Uint32())
	}
	got, err := f.WriteAt(buf, off)
	return fmt.Sprintf("write %d+%d: %d %s", off, n, got, class(err))
}

func summary(b []byte) string {
	sum := uint64(14695981039346656037)
	for _, c := range b {
		sum = (sum ^ uint64(c)) * 1099511628211
	}
	return fmt.Sprintf("%d bytes %x", len(b), sum)
}

func describe(fsys FS, name string) string {
	info, err := fsys.Lstat(name)
	if err != nil {
		return class(err)
	}
	switch {
	case info.IsDir():
		return info.Mode().String()
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Sprint("link ", info.Size())
	}
	return fmt.Sprint(info.Mode(), " ", info.Size())
}

// tree tells all that is below a folder.
func tree(t *testing.T, fsys FS, dir string) string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return fmt.Sprintf("%s: %s\n", dir, class(err))
	}
	var out strings.Builder
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		fmt.Fprintf(&out, "%s %s", name, describe(fsys, name))
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			target, err := fsys.Readlink(name)
			fmt.Fprintf(&out, " -> %s %s", target, class(err))
		case e.Type().IsRegular():
			data, err := ReadFile(fsys, name, 1<<20)
			fmt.Fprintf(&out, " %s %s", summary(data), class(err))
		}
		out.WriteString("\n")
		if e.IsDir() {
			out.WriteString(tree(t, fsys, name))
		}
	}
	return out.String()
}

func sub(t *testing.T, fsys FS, name string) FS {
	t.Helper()
	s, err := fsys.Sub(name)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := s.(io.Closer); ok {
		t.Cleanup(func() { _ = c.Close() })
	}
	return s
}

// The same random calls on the host and on the fake show the same.
func TestOSAndForgetfulBehaveAlike(t *testing.T) {
	const calls = 4000
	for seed := range uint64(3) {
		for _, jailed := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed %d, sub %v", seed, jailed), func(t *testing.T) {
				dir := filepath.ToSlash(t.TempDir())
				fake := NewForgetful()
				if err := MkdirAll(fake, dir, 0o755); err != nil {
					t.Fatal(err)
				}
				one := player{fsys: OS(), dice: rand.New(rand.NewPCG(seed, 1)), start: dir + "/"}
				two := player{fsys: fake, dice: rand.New(rand.NewPCG(seed, 1)), start: dir + "/"}
				top := dir
				if jailed {
					one.fsys, one.start, one.outer = sub(t, one.fsys, dir), "", true
					two.fsys, two.start, two.outer = sub(t, two.fsys, dir), "", true
					top = "."
				}
				compare(t, &one, &two, top, calls)
			})
		}
	}
}

func compare(t *testing.T, one, two *player, top string, calls int) {
	t.Helper()
	done := map[string]int{}
	for i := range calls {
		a, b := one.play(), two.play()
		if a != b {
			t.Fatalf("call %d:\n  host: %s\n  fake: %s", i, a, b)
		}
		done[a[strings.LastIndex(a, ":")+1:]]++
		if i%20 != 0 {
			continue
		}
		if a, b := tree(t, one.fsys, top), tree(t, two.fsys, top); a != b {
			t.Fatalf("after call %d:\n--- host:\n%s--- fake:\n%s", i, a, b)
		}
		// Start over now and then, or links make of everything an error.
		if i%200 == 0 {
			for _, p := range []*player{one, two} {
				for _, e := range must(p.fsys.ReadDir(top)) {
					if err := RemoveAll(p.fsys, path.Join(top, e.Name())); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	for _, f := range append(one.files[:], two.files[:]...) {
		if f != nil {
			_ = f.Close()
		}
	}
	if got, want := two.fsys.(interface{ usage() (int64, int64) }).usage(); got != want {
		t.Errorf("the fake counts %d bytes used, want %d", got, want)
	}
	if done[" ok"] < calls/10 {
		t.Errorf("%d of %d calls succeeded, expected a tenth at least: %v", done[" ok"], calls, done)
	}
}

// usage is what the disk counts as used, and what a count by hand gives.
func (v view) usage() (counted, found int64) {
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	var walk func(n *inode)
	walk = func(n *inode) {
		if n.file != nil {
			c := &n.file.live
			for at := int64(0); at < c.size; at += pageSize {
				if c.page(at>>pageBits) != nil {
					found += min(pageSize, c.size-at)
				}
			}
		}
		if n.dir != nil {
			for _, kid := range n.dir.live {
				walk(kid)
			}
		}
	}
	walk(v.disk.root)
	return v.disk.used, found
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A Sub cannot be left, on either file system.
func TestSubCannotBeLeft(t *testing.T) {
	for kind, top := range bothKinds(t) {
		mustDo(t, top.Mkdir("jail", 0o755), top.Mkdir("jail/in", 0o755),
			WriteFile(top, "secret", []byte("out"), 0), WriteFile(top, "jail/own", []byte("in"), 0),
			top.Symlink("../secret", "jail/up"), top.Symlink("/secret", "jail/absolute"),
			top.Symlink("..", "jail/parent"), top.Symlink("in/..", "jail/self"), top.Symlink("../in/../..", "jail/in/far"))
		jail := sub(t, top, "jail")
		for _, name := range []string{"../secret", "/secret", "in/../../secret", "up", "absolute", "parent/secret", "in/far/secret", "..", "self/../secret"} {
			t.Run(kind+" "+name, func(t *testing.T) {
				for op, err := range map[string]error{
					"open":    second(jail.OpenFile(name, os.O_RDWR, 0)),
					"create":  second(jail.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)),
					"readdir": second(jail.ReadDir(name)),
					"sub":     second(jail.Sub(name)),
					"syncdir": jail.SyncDir(name),
					"free":    second(jail.Free(name)),
				} {
					if got := class(err); got != "leaves" {
						t.Errorf("%s %s = %v, want a refusal", op, name, err)
					}
				}
				if name == "up" || name == "absolute" {
					return // the rest is about names, and a link is a name inside
				}
				for op, err := range map[string]error{
					"lstat":    second(jail.Lstat(name)),
					"mkdir":    jail.Mkdir(name+"/new", 0o700),
					"symlink":  jail.Symlink("x", name+"/new"),
					"remove":   jail.Remove(name),
					"take in":  jail.Rename(name, "taken"),
					"take out": jail.Rename("own", name),
				} {
					if got := class(err); got != "leaves" {
						t.Errorf("%s %s = %v, want a refusal", op, name, err)
					}
				}
			})
		}
		if got := must(ReadFile(jail, "self/own", 9)); string(got) != "in" {
			t.Errorf("%s: a link that stays inside reads %q", kind, got)
		}
		if got := must(ReadFile(top, "secret", 9)); string(got) != "out" {
			t.Errorf("%s: the secret outside became %q", kind, got)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func mustDo(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// bothKinds gives an empty folder of each file system.
func bothKinds(t *testing.T) map[string]FS {
	t.Helper()
	return map[string]FS{"host": sub(t, OS(), filepath.ToSlash(t.TempDir())), "fake": NewForgetful()}
}
