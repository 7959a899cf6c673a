package device

import (
	"context"
	"fmt"
)

// restore makes the version current again that the run found, and removes what
// the run made. It never removes a version that was there before.
func (d *directory) restore(_ context.Context, op Op) error {
	undo := op.Undo
	if undo.Target != d.ref(op.Run) {
		return fmt.Errorf("undo of %s: %w: it is not of this target and run", quote(undo.Target), ErrDenied)
	}
	st, raw, err := d.load()
	if err != nil {
		return err
	}
	version, mine := "", false
	if rec := st.Runs.of(op.Run); rec != nil {
		version = rec.Version
		mine = version != "" && !rec.Reused && st.Stamps[version].Run == op.Run
	}
	if err := d.linkBack(st, undo, version, op.Run); err != nil {
		return err
	}
	if st.Boot.Nonce == op.Run {
		st.Boot.endTrial()
	}
	if mine {
		st.Boot.disprove(version)
	}
	st.Boot.Active = undo.From
	// The run is forgotten last: until then it says which version to remove.
	if err := d.save(st, raw); err != nil {
		return err
	}
	d.forget(op.Run)
	d.handles.anew(op.Run, undo.Target)
	if err := d.discard(d.staging(op.Run), op.Run); err != nil {
		return err
	}
	if mine {
		if err := d.discard(d.at(version), op.Run); err != nil {
			return err
		}
	}
	return d.update(func(st *directoryState) error {
		if mine {
			delete(st.Stamps, version)
		}
		st.Runs.drop(op.Run)
		return nil
	})
}

// linkBack undoes the switch of current, if there was one and nobody has
// switched since.
func (d *directory) linkBack(st *directoryState, undo Undo, version, run string) error {
	now := st.Boot.Active
	switch {
	case now == undo.From:
		return nil
	case version == "" || now != version || st.Boot.Nonce != run:
		return fmt.Errorf("version %s is current, the run found %s: %w", quote(now), quote(undo.From), ErrConflict)
	}
	if undo.From != "" {
		if ok, err := d.isVersion(undo.From); err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("version %s, which was current before, is gone: %w", quote(undo.From), ErrConflict)
		}
	}
	return d.link(undo.From, run)
}
