package image

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The tests that make images use mkfs.ext4 and debugfs (e2fsprogs), and are
// skipped without them.

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		t.Skipf("%s is not installed (package e2fsprogs)", name)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// noise gives bytes that no two calls with different seeds share.
func noise(seed uint64, size int) []byte {
	b := make([]byte, size)
	var key [32]byte
	little.PutUint64(key[:], seed+1)
	rand.NewChaCha8(key).Read(b)
	return b
}

// disk is a file system in the making.
type disk struct {
	t    *testing.T
	path string
	tree string // what is on it from the start
	n    uint64
	want map[[32]byte]wanted // by their bytes
}

type wanted struct {
	name string
	size int64
}

func newDisk(t *testing.T) *disk {
	dir := t.TempDir()
	d := &disk{t: t, path: filepath.Join(dir, "image"), tree: filepath.Join(dir, "tree"), want: map[[32]byte]wanted{}}
	if err := os.Mkdir(d.tree, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

// file writes a file into the tree.
func (d *disk) file(name string, b []byte) string {
	d.t.Helper()
	path := filepath.Join(d.tree, name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// add puts a file of size bytes, without holes, into the tree.
func (d *disk) add(name string, size int) {
	d.t.Helper()
	d.n++
	b := noise(d.n, size)
	d.file(name, b)
	d.want[sha256.Sum256(b)] = wanted{name, int64(size)}
}

// format makes the file system, with the tree in it.
func (d *disk) format(size string, options ...string) {
	d.t.Helper()
	args := append([]string{"-q", "-F", "-d", d.tree, "-E", "lazy_itable_init=0"}, options...)
	tool(d.t, "mkfs.ext4", append(args, d.path, size)...)
}

// edit gives commands to debugfs.
func (d *disk) edit(commands ...string) {
	d.t.Helper()
	script := filepath.Join(d.t.TempDir(), "script")
	if err := os.WriteFile(script, []byte(strings.Join(commands, "\n")+"\n"), 0o644); err != nil {
		d.t.Fatal(err)
	}
	tool(d.t, "debugfs", "-w", "-f", script, d.path)
}

// write puts a file into the file system that is there already.
func (d *disk) write(name string, size int) {
	d.t.Helper()
	d.add(name, size)
	d.edit(fmt.Sprintf("write %s %s", filepath.Join(d.tree, name), name))
}

// scatter fills the file system with files of size bytes, and takes every
// second one out again.
func (d *disk) scatter(n, size int) {
	d.t.Helper()
	from := d.file("scatter", bytes.Repeat([]byte("gap "), size/4))
	commands := []string{"mkdir gaps", "cd gaps"}
	for i := range n {
		commands = append(commands, fmt.Sprintf("write %s %d", from, i))
	}
	for i := 0; i < n; i += 2 {
		commands = append(commands, fmt.Sprintf("rm %d", i))
	}
	d.edit(commands...)
}

func (d *disk) image() []byte {
	d.t.Helper()
	b, err := os.ReadFile(d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

// read gives the bytes of a file.
func read(image []byte, file []Extent) []byte {
	var b []byte
	for _, x := range file {
		if x.At == Hole {
			b = append(b, make([]byte, x.Length)...)
			continue
		}
		b = append(b, image[x.At:x.end()]...)
	}
	return b
}

// verify checks that Find yields the wanted files of at least least bytes and no
// others, and gives the numbers of their extents by name.
func (d *disk) verify(image []byte, least int64) map[string]int {
	d.t.Helper()
	got := map[string]int{}
	for file := range Find(image, least) {
		b := read(image, file)
		if f, ok := d.want[sha256.Sum256(b)]; !ok {
			d.t.Errorf("%d bytes that no file has, beginning with %.20q, at %v", len(b), b, file)
		} else if got[f.name] > 0 {
			d.t.Errorf("%s comes twice", f.name)
		} else {
			got[f.name] = len(file)
		}
	}
	for _, f := range d.want {
		if got[f.name] == 0 && f.size >= least {
			d.t.Errorf("%s is missing", f.name)
		}
	}
	checkAll(d.t, image, least, slices.Collect(Find(image, least)))
	return got
}

// checkAll checks what holds for all images.
func checkAll(t *testing.T, image []byte, least int64, files [][]Extent) {
	t.Helper()
	var all []Extent
	for _, file := range files {
		size := int64(0)
		for i, x := range file {
			if x.Length <= 0 || x.At != Hole && (x.At < 0 || x.end() < x.At || x.end() > int64(len(image))) {
				t.Fatalf("extent %v of an image of %d bytes", x, len(image))
			}
			if i > 0 && (x.At == file[i-1].At || x.At != Hole && file[i-1].At != Hole && x.At == file[i-1].end()) {
				t.Fatalf("extents in %v touch and are not one", file)
			}
			if size += x.Length; x.At != Hole {
				all = append(all, x)
			}
		}
		if size < least || size > int64(len(image)) || !slices.ContainsFunc(file, func(x Extent) bool { return x.At != Hole }) {
			t.Fatalf("a file of %d bytes at %v, want at least %d", size, file, least)
		}
	}
	slices.SortFunc(all, func(a, b Extent) int { return cmp.Compare(a.At, b.At) })
	for i := 1; i < len(all); i++ {
		if all[i].At < all[i-1].end() {
			t.Fatalf("extents %v and %v overlap", all[i-1], all[i])
		}
	}
}
