package image

import (
	"bytes"
	"crypto/sha256"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestCorpus compares what is found in real images to what debugfs takes out
// of them. UPDRAFT_CORPUS names a folder with rootfs-ext4/old and /new.
func TestCorpus(t *testing.T) {
	root := os.Getenv("UPDRAFT_CORPUS")
	if root == "" {
		t.Skip("UPDRAFT_CORPUS is not set")
	}
	for _, side := range []string{"old", "new"} {
		t.Run(side, func(t *testing.T) {
			path := filepath.Join(root, "rootfs-ext4", side)
			image, err := os.ReadFile(path)
			if err != nil {
				t.Skip(err)
			}
			start := time.Now()
			var files [][]Extent
			for file := range Sparse(image, 1) {
				files = append(files, file)
			}
			t.Logf("%d files in %v", len(files), time.Since(start))
			checkAll(t, image, 1, files)
			sums := map[[32]byte]int{}
			for _, file := range files {
				sums[sha256.Sum256(read(image, file))]++
			}
			same := 0
			for b := range dump(t, path) {
				if sum := sha256.Sum256(b); sums[sum] > 0 {
					sums[sum]--
					same++
				} else {
					t.Errorf("a file of %d bytes is missing", len(b))
				}
			}
			if same != len(files) {
				t.Errorf("%d files have bytes that no file has", len(files)-same)
			}
			t.Logf("%d files are as debugfs has them", same)
			count(t, image, files)
		})
	}
}

// dump yields the bytes of all regular files that are not empty.
func dump(t *testing.T, image string) func(yield func([]byte) bool) {
	dir := t.TempDir()
	tool(t, "debugfs", "-R", "rdump / "+dir, image)
	return func(yield func([]byte) bool) {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if err == nil && len(b) > 0 && !yield(b) {
				return fs.SkipAll
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// count tells how many executables are not in one piece, and why.
func count(t *testing.T, image []byte, files [][]Extent) {
	type kind struct{ pieces, holes bool }
	number, size, zeros := map[kind]int{}, map[kind]int{}, map[kind]int64{}
	for _, file := range files {
		b := read(image, file)
		if len(b) < 64<<10 || !bytes.HasPrefix(b, []byte("\x7fELF")) {
			continue
		}
		var k kind
		shift, at := int64(0), int64(0) // of the image against the file
		for i, x := range file {
			if x.At == Hole {
				k.holes = true
				zeros[k] += x.Length
			} else if i == 0 {
				shift = x.At
			} else if x.At-at != shift {
				k.pieces = true // the blocks are not even where they would be if there were no holes
			}
			at += x.Length
		}
		number[k]++
		size[k] += len(b)
	}
	for k, n := range number {
		t.Logf("%d ELF files of 64 KiB and more, %d bytes: %+v, %d bytes of zeros not in the image", n, size[k], k, zeros[k])
	}
}
