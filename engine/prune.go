package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/internal/disk"
)

// KeptRuns is how many ended runs [Engine.Prune] keeps: for people who ask what
// happened, and so that a command that comes a second time is known.
const KeptRuns = 20

// Pruner is a [Store] that can forget a run. A run whose deletion was cut short
// must be gone.
type Pruner interface {
	Delete(ctx context.Context, run string) error
}

// Prune forgets ended runs beyond the last [KeptRuns], and the stored files and
// folders that no kept run needs. A run that has not ended or whose reports
// were not delivered is kept, as is the last one, which the guard names.
// Reports to planes that unheard names keep no run: nobody will ever take them. It may be cut at any moment and is done again at the next call. While a
// run is driven it does nothing.
func (e *Engine) Prune(ctx context.Context, unheard func(plane string) bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.live != nil {
		return nil
	}
	ids, err := e.runs(ctx)
	if err != nil {
		return err
	}
	var kept, old, damaged []*run
	for _, id := range ids {
		r, err := e.load(ctx, id)
		if err != nil {
			return err
		}
		switch {
		case r.accepted == nil && r.lost == nil && id != e.guard.now.Run:
			damaged = append(damaged, r) // what could not be read is told by load
		case r.ended == nil, id == e.guard.now.Run, r.waits(unheard):
			kept = append(kept, r)
		default:
			old = append(old, r)
		}
	}
	slices.SortStableFunc(old, func(a, b *run) int { return b.later(a) })
	room := KeptRuns
	if slices.ContainsFunc(kept, func(r *run) bool { return r.ended != nil && r.id == e.guard.now.Run && !r.waits(unheard) }) {
		room--
	}
	if store, ok := e.c.Store.(Pruner); ok {
		some := min(room, len(old))
		for _, r := range slices.Concat(old[some:], damaged) {
			if err := store.Delete(ctx, r.id); err != nil {
				return fmt.Errorf("forget run %s: %w", r.id, err)
			}
		}
		old = old[:some]
	}
	return errors.Join(e.pruneFiles(slices.Concat(kept, old)), e.pruneWork(kept))
}

// waits reports whether a report of the run was not delivered, and may be.
func (r *run) waits(unheard func(plane string) bool) bool {
	for key := range r.values {
		if strings.HasPrefix(key, outbox) {
			rep, err := r.report(key)
			if err != nil || unheard == nil || !unheard(rep.Plane) {
				return true
			}
		}
	}
	return false
}

// pruneFiles removes stored documents, modules and commands that no run names.
func (e *Engine) pruneFiles(runs []*run) error {
	named := map[string]bool{e.guard.now.Accepted: true}
	documents := map[string]bool{}
	for _, r := range runs {
		if r.accepted == nil {
			continue
		}
		documents[r.accepted.Document] = true
		named[r.accepted.Document], named[commandDigest(r.accepted)] = true, true
		for _, sum := range r.accepted.Files {
			named[sum] = true
		}
	}
	maps.DeleteFunc(e.graphs, func(document string, _ *Graph) bool { return !documents[document] })
	return e.removeOthers(e.blobs.dir, named)
}

// pruneWork removes the folders of runs that have ended or are gone.
func (e *Engine) pruneWork(kept []*run) error {
	open := map[string]bool{}
	for _, r := range kept {
		open[r.id] = r.ended == nil
	}
	return e.removeOthers(path.Join(e.c.Dir, "work"), open)
}

func (e *Engine) removeOthers(dir string, keep map[string]bool) error {
	there, err := disk.Exists(e.c.FS, dir)
	if err != nil || !there {
		return err
	}
	entries, err := e.c.FS.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, entry := range entries {
		if keep[entry.Name()] {
			continue
		}
		if err := disk.RemoveAll(e.c.FS, path.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("remove what no run needs: %w", err)
		}
	}
	return nil
}
