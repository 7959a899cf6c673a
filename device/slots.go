package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/internal/disk"
)

// slots are images side by side, one of which the device has started from.
type slots struct {
	name    string
	files   map[string]string
	names   []string // sorted
	space   int64    // bytes; 0: a file may grow
	fs      disk.FS
	file    *bootFile
	handles *handles
}

func newSlots(name string, p Place, fsys disk.FS, file *bootFile, open *handles) *slots {
	names := slices.Sorted(maps.Keys(p.Slots))
	first := names[0]
	if p.Active != "" {
		first = p.Active
	}
	file.pairs[name] = pair{names: names, first: first}
	return &slots{name: name, files: p.Slots, names: names, space: p.Space, fs: fsys, file: file, handles: open}
}

func (s *slots) ref(part string) string { return s.name + "@" + part }

func (s *slots) load() (*bootTarget, error) {
	st, _, err := s.file.load()
	if err != nil {
		return nil, err
	}
	return st.Targets[s.name], nil
}

// part finds out which slot is meant.
func (s *slots) part(b *bootTarget, name string) (string, error) {
	switch name {
	case "", "active", currentLink:
		return b.Active, nil
	case "inactive":
		for _, slot := range s.names {
			if slot != b.Active {
				return slot, nil
			}
		}
	}
	if !slices.Contains(s.names, name) {
		return "", fmt.Errorf("slot %s: %w (have %s)", quote(name), ErrUnknown, strings.Join(s.names, ", "))
	}
	return name, nil
}

func (s *slots) resolve(_, name string) (Target, error) {
	b, err := s.load()
	if err != nil {
		return Target{}, err
	}
	part, err := s.part(b, name)
	if err != nil {
		return Target{}, err
	}
	t := Target{Ref: s.ref(part), Name: s.name, Type: Slots, Part: part, Active: part == b.Active, Space: s.space, Stamp: b.Stamps[part]}
	at, err := look(s.fs, s.files[part])
	if err != nil {
		return Target{}, err
	}
	t.Size = at.size
	if t.Stamp.SHA256 != "" {
		t.Size = t.Stamp.Size
	}
	if at.device {
		t.Space = at.size
	}
	return t, nil
}

func (s *slots) boot() (Boot, error) {
	b, err := s.load()
	if err != nil {
		return Boot{}, err
	}
	return b.Boot, nil
}

func (s *slots) openRead(t Target, entry string) (*handle, error) {
	if entry != "" {
		return nil, fmt.Errorf("a slot has no entries: %w", ErrDenied)
	}
	f, err := s.fs.OpenFile(s.files[t.Part], os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return &handle{file: f, path: s.files[t.Part], size: t.Size}, nil
}

// preserve keeps nothing but the answer: a write never touches what runs.
func (s *slots) preserve(t Target, op Op) (undo Undo, err error) {
	err = s.file.update(func(st *bootState) error {
		b := st.Targets[s.name]
		if rec := b.Runs.of(op.Run); rec != nil && rec.Undo != nil && rec.Undo.Target == t.Ref {
			undo = *rec.Undo
			return nil
		}
		if t.Part == b.Active {
			return fmt.Errorf("slot %s is active: %w", t.Part, ErrDenied)
		}
		undo = Undo{Target: t.Ref, From: b.Active, To: t.Part}
		rec, _ := b.Runs.need(op.Run)
		rec.Undo = &undo
		return nil
	})
	return undo, err
}

func (s *slots) invalidate(t Target, op Op) error {
	err := s.file.update(func(st *bootState) error {
		b := st.Targets[s.name]
		switch {
		case t.Part == b.Active:
			return fmt.Errorf("slot %s is active: %w", t.Part, ErrDenied)
		case t.Part == b.Next && b.onTrial() && b.Nonce != op.Run:
			return fmt.Errorf("slot %s is on trial for run %s: %w", t.Part, b.Nonce, ErrDenied)
		case len(b.Good) == 1 && b.Good[0] == t.Part:
			return fmt.Errorf("slot %s is the only proven one: %w", t.Part, ErrDenied)
		}
		if t.Part == b.Next {
			b.endTrial()
		}
		b.disprove(t.Part)
		delete(b.Stamps, t.Part)
		return nil
	})
	if err == nil && s.handles.isSpoilt(op.Run, t.Ref) {
		if err = s.empty(s.files[t.Part]); err == nil {
			s.handles.anew(op.Run, t.Ref)
		}
	}
	return err
}

// empty drops what a failed sync may have lost, so that nobody goes on behind
// it. A slot of a fixed size stays as it is; there the read-back at commit decides.
func (s *slots) empty(file string) error {
	at, err := look(s.fs, file)
	if err != nil || at.missing || at.device || s.space > 0 {
		return err
	}
	f, err := s.fs.OpenFile(at.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(0), f.Close())
}

// writable refuses a slot that a boot loader might start.
func (s *slots) writable(b *bootTarget, part string) error {
	_, stamped := b.Stamps[part]
	switch {
	case part == b.Active:
		return fmt.Errorf("slot %s is active: %w", part, ErrDenied)
	case slices.Contains(b.Good, part), part == b.Next, stamped:
		return fmt.Errorf("slot %s may still be started, it must be invalidated first: %w", part, ErrDenied)
	}
	other, err := look(s.fs, s.files[b.Active])
	if err != nil {
		return err
	}
	own, err := look(s.fs, s.files[part])
	if err != nil {
		return err
	}
	if own.path == other.path {
		return fmt.Errorf("slots %s and %s are the same file %s: %w", part, b.Active, own.path, ErrDenied)
	}
	return nil
}

func (s *slots) open(t Target, op Op) (*handle, error) {
	b, err := s.load()
	if err != nil {
		return nil, err
	}
	if err := s.writable(b, t.Part); err != nil {
		return nil, err
	}
	if op.Size < 0 {
		return nil, fmt.Errorf("quota %d: %w: it is negative", op.Size, ErrDenied)
	}
	if s.handles.isSpoilt(op.Run, t.Ref) {
		return nil, fmt.Errorf("a sync of %s has failed, it must be invalidated and written anew: %w", t.Ref, fs.ErrInvalid)
	}
	at, err := look(s.fs, s.files[t.Part])
	if err != nil {
		return nil, err
	}
	if at.missing && strings.HasPrefix(at.path, "/dev/") {
		return nil, fmt.Errorf("no device %s: %w", at.path, fs.ErrNotExist)
	}
	f, err := s.fs.OpenFile(at.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	h := &handle{file: f, path: at.path, size: at.size, write: true, limit: t.Space, why: "the slot", keep: at.device || s.space > 0}
	if op.Size > 0 && (h.limit == 0 || op.Size < h.limit) {
		h.limit, h.why = op.Size, "the quota"
	}
	if !at.device { // a call that was killed may have made the file
		if err := s.fs.SyncDir(path.Dir(at.path)); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return h, nil
}

func (s *slots) commit(ctx context.Context, t Target, op Op) (string, error) {
	b, err := s.load()
	if err != nil {
		return "", err
	}
	if have := b.Stamps[t.Part]; have.Run == op.Run && have.Size == op.Size && have.SHA256 != "" {
		return s.confirm(ctx, t, op, have)
	}
	if err := s.writable(b, t.Part); err != nil {
		return "", err
	}
	if op.Size <= 0 {
		return "", fmt.Errorf("%d bytes: %w: expected the number of bytes written", op.Size, ErrDenied)
	}
	if err := s.handles.seal(op.Run, t.Ref); err != nil {
		return "", err
	}
	if err := s.settle(s.files[t.Part], op.Size); err != nil {
		s.handles.spoiled(op.Run, t.Ref)
		return "", err
	}
	digest, err := readBack(ctx, s.fs, s.files[t.Part], op.Size)
	if err != nil {
		return "", err
	}
	if op.Digest != "" && op.Digest != digest {
		return "", fmt.Errorf("%w: expected sha256 %s, have %s", ErrDigest, quote(op.Digest), digest)
	}
	stamp := Stamp{Version: op.Stamp.Version, SHA256: digest, Size: op.Size, Run: op.Run, Source: op.Stamp.Source}
	return digest, s.file.update(func(st *bootState) error {
		b := st.Targets[s.name]
		if err := s.writable(b, t.Part); err != nil {
			return err
		}
		if b.Stamps == nil {
			b.Stamps = map[string]Stamp{}
		}
		b.Stamps[t.Part] = stamp
		return nil
	})
}

// confirm answers a commit that was done before.
func (s *slots) confirm(ctx context.Context, t Target, op Op, have Stamp) (string, error) {
	digest, err := readBack(ctx, s.fs, s.files[t.Part], op.Size)
	if err != nil {
		return "", err
	}
	if digest != have.SHA256 {
		return "", fmt.Errorf("the slot's bytes are not those of its stamp: %w: expected sha256 %s, have %s", ErrConflict, have.SHA256, digest)
	}
	if op.Digest != "" && op.Digest != digest {
		return "", fmt.Errorf("%w: expected sha256 %s, have %s", ErrDigest, quote(op.Digest), digest)
	}
	return digest, s.file.update(func(*bootState) error { return nil })
}

// settle makes the first size bytes durable, and all there is of a file that
// may grow.
func (s *slots) settle(file string, size int64) (err error) {
	at, err := look(s.fs, file)
	if err != nil {
		return err
	}
	f, err := s.fs.OpenFile(at.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if at.size < size {
		return fmt.Errorf("%s has %d bytes, %d were to be committed: %w", at.path, at.size, size, ErrDigest)
	}
	if !at.device && s.space == 0 && at.size > size {
		if err := f.Truncate(size); err != nil {
			return err
		}
	}
	return f.Sync()
}

// abort has nothing to remove: the slot stays invalid.
func (s *slots) abort(Target, Op) error { return nil }

func (s *slots) choose(part string, op Op) error {
	to := op.To
	if to == "" {
		to = part
	}
	return s.file.update(func(st *bootState) error {
		b := st.Targets[s.name]
		if !slices.Contains(s.names, to) {
			return fmt.Errorf("slot %s: %w (have %s)", quote(to), ErrUnknown, strings.Join(s.names, ", "))
		}
		_, stamped := b.Stamps[to]
		back := to == b.Active && slices.Contains(b.Good, to)
		switch {
		case b.Nonce == op.Run && b.Next == to && b.onTrial() && !back:
			return nil // a trial that is used up is chosen anew
		case b.onTrial() && b.Nonce != op.Run:
			return fmt.Errorf("slot %s is on trial for run %s: %w", b.Next, b.Nonce, ErrConflict)
		case to == b.Active:
			b.endTrial()
			b.Nonce = op.Run
			return nil
		case !stamped && !slices.Contains(b.Good, to):
			return fmt.Errorf("slot %s is not committed: %w", to, ErrDenied)
		case op.Tries < 1:
			return fmt.Errorf("%d tries: %w: expected at least one", op.Tries, ErrDenied)
		}
		b.Next, b.Tries, b.Nonce = to, op.Tries, op.Run
		return nil
	})
}

func (s *slots) good(part string, op Op) error {
	return s.file.update(func(st *bootState) error {
		b := st.Targets[s.name]
		switch {
		case part != "" && part != "active" && part != b.Active:
			return fmt.Errorf("slot %s is running, not %s: %w", b.Active, quote(part), ErrConflict)
		case b.onTrial() && b.Nonce != op.Run:
			return fmt.Errorf("slot %s is on trial for run %s: %w", b.Next, b.Nonce, ErrConflict)
		case b.Next != "" && b.Next != b.Active && b.Tries > 0:
			return fmt.Errorf("slot %s is chosen and not started yet: %w", b.Next, ErrConflict)
		}
		b.endTrial()
		b.prove(b.Active)
		return nil
	})
}

func (s *slots) restore(_ context.Context, op Op) error {
	undo := op.Undo
	return s.file.update(func(st *bootState) error {
		b := st.Targets[s.name]
		if undo.Target != s.ref(undo.To) || !slices.Contains(s.names, undo.To) {
			return fmt.Errorf("undo of %s: %w: it is not this target's", quote(undo.Target), ErrDenied)
		}
		mine := b.Stamps[undo.To].Run == op.Run
		switch {
		case b.Active == undo.To && (mine || b.Nonce == op.Run):
			return fmt.Errorf("slot %s is running: %w: choose %s and restart first", undo.To, ErrDenied, undo.From)
		case b.Next == undo.To && b.onTrial() && b.Nonce != op.Run:
			return fmt.Errorf("slot %s is on trial for run %s: %w", b.Next, b.Nonce, ErrConflict)
		case b.Active != undo.From:
			return fmt.Errorf("slot %s is active, it was %s: %w", b.Active, quote(undo.From), ErrConflict)
		}
		if b.Nonce == op.Run {
			b.endTrial()
		}
		if mine {
			b.disprove(undo.To)
			delete(b.Stamps, undo.To)
		}
		b.Runs.drop(op.Run)
		return nil
	})
}
