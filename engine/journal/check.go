package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"github.com/updraft-ota/updraft/engine"
)

// maxRead bounds what is read into memory at a time. Badger makes logs of
// 8 MiB here; its tables, which can be larger, are read in pieces.
const maxRead = 32 << 20 // bytes

// repairs is what has to be done to files before Badger may see them. None of
// it loses a batch that was acknowledged.
type repairs struct {
	dir    string
	cut    map[string]int64 // torn ends of logs: Badger would trust their lengths
	remove []string
}

func (r *repairs) do() error {
	for name, size := range r.cut {
		if err := os.Truncate(filepath.Join(r.dir, name), size); err != nil {
			return err
		}
	}
	for _, name := range r.remove {
		if err := os.Remove(filepath.Join(r.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// found is what the files of a store are.
type found struct {
	logs   []string          // in the order in which they were written
	tables map[uint64]string // by number
	others map[string]bool
}

// check reads every file that Badger is going to trust.
func check(dir string) (*repairs, error) {
	f, r, err := look(dir)
	if err != nil {
		return nil, err
	}
	listed, err := readManifest(dir, f)
	if err != nil {
		return nil, err
	}
	newest, spare, err := checkTables(dir, f, listed)
	if err != nil {
		return nil, err
	}
	newest, err = checkLogs(dir, f, r, newest)
	if err != nil {
		return nil, err
	}
	// A table that the manifest does not list is half of a flush or merge that
	// was cut; Badger removes it. Its batches must be elsewhere too.
	if spare > newest {
		return nil, damaged("%s forgot a table with the batches %d to %d", badger.ManifestFilename, newest+1, spare)
	}
	return r, nil
}

func damaged(format string, a ...any) error {
	return fmt.Errorf("%w: %s", engine.ErrStore, fmt.Sprintf(format, a...))
}

// look sorts the files. Badger makes those of the value log anew, and some
// damage in them would end the process.
func look(dir string) (*found, *repairs, error) {
	f := &found{tables: map[uint64]string{}, others: map[string]bool{}}
	r := &repairs{dir: dir, cut: map[string]int64{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		name := e.Name()
		stem, ext, _ := strings.Cut(name, ".")
		number, notNumber := strconv.ParseUint(stem, 10, 32)
		switch {
		case ext == "mem" && notNumber == nil:
			f.logs = append(f.logs, name)
		case ext == "sst" && notNumber == nil:
			f.tables[number] = name
		case empty(name):
			r.remove = append(r.remove, name)
		case name == badger.KeyRegistryFileName:
			data, err := readAll(filepath.Join(dir, name))
			if err != nil {
				return nil, nil, err
			}
			if !registryText(data) {
				r.remove = append(r.remove, name)
			}
		default:
			f.others[name] = true
		}
	}
	slices.SortFunc(f.logs, func(a, b string) int { return len(a) - len(b) + 2*strings.Compare(a, b) })
	return f, r, nil
}

// registryText says whether the key registry is one without keys: 16 random
// bytes and a fixed text. Nothing here is encrypted, so Badger can make it anew.
func registryText(data []byte) bool {
	return len(data) == 28 && string(data[16:]) == "Hello Badger"
}

// readManifest gives the tables that Badger's manifest lists.
func readManifest(dir string, f *found) (map[uint64]bool, error) {
	path := filepath.Join(dir, badger.ManifestFilename)
	if !f.others[badger.ManifestFilename] {
		if len(f.logs)+len(f.tables) > 0 {
			return nil, damaged("%s is missing beside %d logs and %d tables", path, len(f.logs), len(f.tables))
		}
		return nil, nil
	}
	if _, err := readAll(path); err != nil { // for its bound, and for what the disk says
		return nil, err
	}
	fp, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer fp.Close() //nolint:errcheck // it was only read
	var m badger.Manifest
	err = guarded(func() (err error) {
		m, _, err = badger.ReplayManifestFile(fp, 0, settings(dir, &notes{}))
		return err
	})
	if err != nil {
		return nil, damaged("%s: %v", path, err)
	}
	listed := map[uint64]bool{}
	for id := range m.Tables {
		if f.tables[id] == "" {
			return nil, damaged("table %06d.sst is missing in %s", id, dir)
		}
		listed[id] = true
	}
	return listed, nil
}

// checkTables gives the newest batch in a listed table, and in any other.
func checkTables(dir string, f *found, listed map[uint64]bool) (newest, spare uint64, err error) {
	for id, name := range f.tables {
		last, err := checkTable(filepath.Join(dir, name))
		switch {
		case listed[id] && err != nil:
			return 0, 0, err
		case listed[id]:
			newest = max(newest, last)
		case err == nil:
			spare = max(spare, last)
		case !errors.Is(err, engine.ErrStore):
			return 0, 0, err
		}
	}
	return newest, spare, nil
}

// checkLogs gives the newest batch there is. Each log goes on where the one
// before, or a table, ended.
func checkLogs(dir string, f *found, r *repairs, newest uint64) (uint64, error) {
	for _, name := range f.logs {
		path := filepath.Join(dir, name)
		data, size, err := readSparse(path)
		if err != nil {
			return 0, err
		}
		l := walk(data)
		if l.batches > 0 && l.first > newest+1 {
			return 0, damaged("%s begins with batch %d, expected at most %d", path, l.first, newest+1)
		}
		if l.batches > 0 {
			newest = max(newest, l.last)
		}
		if l.beyond > newest+1 {
			return 0, damaged("%s is readable up to byte %d, batch %d, and goes on to batch %d", path, l.end, newest, l.beyond)
		}
		if l.key != 0 {
			return 0, damaged("%s is encrypted with key %d, expected none", path, l.key)
		}
		// Badger makes a log at its full size, and a recovery cuts it behind a
		// whole batch: a torn end comes with the full size.
		if l.end < size && size != logSize && size > logHeader {
			return 0, damaged("%s was cut to %d bytes, behind batch %d at byte %d", path, size, newest, l.end)
		}
		switch {
		case l.batches == 0:
			// Badger does not open on an empty one, which a cut while it
			// removes a log leaves behind.
			r.remove = append(r.remove, name)
		case l.end < size:
			r.cut[name] = l.end
		}
	}
	return newest, nil
}

// readSparse reads a file without the zeros at its end, and gives its size.
func readSparse(path string) (data []byte, size int64, err error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer in.Close() //nolint:errcheck // it was only read
	info, err := in.Stat()
	if err != nil {
		return nil, 0, err
	}
	if info.Size() > maxRead {
		return nil, 0, damaged("%s has %d bytes, expected at most %d", path, info.Size(), maxRead)
	}
	err = chunks(in, func(p []byte, off int64) error {
		data = append(data, make([]byte, off-int64(len(data)))...)
		data = append(data, p...)
		return nil
	})
	return data, info.Size(), unreadable(path, err)
}

func readAll(path string) ([]byte, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(io.LimitReader(in, maxRead+1))
	if err == nil && len(data) > maxRead {
		return nil, damaged("%s has more than %d bytes", path, maxRead)
	}
	return data, unreadable(path, err)
}

// unreadable makes damage of what the disk itself cannot give back.
func unreadable(path string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.EIO) || errors.Is(err, fs.ErrInvalid) {
		return damaged("%s: %v", path, err)
	}
	return fmt.Errorf("read %s: %w", path, err)
}
