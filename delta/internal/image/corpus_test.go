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
			for file := range Find(image, 1) {
				files = append(files, file)
			}
			t.Logf("%d files in %v", len(files), time.Since(start))
			checkAll(t, image, 1, files)
			sums := map[[32]byte]int{}
			for _, file := range files {
				sums[sha256.Sum256(read(image, file))]++
			}
			whole, sparse := 0, 0
			for b := range dump(t, path) {
				sum := sha256.Sum256(b)
				switch sums[sum]--; {
				case sums[sum] >= 0:
					whole++
				case bytes.Contains(b, make([]byte, 4096)):
					sparse++ // debugfs left a block of zeros out when it made the image
				default:
					t.Errorf("a file of %d bytes is missing", len(b))
				}
			}
			if whole != len(files) {
				t.Errorf("%d files have bytes that no file has", len(files)-whole)
			}
			t.Logf("%d files are as debugfs has them, %d with blocks of zeros are left out", whole, sparse)
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

// count tells how many executables are in pieces.
func count(t *testing.T, image []byte, files [][]Extent) {
	all, split, size, splitSize, most, mostSize := 0, 0, 0, 0, 0, 0
	for _, file := range files {
		b := read(image, file)
		if len(b) < 64<<10 || !bytes.HasPrefix(b, []byte("\x7fELF")) {
			continue
		}
		all++
		size += len(b)
		if len(file) > 1 {
			split++
			splitSize += len(b)
			most = max(most, len(file))
			mostSize = max(mostSize, len(b))
		}
	}
	t.Logf("%d ELF files of 64 KiB and more (%d bytes); %d of them in pieces (%d bytes, up to %d pieces, the largest %d bytes)",
		all, size, split, splitSize, most, mostSize)
}
