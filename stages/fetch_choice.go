package stages

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/trust"
)

// choice is the decision between the deltas of an artifact and its full image.
type choice struct {
	Delta int    `json:"delta"`          // index in the manifest, or -1 for the full image
	Base  string `json:"base,omitempty"` // resolved
}

// choose gives the source of an artifact. What was decided once holds until
// the run ends, or until a delta turns out not to work.
func (f *Fetch) choose(ctx context.Context, t *engine.Task, art *trust.Artifact) (engine.Source, error) {
	var is choice
	proven := false
	if saved := t.Saved("choice"); saved != nil {
		if err := json.Unmarshal(saved, &is); err != nil {
			return nil, fmt.Errorf("%w: choice of a delta: %w", engine.ErrStore, err)
		}
		if is.Delta >= len(art.Deltas) {
			return nil, fmt.Errorf("%w: choice of delta %d of %d", engine.ErrStore, is.Delta+1, len(art.Deltas))
		}
	} else {
		var why string
		var err error
		if is, why, err = f.decide(ctx, t, art); err != nil {
			return nil, err
		}
		if err := saveChoice(ctx, t, is); err != nil {
			return nil, err
		}
		t.Log(why)
		proven = true
	}
	if is.Delta < 0 {
		address, err := f.resolve(art.URL)
		return f.c.source(t, address, art.Size, art.SHA256, ""), err
	}
	return f.delta(t, art, is, proven)
}

func saveChoice(ctx context.Context, t *engine.Task, is choice) error {
	data, err := json.Marshal(is)
	if err != nil {
		return fmt.Errorf("keep choice: %w", err)
	}
	return t.Save(ctx, "choice", data)
}

func (f *Fetch) resolve(ref string) (string, error) {
	address, err := trust.Resolve(f.Manifest, ref)
	if err != nil {
		return "", refused("untrusted", "%w", err)
	}
	return address, nil
}

// delta is the artifact made from what the device has.
func (f *Fetch) delta(t *engine.Task, art *trust.Artifact, is choice, proven bool) (engine.Source, error) {
	d := art.Deltas[is.Delta]
	format, err := delta.Lookup(d.Format)
	if err != nil {
		return nil, &engine.Failure{Code: "delta", Err: err}
	}
	address, err := f.resolve(d.URL)
	if err != nil {
		return nil, err
	}
	return &patched{
		c: f.c, t: t, format: format,
		patch:    f.c.source(t, address, d.Size, d.SHA256, ""),
		base:     is.Base,
		baseSize: d.BaseSize, baseSHA256: d.BaseSHA256, proven: proven,
		size: art.Size, digest: art.SHA256,
		instead: func(ctx context.Context, cause error) error {
			t.Log(fmt.Sprintf("the delta does not work (%v): fetch the full image of %d bytes instead", cause, art.Size))
			return saveChoice(ctx, t, choice{Delta: -1})
		},
	}, nil
}

// decide takes the first delta that can be used, and says why in one line.
func (f *Fetch) decide(ctx context.Context, t *engine.Task, art *trust.Artifact) (choice, string, error) {
	full := choice{Delta: -1}
	because := func(why string) (choice, string, error) {
		return full, fmt.Sprintf("%s: full image of %d bytes, since %s", art.Name, art.Size, why), nil
	}
	if f.Base == "" {
		return because("no base is named")
	}
	if len(art.Deltas) == 0 {
		return because("the release has no delta for it")
	}
	ref, err := resolveBase(ctx, t, f.Base)
	if errors.Is(err, errNoBase) {
		return because(f.Base + " holds nothing")
	}
	if err != nil {
		return full, "", err
	}
	b, err := openBase(ctx, t, ref)
	if errors.Is(err, errNoBase) {
		return because(f.Base + " holds nothing")
	}
	if err != nil {
		return full, "", err
	}
	best, why, err := f.fitting(ctx, t, art, b)
	if err = errors.Join(err, b.Close()); err != nil {
		return full, "", err
	}
	if best < 0 {
		return because(why)
	}
	d := art.Deltas[best]
	return choice{best, ref}, fmt.Sprintf("%s: %s delta of %d bytes instead of the full image of %d, from %s", art.Name, d.Format, d.Size, art.Size, ref), nil
}

// fitting finds the first delta whose base is b, or says what is wrong with
// each. Only what could be used is worth hashing the base for.
func (f *Fetch) fitting(ctx context.Context, t *engine.Task, art *trust.Artifact, b *device.Reader) (int, string, error) {
	why := make([]string, len(art.Deltas))
	var sizes []int64
	for i, d := range art.Deltas {
		if why[i] = f.unusable(t, art, d, b.Size()); why[i] == "" {
			sizes = append(sizes, d.BaseSize)
		}
	}
	sums, err := prefixes(ctx, t, b, sizes)
	if err != nil {
		return -1, "", err
	}
	for i, d := range art.Deltas {
		if why[i] == "" && sums[d.BaseSize] == d.BaseSHA256 {
			return i, "", nil
		}
		why[i] = cmp.Or(why[i], fmt.Sprintf("starts from another base than %s", f.Base))
	}
	for i := range why {
		why[i] = fmt.Sprintf("delta %d (%.20s) %s", i+1, art.Deltas[i].Format, why[i])
	}
	const most = 3
	if len(why) > most {
		why = append(why[:most], fmt.Sprintf("and %d more do not fit", len(why)-most))
	}
	return -1, strings.Join(why, ", "), nil
}

// unusable says why a delta is out of the question whatever the base holds.
func (f *Fetch) unusable(t *engine.Task, art *trust.Artifact, d trust.Delta, have int64) string {
	format, err := delta.Lookup(d.Format)
	if err != nil {
		return "has an unknown format"
	}
	if d.Size >= art.Size {
		return "is no smaller"
	}
	if d.BaseSize > have {
		return fmt.Sprintf("starts from %d bytes, %s has %d", d.BaseSize, f.Base, have)
	}
	if need, limit := format.Need(d.BaseSize, art.Size), f.c.DeltaMemory; need > limit {
		return fmt.Sprintf("needs %d bytes of memory, the limit is %d", need, limit)
	}
	if t.Planning() || format.Streams() {
		return ""
	}
	// It lies whole in the workspace before it is used.
	dir, err := t.Workspace()
	if err != nil {
		return "has no room: " + err.Error()
	}
	if free, err := t.Files().Free(dir); err == nil && free < d.Size {
		return fmt.Sprintf("needs %d bytes on the disk, %d are free", d.Size, free)
	}
	return ""
}
