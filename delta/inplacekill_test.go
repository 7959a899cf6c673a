//go:build unix

package delta

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
	"strconv"
	"testing"
)

// counted counts the writes and syncs of a process, and waits at one of them
// for its end.
type counted struct {
	*os.File
	left *int
}

func (c *counted) count() {
	*c.left--
	if *c.left == 0 {
		os.Stdout.WriteString("here\n")
		io.Copy(io.Discard, os.Stdin) // until the process is killed
	}
}

func (c *counted) WriteAt(p []byte, at int64) (int, error) {
	c.count()
	return c.File.WriteAt(p, at)
}

func (c *counted) Sync() error {
	c.count()
	return c.File.Sync()
}

// TestInPlaceChild is the process that TestInPlaceKilled kills.
func TestInPlaceChild(t *testing.T) {
	dir := os.Getenv("UPDRAFT_INPLACE_DIR")
	if dir == "" {
		t.Skip("it is for TestInPlaceKilled to run")
	}
	left, err := strconv.Atoi(os.Getenv("UPDRAFT_INPLACE_CALLS"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*os.File{}
	for _, name := range []string{"image", "journal", "patch"} {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[name] = f
	}
	info, err := files["patch"].Stat()
	if err != nil {
		t.Fatal(err)
	}
	n, err := ApplyInPlace(context.Background(), &counted{File: files["image"], left: &left}, &counted{File: files["journal"], left: &left},
		io.NewSectionReader(files["patch"], 0, info.Size()), Limits{Size: AnySize})
	if err == nil {
		err = files["image"].Truncate(n)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestInPlaceKilled kills a process at 40 of its writes and syncs, chosen at
// random, and lets another one go on. With UPDRAFT_CORPUS, a folder of pairs,
// it takes elf-go-11m of it.
func TestInPlaceKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many processes")
	}
	p := inPlacePairs(2 << 20)[5]
	if dir := os.Getenv("UPDRAFT_CORPUS"); dir != "" {
		var err1, err2 error
		p.old, err1 = os.ReadFile(filepath.Join(dir, "elf-go-11m", "old"))
		p.new, err2 = os.ReadFile(filepath.Join(dir, "elf-go-11m", "new"))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
	}
	patch := makeInPlacePatch(t, p.old, p.new, InPlaceOptions{Journal: 512 << 10})
	dice := rand.New(rand.NewPCG(8, 1))
	killed, updates := 0, 0
	for killed < 40 {
		dir := t.TempDir()
		for name, b := range map[string][]byte{"image": p.old, "patch": patch} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for child(t, dir, 1+dice.IntN(60)) {
			killed++
		}
		updates++
		got, err := os.ReadFile(filepath.Join(dir, "image"))
		if err != nil || !bytes.Equal(got, p.new) {
			t.Fatalf("after %d kills the image is wrong: %d bytes, want %d, %v", killed, len(got), len(p.new), err)
		}
	}
	t.Logf("%d kills in %d updates of %d bytes", killed, updates, len(p.new))
}

// child runs a process and kills it at one of its calls, if it gets there.
func child(t *testing.T, dir string, calls int) (killed bool) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestInPlaceChild$")
	c.Env = append(os.Environ(), "UPDRAFT_INPLACE_DIR="+dir, "UPDRAFT_INPLACE_CALLS="+strconv.Itoa(calls))
	in, err1 := c.StdinPipe()
	out, err2 := c.StdoutPipe()
	if err := errors.Join(err1, err2, c.Start()); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var said []byte
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "here" {
			killed = true
			if err := c.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
		said = append(append(said, lines.Bytes()...), '\n')
	}
	if err := c.Wait(); (err != nil) != killed {
		t.Fatalf("the process ended with %v:\n%s", err, said)
	}
	return killed
}
