package device

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/updraft-ota/updraft/internal/disk"
)

// stage is the folder in which a run builds a version. It may be shared.
type stage struct {
	fs disk.FS // cannot leave the folder

	mu      sync.Mutex
	entries map[string]*staged // by folded name, folders included
	names   int                // bytes of all names
	used    int64              // bytes of all files
	quota   int64              // 0: none
}

type staged struct {
	name  string
	dir   bool
	size  int64
	dirty bool // written, or a name in it was made, since the last sync
}

// open gives the staged version of the run, empty or as an earlier call left it.
func (d *directory) open(t Target, op Op) (*handle, error) {
	if t.Ref != d.ref(op.Run) {
		return nil, d.notOurs(t)
	}
	if op.Size < 0 {
		return nil, fmt.Errorf("quota %d: %w: it is negative", op.Size, ErrDenied)
	}
	if d.handles.isSpoilt(op.Run, t.Ref) {
		if err := errors.Join(d.handles.drop(op.Run, t.Ref), d.abort(t, op)); err != nil {
			return nil, err
		}
	}
	s, err := d.stage(op.Run)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.quota = op.Size
	s.mu.Unlock()
	return &handle{path: d.staging(op.Run), write: true, stage: s}, nil
}

func (d *directory) stage(run string) (*stage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.stages[run]; s != nil {
		return s, nil
	}
	for _, f := range []struct {
		path string
		perm fs.FileMode
	}{{d.path, 0o755}, {d.at(ownFolder), 0o700}, {d.staging(run), 0o755}} {
		if err := disk.MkdirAll(d.fs, f.path, f.perm); err != nil {
			return nil, err
		}
	}
	sub, err := d.fs.Sub(d.staging(run))
	if err != nil {
		return nil, err
	}
	s := &stage{fs: sub, entries: map[string]*staged{}}
	if err := s.walk(".", 0); err != nil {
		return nil, errors.Join(err, closeFS(sub))
	}
	d.stages[run] = s
	return s, nil
}

// forget lets go of a stage that is about to be moved or removed.
func (d *directory) forget(run string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.stages[run]; s != nil {
		delete(d.stages, run)
		_ = closeFS(s.fs) // nothing was written through it
	}
}

// walk notes what an earlier call left.
func (s *stage) walk(dir string, depth int) error {
	entries, err := s.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		info, err := s.fs.Lstat(name)
		if err != nil {
			return err
		}
		if !info.IsDir() && !info.Mode().IsRegular() || depth > maxDepth {
			return fmt.Errorf("%s: %w: expected files and folders only", quote(name), ErrConflict)
		}
		if _, err := s.note(name, info.IsDir()); err != nil {
			return err
		}
		if info.IsDir() {
			err = s.walk(name, depth+1)
		} else {
			s.entries[fold(name)].size = info.Size()
			s.used += info.Size()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fold makes names equal that a file system without case takes for one.
func fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }

// note books a name. Two that differ in case only, or that are a file and a
// folder, do not fit together.
func (s *stage) note(name string, dir bool) (fresh bool, err error) {
	if there := s.entries[fold(name)]; there != nil {
		switch {
		case there.name != name:
			return false, fmt.Errorf("%w: %s is there already and differs in case only", ErrDenied, quote(there.name))
		case there.dir != dir:
			return false, fmt.Errorf("%w: %s would be a file and a folder", ErrDenied, quote(name))
		}
		return false, nil
	}
	if len(s.entries) >= maxEntries || s.names+len(name) > maxEntryNames {
		return false, fmt.Errorf("%w: a version has at most %d entries and %d bytes of names", ErrQuota, maxEntries, maxEntryNames)
	}
	s.names += len(name)
	// What an earlier call left may never have been synced.
	s.entries[fold(name)] = &staged{name: name, dir: dir, dirty: true}
	return true, nil
}

// openEntry opens a file below the stage and makes the folders above it.
func (s *stage) openEntry(entry string, perm fs.FileMode) (*handle, error) {
	if err := checkEntry(entry); err != nil {
		return nil, err
	}
	if perm&^fs.ModePerm != 0 {
		return nil, fmt.Errorf("permissions %v: %w: expected those of a plain file", perm, ErrDenied)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	parents := above(entry)
	for _, dir := range parents[1:] {
		if err := s.folder(dir); err != nil {
			return nil, err
		}
	}
	fresh, err := s.note(entry, false)
	if err != nil {
		return nil, err
	}
	if fresh {
		s.touchParent(entry)
	}
	f, err := s.fs.OpenFile(entry, os.O_RDWR|os.O_CREATE, cmp.Or(perm, 0o644))
	if err != nil {
		if fresh {
			s.strike(entry)
		}
		return nil, err
	}
	size, err := f.Size()
	if err == nil {
		err = setMode(f, cmp.Or(perm, 0o644))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	slices.Reverse(parents)
	names := func() error { return s.synced(entry, parents) }
	return &handle{file: f, path: entry, entry: entry, size: size, write: true, stage: s, sync: names}, nil
}

// makeFolder makes a folder and those above it.
func (s *stage) makeFolder(entry string) error {
	if err := checkEntry(entry); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, dir := range append(above(entry)[1:], entry) {
		if err := s.folder(dir); err != nil {
			return err
		}
	}
	return nil
}

// above gives ".", "a", "a/b" for "a/b/c".
func above(entry string) []string {
	parents := []string{"."}
	for i := range len(entry) {
		if entry[i] == '/' {
			parents = append(parents, entry[:i])
		}
	}
	return parents
}

func (s *stage) folder(dir string) error {
	fresh, err := s.note(dir, true)
	if err != nil || !fresh {
		return err
	}
	s.touchParent(dir)
	if err := s.fs.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		s.strike(dir)
		return err
	}
	return nil
}

// strike takes back what note booked.
func (s *stage) strike(name string) {
	delete(s.entries, fold(name))
	s.names -= len(name)
}

func (s *stage) touchParent(name string) {
	if up := s.entries[fold(path.Dir(name))]; up != nil {
		up.dirty = true
	}
}

// synced makes the names above an entry durable, whose content is.
func (s *stage) synced(entry string, parents []string) error {
	for _, dir := range parents {
		if err := s.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[fold(entry)]; e != nil {
		e.dirty = false
	}
	return nil
}

// syncAll makes all durable that was written, also through handles that are
// closed.
func (s *stage) syncAll() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range slices.Backward(slices.Sorted(maps.Keys(s.entries))) { // what is below comes first
		e := s.entries[key]
		if !e.dirty {
			continue
		}
		if err := s.syncOne(e); err != nil {
			return err
		}
		e.dirty = false
	}
	return s.fs.SyncDir(".")
}

func (s *stage) syncOne(e *staged) error {
	if e.dir {
		return s.fs.SyncDir(e.name)
	}
	f, err := s.fs.OpenFile(e.name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// grow books what a write up to end adds.
func (s *stage) grow(entry string, end int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[fold(entry)]
	more := max(0, end-e.size)
	if s.quota > 0 && more > s.quota-s.used {
		return fmt.Errorf("%d bytes more: %w: %d of %d are used", more, ErrQuota, s.used, s.quota)
	}
	e.size += more
	s.used += more
	e.dirty = true
	return nil
}

func (s *stage) shrink(entry string, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[fold(entry)]
	if e.size > size {
		s.used -= e.size - size
		e.size = size
	}
	e.dirty = true
}

// checkEntry refuses every name that is not plainly below its folder. It
// repairs nothing: who sends such a name does not mean well or did not test.
func checkEntry(entry string) error {
	const mostBytes, mostOfPart = 1024, 255
	why := ""
	switch {
	case entry == "" || entry == ".":
		why = "it is empty"
	case len(entry) > mostBytes:
		why = fmt.Sprintf("it has more than %d bytes", mostBytes)
	case !utf8.ValidString(entry):
		why = "it is not UTF-8"
	case strings.ContainsFunc(entry, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\\' }):
		why = "it has a control character or a backslash"
	case len(entry) >= 2 && entry[1] == ':':
		why = "it begins with a drive"
	case !fs.ValidPath(entry):
		why = "expected parts with a slash in between, none of them empty, . or .."
	case strings.Count(entry, "/") >= maxDepth:
		why = fmt.Sprintf("it has more than %d parts", maxDepth)
	}
	for part := range strings.SplitSeq(entry, "/") {
		switch {
		case why != "":
		case len(part) > mostOfPart:
			why = fmt.Sprintf("a part has more than %d bytes", mostOfPart)
		case strings.TrimSpace(part) != part || strings.HasSuffix(part, "."):
			why = "a part begins or ends with a space or ends with a dot"
		}
	}
	if why != "" {
		return fmt.Errorf("%w: %s", ErrDenied, why)
	}
	return nil
}
