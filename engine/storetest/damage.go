package storetest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// Damager makes damaged copies of a folder of files.
type Damager struct {
	// Dir holds the files of a store that nobody has open. It is not changed.
	Dir string
	// Scratch is a folder for the copies, best one in memory.
	Scratch string
	// Every is how many bytes lie between two flips, 1 if it is zero: a slice
	// of the work for quick tests.
	Every int
	// Skip says which files are copied and never damaged. nil: none.
	Skip func(name string) bool
	// Cuts gives further sizes to cut a file to, such as the ends of its
	// records. data is the file without the zeros at its end. nil: none.
	Cuts func(name string, data []byte) []int
}

// Damage calls try with the path of a damaged copy and what was done to it:
// one bit of one byte changed, for each byte of each file up to 64 behind the
// last that is not zero; and each file cut to nothing, to half, by its last
// byte, without its zeros, and to each size that Cuts gives. Each copy is
// removed after its call. It stops at the first error.
func (d Damager) Damage(try func(dir, what string) error) error {
	files, err := readFiles(d.Dir)
	if err != nil {
		return err
	}
	at := 0
	for _, f := range files {
		if d.Skip != nil && d.Skip(f.name) {
			continue
		}
		for off := range min(int64(len(f.data)+64), f.size) {
			if at++; at%max(d.Every, 1) != 0 {
				continue
			}
			what := fmt.Sprintf("%s: bit %d of byte %d flipped", f.name, off%8, off)
			if err := d.one(files, f.name, try, what, f.size, off); err != nil {
				return err
			}
		}
		for _, size := range d.cuts(f) {
			what := fmt.Sprintf("%s: cut from %d to %d bytes", f.name, f.size, size)
			if err := d.one(files, f.name, try, what, size, -1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d Damager) cuts(f storedFile) []int64 {
	sizes := []int64{0, f.size / 2, f.size - 1, int64(len(f.data)), int64(len(f.data)) - 1, int64(len(f.data)) / 2}
	if d.Cuts != nil {
		for _, n := range d.Cuts(f.name, f.data) {
			sizes = append(sizes, int64(n))
		}
	}
	var good []int64
	seen := map[int64]bool{}
	for _, n := range sizes {
		if n >= 0 && n < f.size && !seen[n] {
			seen[n] = true
			good = append(good, n)
		}
	}
	return good
}

// one makes a copy in which the file called name has another size and, if
// flip is not negative, one changed byte.
func (d Damager) one(files []storedFile, name string, try func(dir, what string) error, what string, size, flip int64) error {
	dir := filepath.Join(d.Scratch, "damaged")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, f := range files {
		if f.name != name {
			if err := f.write(dir, f.size, -1); err != nil {
				return err
			}
			continue
		}
		if err := f.write(dir, size, flip); err != nil {
			return err
		}
	}
	if err := try(dir, what); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	left, err := filepath.Glob(filepath.Join(d.Scratch, "damaged*"))
	for _, l := range left {
		if err == nil {
			err = os.RemoveAll(l)
		}
	}
	return err
}

type storedFile struct {
	name string
	data []byte // without the zeros at its end
	size int64
}

func readFiles(dir string) ([]storedFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []storedFile
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, storedFile{e.Name(), bytes.TrimRight(data, "\x00"), int64(len(data))})
	}
	return files, nil
}

func (f storedFile) write(dir string, size, flip int64) error {
	out, err := os.OpenFile(filepath.Join(dir, f.name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // a copy that is read at once
	if err := out.Truncate(size); err != nil {
		return err
	}
	if _, err := out.WriteAt(f.data[:min(size, int64(len(f.data)))], 0); err != nil {
		return err
	}
	if flip < 0 {
		return nil
	}
	var b byte
	if flip < int64(len(f.data)) {
		b = f.data[flip]
	}
	_, err = out.WriteAt([]byte{b ^ 1<<(flip%8)}, flip)
	return err
}
