package device

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/updraft-ota/updraft/internal/disk"
)

const (
	singleVersion = "file/1"
	singleAdvice  = "restore it from a copy, or remove it: only the file's stamp is lost, and the undo of a run that has not ended"
	maxStamps     = 4
)

// single is one file that is replaced as a whole.
type single struct {
	name    string
	path    string
	fs      disk.FS
	handles *handles
}

// singleState is the content of its state file. The stamp that holds is the
// one whose digest the file has, so it can be written before the file changes.
type singleState struct {
	Updraft string  `json:"updraft"`
	Stamps  []Stamp `json:"stamps,omitempty"` // newest first
	Runs    records `json:"runs,omitempty"`
}

func newSingle(name string, p Place, fsys disk.FS, open *handles) *single {
	return &single{name: name, path: p.File, fs: fsys, handles: open}
}

func (s *single) beside(suffix string) string {
	return path.Join(path.Dir(s.path), "."+path.Base(s.path)+suffix)
}

func (s *single) stateFile() string         { return s.beside(".updraft.json") }
func (s *single) staging(run string) string { return s.beside(".updraft-" + run) }
func (s *single) before(run string) string  { return s.beside(".before-" + run) }

func (s *single) load() (*singleState, []byte, error) {
	st := new(singleState)
	raw, found, err := readState(s.fs, s.stateFile(), singleAdvice, st)
	if err != nil {
		return nil, nil, err
	}
	if found && st.Updraft != singleVersion {
		return nil, nil, corrupt(s.stateFile(), singleAdvice, fmt.Errorf("expected version %q, have %s", singleVersion, quote(st.Updraft)))
	}
	st.Updraft = singleVersion
	return st, raw, nil
}

func (s *single) save(st *singleState, raw []byte) error {
	return writeState(s.fs, s.stateFile(), raw, st)
}

// content is what a file has in it; digest is "" if there is no file.
type content struct {
	digest string
	size   int64
	perm   fs.FileMode
}

// now reads the whole file.
func (s *single) now(ctx context.Context) (content, error) { return s.read(ctx, s.path, io.Discard) }

func (s *single) read(ctx context.Context, name string, copyTo io.Writer) (c content, err error) {
	info, err := s.fs.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return content{}, nil
	case err != nil:
		return content{}, err
	case !info.Mode().IsRegular():
		return content{}, fmt.Errorf("%s: %w: expected a regular file, name in the device file what a link leads to", name, ErrDenied)
	}
	f, err := s.fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return content{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	forgetCache(f)
	size, err := f.Size()
	if err != nil {
		return content{}, err
	}
	h := sha256.New()
	n, err := flow(ctx, f, size, io.MultiWriter(h, copyTo))
	if err == nil && n < size {
		err = fmt.Errorf("%s: %w", name, io.ErrUnexpectedEOF)
	}
	return content{digest: sum(h), size: size, perm: info.Mode().Perm()}, err
}

func (s *single) resolve(_, part string) (Target, error) {
	if part != "" && part != "active" && part != currentLink {
		return Target{}, fmt.Errorf("part %s: %w: a file has none", quote(part), ErrUnknown)
	}
	st, _, err := s.load()
	if err != nil {
		return Target{}, err
	}
	c, err := s.now(context.Background())
	if err != nil {
		return Target{}, err
	}
	t := Target{Ref: s.name, Name: s.name, Type: File, Active: c.digest != "", Size: c.size}
	if i := slices.IndexFunc(st.Stamps, func(have Stamp) bool { return have.SHA256 == c.digest }); i >= 0 {
		t.Stamp = st.Stamps[i]
	}
	return t, nil
}

func (s *single) boot() (Boot, error) {
	return Boot{}, fmt.Errorf("a file has no boot state: %w", ErrDenied)
}

func (s *single) openRead(t Target, entry string) (*handle, error) {
	if entry != "" {
		return nil, fmt.Errorf("a file has no entries: %w", ErrDenied)
	}
	f, err := s.fs.OpenFile(s.path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return &handle{file: f, path: s.path, size: t.Size}, nil
}

// preserve copies the file aside.
func (s *single) preserve(_ Target, op Op) (Undo, error) {
	st, raw, err := s.load()
	if err != nil {
		return Undo{}, err
	}
	if rec := st.Runs.of(op.Run); rec != nil && rec.Undo != nil {
		return *rec.Undo, s.save(st, raw)
	}
	undo := Undo{Target: s.name, Keep: s.before(op.Run)}
	c, err := s.copy(context.Background(), s.path, s.before(op.Run), op.Run)
	if err != nil {
		return Undo{}, err
	}
	if undo.From = c.digest; c.digest == "" {
		undo.None, undo.Keep = true, ""
	}
	rec, dropped := st.Runs.need(op.Run)
	rec.Undo = &undo
	if err := s.save(st, raw); err != nil {
		return Undo{}, err
	}
	for _, old := range dropped {
		if err := s.remove(s.before(old.Run)); err != nil {
			return Undo{}, err
		}
	}
	return undo, nil
}

// copy makes to a durable copy of from. If there is no from, it does nothing.
func (s *single) copy(ctx context.Context, from, to, run string) (c content, err error) {
	info, err := s.fs.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return content{}, nil
	}
	if err != nil {
		return content{}, err
	}
	temp := s.beside(".copy-" + run)
	if err := s.remove(temp); err != nil {
		return content{}, err
	}
	f, err := s.fs.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return content{}, err
	}
	c, err = s.read(ctx, from, &writerAt{file: f})
	if err == nil {
		err = setMode(f, info.Mode())
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return content{}, errors.Join(err, s.remove(temp))
	}
	if err := s.fs.Rename(temp, to); err != nil {
		return content{}, err
	}
	return c, s.fs.SyncDir(path.Dir(s.path))
}

func (s *single) remove(name string) error {
	if err := s.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// invalidate has nothing to do: the file stays until commit replaces it.
func (s *single) invalidate(Target, Op) error { return nil }

func (s *single) open(_ Target, op Op) (*handle, error) {
	if op.Size < 0 {
		return nil, fmt.Errorf("quota %d: %w: it is negative", op.Size, ErrDenied)
	}
	if s.handles.isSpoilt(op.Run, s.name) {
		if err := errors.Join(s.handles.drop(op.Run, s.name), s.abort(Target{}, op)); err != nil {
			return nil, err
		}
	}
	temp := s.staging(op.Run)
	at, err := look(s.fs, temp)
	if err != nil {
		return nil, err
	}
	if at.path != temp || at.device {
		return nil, fmt.Errorf("%s: %w: expected a regular file", temp, ErrConflict)
	}
	f, err := s.fs.OpenFile(temp, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	h := &handle{file: f, path: temp, size: at.size, write: true, limit: op.Size, why: "the quota"}
	h.sync = func() error { return s.fs.SyncDir(path.Dir(s.path)) }
	return h, nil
}

func (s *single) commit(ctx context.Context, _ Target, op Op) (string, error) {
	st, raw, err := s.load()
	if err != nil {
		return "", err
	}
	now, err := s.now(ctx)
	if err != nil {
		return "", err
	}
	temp := s.staging(op.Run)
	there, err := disk.Exists(s.fs, temp)
	if err != nil {
		return "", err
	}
	if !there {
		return s.confirm(st, now, op)
	}
	if err := s.unchanged(st, now, op.Run); err != nil {
		return "", err
	}
	if err := s.handles.seal(op.Run, s.name); err != nil {
		return "", err
	}
	if err := s.settle(temp, now, op); err != nil {
		s.handles.spoiled(op.Run, s.name)
		return "", err
	}
	c, err := s.read(ctx, temp, io.Discard)
	if err != nil {
		return "", err
	}
	if err := c.check(op); err != nil {
		return "", err
	}
	st.stamp(Stamp{Version: op.Stamp.Version, SHA256: c.digest, Size: c.size, Run: op.Run, Source: op.Stamp.Source})
	if err := s.save(st, raw); err != nil {
		return "", err
	}
	if err := s.fs.Rename(temp, s.path); err != nil {
		return "", err
	}
	return c.digest, s.fs.SyncDir(path.Dir(s.path))
}

func (c content) check(op Op) error {
	switch {
	case c.size != op.Size:
		return fmt.Errorf("%d bytes are staged, %d were to be committed: %w", c.size, op.Size, ErrDigest)
	case op.Digest != "" && op.Digest != c.digest:
		return fmt.Errorf("%w: expected sha256 %s, have %s", ErrDigest, quote(op.Digest), c.digest)
	}
	return nil
}

// stamp notes what the file will hold.
func (st *singleState) stamp(stamp Stamp) {
	st.Stamps = slices.DeleteFunc(st.Stamps, func(s Stamp) bool { return s.SHA256 == stamp.SHA256 })
	st.Stamps = slices.Insert(st.Stamps, 0, stamp)
	st.Stamps = st.Stamps[:min(len(st.Stamps), maxStamps)]
}

// made says whether run committed this content.
func (st *singleState) made(run string, c content) bool {
	return slices.ContainsFunc(st.Stamps, func(s Stamp) bool { return s.Run == run && s.SHA256 == c.digest })
}

// unchanged compares with what the run found and made.
func (s *single) unchanged(st *singleState, now content, run string) error {
	rec := st.Runs.of(run)
	if rec == nil || rec.Undo == nil || now.digest == rec.Undo.From || st.made(run, now) {
		return nil
	}
	return fmt.Errorf("%s: %w since the run began: expected sha256 %s, have %s", s.path, ErrConflict, quote(rec.Undo.From), quote(now.digest))
}

// settle makes what is staged durable, with the permissions of the file that
// it replaces.
func (s *single) settle(temp string, now content, op Op) error {
	f, err := s.fs.OpenFile(temp, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	perm := now.perm
	if now.digest == "" {
		if perm = op.Perm.Perm(); perm == 0 {
			perm = 0o644
		}
	}
	if err := setMode(f, perm); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

// confirm answers a commit that was done before.
func (s *single) confirm(st *singleState, now content, op Op) (string, error) {
	if !st.made(op.Run, now) {
		return "", fmt.Errorf("run %s staged nothing: %w", op.Run, fs.ErrNotExist)
	}
	if err := now.check(op); err != nil {
		return "", err
	}
	return now.digest, s.fs.SyncDir(path.Dir(s.path))
}

func (s *single) abort(_ Target, op Op) error {
	s.handles.anew(op.Run, s.name)
	if err := s.remove(s.staging(op.Run)); err != nil {
		return err
	}
	return s.fs.SyncDir(path.Dir(s.path))
}

func (s *single) choose(string, Op) error {
	return fmt.Errorf("a file has nothing to choose, commit replaces it: %w", ErrDenied)
}

// good removes what the run kept to put the file back.
func (s *single) good(_ string, op Op) error { return s.clean(op.Run, false) }

func (s *single) restore(ctx context.Context, op Op) error {
	undo := op.Undo
	if undo.Target != s.name || undo.Keep != "" && undo.Keep != s.before(op.Run) {
		return fmt.Errorf("undo of %s: %w: it is not of this target and run", quote(undo.Target), ErrDenied)
	}
	st, _, err := s.load()
	if err != nil {
		return err
	}
	now, err := s.now(ctx)
	if err != nil {
		return err
	}
	switch {
	case now.digest == undo.From:
	case !st.made(op.Run, now):
		return fmt.Errorf("%s: %w: expected sha256 %s, which the run found, or what it made, have %s", s.path, ErrConflict, quote(undo.From), quote(now.digest))
	case undo.None:
		if err := s.remove(s.path); err != nil {
			return err
		}
	default:
		if err := s.putBack(ctx, undo, op.Run); err != nil {
			return err
		}
	}
	s.handles.anew(op.Run, s.name)
	return s.clean(op.Run, true)
}

func (s *single) putBack(ctx context.Context, undo Undo, run string) error {
	c, err := s.read(ctx, undo.Keep, io.Discard)
	if err != nil {
		return err
	}
	if c.digest != undo.From {
		return fmt.Errorf("%s: %w: expected sha256 %s, have %s; put %s right by hand", undo.Keep, ErrCorrupt, undo.From, quote(c.digest), s.path)
	}
	_, err = s.copy(ctx, undo.Keep, s.path, run)
	return err
}

// clean removes what the run left beside the file, and its stamps if it was
// undone. The folder is synced first: the copies go when the file is safe.
func (s *single) clean(run string, undone bool) error {
	if err := s.fs.SyncDir(path.Dir(s.path)); err != nil {
		return err
	}
	for _, name := range []string{s.staging(run), s.beside(".copy-" + run), s.before(run)} {
		if err := s.remove(name); err != nil {
			return err
		}
	}
	st, raw, err := s.load()
	if err != nil {
		return err
	}
	st.Runs.drop(run)
	if undone {
		st.Stamps = slices.DeleteFunc(st.Stamps, func(have Stamp) bool { return have.Run == run })
	}
	if raw == nil && len(st.Runs) == 0 && len(st.Stamps) == 0 {
		return s.fs.SyncDir(path.Dir(s.path))
	}
	return s.save(st, raw)
}
