package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/updraft-ota/updraft/internal/disk"
)

const (
	directoryVersion = "directory/1"
	directoryAdvice  = "restore it from a copy, or remove it: the versions stay, their stamps are lost"
	currentLink      = "current"
	ownFolder        = ".updraft"
)

// directory is versions side by side; a link called current leads to one.
type directory struct {
	name    string
	path    string
	fs      disk.FS
	handles *handles

	mu     sync.Mutex
	stages map[string]*stage // by run, while it is open
}

// directoryState is the content of its state file. What current leads to
// decides about Boot.Active, not what stands here.
type directoryState struct {
	Updraft string `json:"updraft"`
	Boot    Boot   `json:"boot"`
	// Restarts counts the restarts of the program.
	Restarts int64            `json:"restarts,omitempty"`
	Stamps   map[string]Stamp `json:"stamps,omitempty"`
	Runs     records          `json:"runs,omitempty"`
}

func newDirectory(name string, p Place, fsys disk.FS, open *handles) *directory {
	return &directory{name: name, path: p.Directory, fs: fsys, handles: open, stages: map[string]*stage{}}
}

func (d *directory) at(names ...string) string {
	return path.Join(append([]string{d.path}, names...)...)
}
func (d *directory) stateFile() string         { return d.at(ownFolder, "state.json") }
func (d *directory) staging(run string) string { return d.at(ownFolder, "stage-"+run) }
func (d *directory) ref(part string) string    { return d.name + "@" + part }

// load reads the state, with Active from the link.
func (d *directory) load() (*directoryState, []byte, error) {
	st := new(directoryState)
	raw, found, err := readState(d.fs, d.stateFile(), directoryAdvice, st)
	if err != nil {
		return nil, nil, err
	}
	if found && (st.Updraft != directoryVersion || st.Boot.Tries < 0 || st.Restarts < 0) {
		return nil, nil, corrupt(d.stateFile(), directoryAdvice, fmt.Errorf("expected version %q and no negative counts", directoryVersion))
	}
	st.Updraft = directoryVersion
	if st.Boot.Active, err = d.current(); err != nil {
		return nil, nil, err
	}
	if !found && st.Boot.Active != "" {
		st.Boot.Good = []string{st.Boot.Active} // it came with the device
	}
	if st.Stamps == nil {
		st.Stamps = map[string]Stamp{}
	}
	return st, raw, nil
}

func (d *directory) save(st *directoryState, raw []byte) error {
	if err := disk.MkdirAll(d.fs, d.path, 0o755); err != nil {
		return err
	}
	if err := disk.MkdirAll(d.fs, d.at(ownFolder), 0o700); err != nil {
		return err
	}
	return writeState(d.fs, d.stateFile(), raw, st)
}

// update changes the state and makes it durable.
func (d *directory) update(change func(st *directoryState) error) error {
	st, raw, err := d.load()
	if err != nil {
		return err
	}
	if err := change(st); err != nil {
		return err
	}
	return d.save(st, raw)
}

// current gives the version that the link leads to, "" if there is none.
func (d *directory) current() (string, error) {
	link := d.at(currentLink)
	to, err := d.fs.Readlink(link)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "", nil
	case errors.Is(err, syscall.EINVAL):
		return "", fmt.Errorf("%s: %w: expected a link to a version", link, ErrConflict)
	case err != nil:
		return "", err
	}
	if version := path.Clean(to); plainVersion(version) {
		return version, nil
	}
	return "", fmt.Errorf("%s leads to %s: %w: expected a version beside it", link, quote(to), ErrConflict)
}

// plainVersion says whether s is the name of one folder that is not ours.
func plainVersion(s string) bool {
	return s != "" && s[0] != '.' && s != currentLink && !strings.ContainsAny(s, "/\\\x00")
}

// exists says whether a version is there.
func (d *directory) exists(version string) (bool, error) {
	info, err := d.fs.Lstat(d.at(version))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.IsDir(), err
}

func (d *directory) resolve(run, part string) (Target, error) {
	st, _, err := d.load()
	if err != nil {
		return Target{}, err
	}
	t := Target{Name: d.name, Type: Directory}
	switch {
	case part == "" && run == "" && st.Boot.Active == "":
		t.Ref = d.name // nothing is current yet
	case part == "active", part == currentLink, part == "" && run == "":
		if t.Part = st.Boot.Active; t.Part == "" {
			return Target{}, fmt.Errorf("no version is current in %s: %w", d.path, ErrUnknown)
		}
		t.Ref = d.ref(t.Part)
	case part == "", part == "inactive", part == run:
		if run == "" {
			return Target{}, fmt.Errorf("%w: a staged version belongs to a run", ErrUnknown)
		}
		t.Ref, t.Part = d.ref(run), run
		if rec := st.Runs.of(run); rec != nil && rec.Version != "" {
			t.Part = rec.Version
		}
	default:
		ok, err := d.isVersion(part)
		if err != nil {
			return Target{}, err
		}
		if !ok {
			return Target{}, fmt.Errorf("version %s: %w: there is no such folder in %s", quote(part), ErrUnknown, d.path)
		}
		t.Ref, t.Part = d.ref(part), part
	}
	t.Stamp = st.Stamps[t.Part]
	t.Size = t.Stamp.Size
	t.Active = t.Part != "" && t.Part == st.Boot.Active
	return t, nil
}

func (d *directory) isVersion(part string) (bool, error) {
	if !plainVersion(part) {
		return false, nil
	}
	return d.exists(part)
}

func (d *directory) boot() (Boot, error) {
	st, _, err := d.load()
	if err != nil {
		return Boot{}, err
	}
	return st.Boot, nil
}

func (d *directory) openRead(t Target, entry string) (*handle, error) {
	folder := d.at(t.Part)
	if ok, err := d.exists(t.Part); err != nil {
		return nil, err
	} else if !ok || t.Part == "" {
		folder = d.staging(t.Part)
	}
	if entry == "" {
		return openListing(d.fs, folder)
	}
	if err := checkEntry(entry); err != nil {
		return nil, err
	}
	sub, err := d.fs.Sub(folder)
	if err != nil {
		return nil, err
	}
	f, size, err := openEntryToRead(sub, entry)
	if err = errors.Join(err, closeFS(sub)); err != nil {
		return nil, err
	}
	return &handle{file: f, path: path.Join(folder, entry), size: size, entry: entry}, nil
}

func (d *directory) preserve(t Target, op Op) (undo Undo, err error) {
	if t.Ref != d.ref(op.Run) {
		return Undo{}, d.notOurs(t)
	}
	err = d.update(func(st *directoryState) error {
		if rec := st.Runs.of(op.Run); rec != nil && rec.Undo != nil {
			undo = *rec.Undo
			return nil
		}
		undo = Undo{Target: t.Ref, From: st.Boot.Active, None: st.Boot.Active == ""}
		rec, _ := st.Runs.need(op.Run)
		rec.Undo = &undo
		return nil
	})
	return undo, err
}

func (d *directory) notOurs(t Target) error {
	return fmt.Errorf("version %s is there already and never written into: %w: expected %s, which is the version staged for the run", t.Part, ErrDenied, d.name)
}

// invalidate has nothing to do: what is staged cannot be started.
func (d *directory) invalidate(t Target, op Op) error {
	if t.Ref != d.ref(op.Run) {
		return d.notOurs(t)
	}
	return nil
}

var goodVersion = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+~-]{0,99}$`)

func (d *directory) commit(ctx context.Context, t Target, op Op) (string, error) {
	version := op.Stamp.Version
	switch {
	case t.Ref != d.ref(op.Run):
		return "", d.notOurs(t)
	case !goodVersion.MatchString(version), version == currentLink:
		return "", fmt.Errorf("version %s cannot be the name of a folder: %w: expected a letter or digit, then up to 99 letters, digits and . _ + ~ -, and not current", quote(version), ErrDenied)
	}
	st, raw, err := d.load()
	if err != nil {
		return "", err
	}
	staged, err := disk.Exists(d.fs, d.staging(op.Run))
	if err != nil {
		return "", err
	}
	if !staged {
		return d.confirm(ctx, st, op)
	}
	if err := d.handles.seal(op.Run, t.Ref); err != nil {
		return "", err
	}
	list, err := listFolder(ctx, d.fs, d.staging(op.Run), true)
	if err != nil {
		d.handles.spoiled(op.Run, t.Ref)
		return "", err
	}
	if err := list.check(op); err != nil {
		return "", err
	}
	if err := d.publish(ctx, st, raw, op, list); err != nil {
		return "", err
	}
	return list.digest, nil
}

// publish gives the staged version its name, or drops it for an equal one that
// is there already.
func (d *directory) publish(ctx context.Context, st *directoryState, raw []byte, op Op, list listing) error {
	version, equal, err := d.free(ctx, op, list)
	if err != nil {
		return err
	}
	rec, _ := st.Runs.need(op.Run)
	// After a cut between rename and syncs an equal one may be this run's own.
	own := rec.Version == version && !rec.Reused && st.Stamps[version].Run == op.Run
	rec.Version, rec.Listing, rec.Reused = version, list.digest, equal && !own
	if !rec.Reused {
		st.Stamps[version] = Stamp{Version: op.Stamp.Version, SHA256: list.digest, Size: list.size, Run: op.Run, Source: op.Stamp.Source}
	}
	if err := d.save(st, raw); err != nil {
		return err
	}
	d.forget(op.Run)
	if equal {
		return d.discard(d.staging(op.Run), op.Run)
	}
	if err := d.fs.Rename(d.staging(op.Run), d.at(version)); err != nil {
		return err
	}
	return d.syncNames()
}

// syncNames makes the versions and the staged folders durable, the new place
// of what was moved before its old one goes.
func (d *directory) syncNames() error {
	if err := d.fs.SyncDir(d.path); err != nil {
		return err
	}
	return d.fs.SyncDir(d.at(ownFolder))
}

// free finds a name for what was staged. equal says that it is there already.
func (d *directory) free(ctx context.Context, op Op, list listing) (version string, equal bool, err error) {
	for _, version := range []string{op.Stamp.Version, op.Stamp.Version + "-" + op.Run} {
		info, err := d.fs.Lstat(d.at(version))
		if errors.Is(err, fs.ErrNotExist) {
			return version, false, nil
		}
		if err != nil {
			return "", false, err
		}
		if !info.IsDir() {
			continue
		}
		there, err := listFolder(ctx, d.fs, d.at(version), false)
		if err != nil {
			return "", false, err
		}
		if there.digest == list.digest {
			return version, true, nil
		}
	}
	return "", false, fmt.Errorf("version %s and %s-%s are there already with other content: %w", op.Stamp.Version, op.Stamp.Version, op.Run, ErrConflict)
}

// confirm answers a commit that was done before.
func (d *directory) confirm(ctx context.Context, st *directoryState, op Op) (string, error) {
	rec := st.Runs.of(op.Run)
	if rec == nil || rec.Version == "" {
		return "", fmt.Errorf("run %s staged nothing: %w", op.Run, fs.ErrNotExist)
	}
	list, err := listFolder(ctx, d.fs, d.at(rec.Version), false)
	if err != nil {
		return "", err
	}
	if list.digest != rec.Listing {
		return "", fmt.Errorf("version %s: %w since it was committed", rec.Version, ErrConflict)
	}
	if err := list.check(op); err != nil {
		return "", err
	}
	return list.digest, d.syncNames()
}

func (d *directory) abort(t Target, op Op) error {
	if t.Ref != d.ref(op.Run) {
		return d.notOurs(t)
	}
	d.forget(op.Run)
	d.handles.anew(op.Run, t.Ref)
	return d.discard(d.staging(op.Run), op.Run)
}

// discard removes a folder whole, so that half of it is never taken for one.
func (d *directory) discard(folder, run string) error {
	trash := d.at(ownFolder, "trash-"+run)
	if there, err := disk.Exists(d.fs, d.at(ownFolder)); err != nil || !there {
		return err
	}
	if err := disk.RemoveAll(d.fs, trash); err != nil {
		return err
	}
	err := d.fs.Rename(folder, trash)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.syncNames(); err != nil {
		return err
	}
	if err := disk.RemoveAll(d.fs, trash); err != nil {
		return err
	}
	return d.fs.SyncDir(d.at(ownFolder))
}

// versionOf gives the version that op speaks of: To, or what stands behind the @.
func (d *directory) versionOf(st *directoryState, part string, op Op) string {
	to := op.To
	if to == "" {
		to = part
	}
	if rec := st.Runs.of(op.Run); to == op.Run && rec != nil && rec.Version != "" {
		to = rec.Version
	}
	return to
}

func (d *directory) choose(part string, op Op) error {
	st, raw, err := d.load()
	if err != nil {
		return err
	}
	to := d.versionOf(st, part, op)
	if rec := st.Runs.of(op.Run); to == "" && rec != nil && rec.Undo != nil && rec.Undo.None {
		st.Boot.endTrial() // back to no version at all
		st.Boot.Nonce = op.Run
		if err := d.save(st, raw); err != nil {
			return err
		}
		return d.link("", op.Run)
	}
	if ok, err := d.isVersion(to); err != nil {
		return err
	} else if !ok {
		return fmt.Errorf("version %s: %w: there is no such folder in %s", quote(to), ErrUnknown, d.path)
	}
	if err := st.choosable(to, op); err != nil {
		return err
	}
	switch {
	case st.Boot.Nonce == op.Run && st.Boot.Next == to:
	case st.Boot.Active == to:
		st.Boot.endTrial()
	case op.Tries < 1:
		return fmt.Errorf("%d tries: %w: expected at least one", op.Tries, ErrDenied)
	default:
		st.Boot.Next, st.Boot.Tries = to, op.Tries
	}
	st.Boot.Nonce = op.Run
	if err := d.save(st, raw); err != nil {
		return err
	}
	return d.link(to, op.Run)
}

// choosable refuses what is not proven or whole, and what would undo the choice
// of somebody else.
func (st *directoryState) choosable(to string, op Op) error {
	b, rec := st.Boot, st.Runs.of(op.Run)
	if b.Next != "" && b.Nonce != op.Run {
		return fmt.Errorf("version %s is on trial for run %s: %w", b.Next, b.Nonce, ErrConflict)
	}
	known := []string{to}
	if rec != nil && rec.Undo != nil {
		known = append(known, rec.Undo.From, rec.Version)
		if b.Active != "" && !slices.Contains(known, b.Active) {
			return fmt.Errorf("version %s is current, the run found %s: %w", b.Active, quote(rec.Undo.From), ErrConflict)
		}
	}
	_, stamped := st.Stamps[to]
	if !stamped && !slices.Contains(b.Good, to) && !slices.Contains(known[1:], to) && to != b.Active {
		return fmt.Errorf("version %s is not committed: %w", to, ErrDenied)
	}
	return nil
}

// link makes current lead to a version, or to none. It can be called again.
func (d *directory) link(to, run string) error {
	now, err := d.current()
	if err != nil {
		return err
	}
	temp := d.at(ownFolder, "current-"+run)
	if err := d.fs.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch {
	case now == to:
	case to == "":
		err = d.fs.Remove(d.at(currentLink))
	default:
		if err = d.fs.Symlink(to, temp); err == nil {
			err = d.fs.Rename(temp, d.at(currentLink))
		}
	}
	if err != nil {
		return err
	}
	return d.fs.SyncDir(d.path)
}

func (d *directory) good(part string, op Op) error {
	return d.update(func(st *directoryState) error {
		b := &st.Boot
		version := d.versionOf(st, part, Op{Run: op.Run})
		switch {
		case b.Active == "":
			return fmt.Errorf("no version is current in %s: %w", d.path, ErrConflict)
		case version != "" && version != "active" && version != currentLink && version != b.Active:
			return fmt.Errorf("version %s is current, not %s: %w", b.Active, quote(version), ErrConflict)
		case b.Next != "" && b.Nonce != op.Run:
			return fmt.Errorf("version %s is on trial for run %s: %w", b.Next, b.Nonce, ErrConflict)
		case b.Next != "" && b.Next != b.Active:
			return fmt.Errorf("version %s is chosen and not current: %w", b.Next, ErrConflict)
		}
		b.endTrial()
		b.prove(b.Active)
		return nil
	})
}
