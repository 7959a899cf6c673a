package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
)

// Task is one call of a verb: what it may use, and where the run stands. It
// must not be shared between goroutines, and not be kept after the call but by the
// source that a filter gave.
type Task struct {
	Run, Step string
	Attempt   int // from 1
	Door      device.Door
	// In are the sources of the steps that a [Reader] reads, in its order.
	In []Source
	// Targets are the resolved targets of a [Toucher], by unresolved ref.
	Targets map[string]device.Target
	Scope   *Scope

	d       *drive
	out     map[string]any
	release map[string]any
	done    int64 // bytes last told
}

func (d *drive) task(s *Step, scope *Scope) *Task {
	return &Task{Run: d.r.id, Step: s.ID, Attempt: d.r.step(s.ID).attempt + 1, Door: d.e.c.Door, Scope: scope, d: d}
}

// Device spells the operations of Door out as methods.
func (t *Task) Device() device.Client { return device.Client{Door: t.Door, Run: t.Run} }

// Clock is the run's clock.
func (t *Task) Clock() disk.Clock { return t.d.e.c.Clock }

// Files is the file system of the state directory.
func (t *Task) Files() disk.FS { return t.d.e.c.FS }

// Workspace makes and gives a folder of the step's own in the state directory.
// It is removed when the run ends.
func (t *Task) Workspace() (string, error) {
	dir := path.Join(t.d.workDir(), t.Step)
	if t.d.dry {
		return "", errors.New("a plan has no workspace")
	}
	if err := disk.MkdirAll(t.d.e.c.FS, dir, 0o700); err != nil {
		return "", fmt.Errorf("make workspace: %w", err)
	}
	return dir, nil
}

// Planning reports whether this is a plan: Save keeps values in memory alone,
// there is no Workspace, and the door lists effects without having them.
func (t *Task) Planning() bool { return t.d.dry }

// Floor is the lowest securityVersion that the device accepts.
func (t *Task) Floor() int64 { return t.d.e.guard.now.Floor }

// SetOutput sets an output for expressions of later steps.
func (t *Task) SetOutput(name string, value any) {
	if t.out == nil {
		t.out = map[string]any{}
	}
	t.out[name] = value
}

// SetRelease sets what expressions see as release. Its securityVersion, an
// int64, becomes the floor when the run is confirmed.
func (t *Task) SetRelease(release map[string]any) { t.release = release }

// Save keeps a small value of the step, at most 63 KiB, durably, until the run ends.
func (t *Task) Save(ctx context.Context, key string, value []byte) error {
	return t.d.apply(ctx, Batch{Put: map[string][]byte{"step/" + t.Step + "/" + key: value}})
}

// Saved gives what Save kept, or nil.
func (t *Task) Saved(key string) []byte { return t.d.r.values["step/"+t.Step+"/"+key] }

func checkpointKey(step string) string { return "checkpoint/" + step }

// Checkpoint keeps where the step's effect stands: what it describes must be synced before.
// Each overwrites the last one.
func (t *Task) Checkpoint(ctx context.Context, state any) error {
	b, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	return t.d.apply(ctx, Batch{Put: map[string][]byte{checkpointKey(t.Step): b}})
}

// LastCheckpoint reads the step's checkpoint into state and reports whether there is one.
func (t *Task) LastCheckpoint(state any) (bool, error) {
	b := t.d.r.values[checkpointKey(t.Step)]
	if b == nil {
		return false, nil
	}
	if err := json.Unmarshal(b, state); err != nil {
		return false, fmt.Errorf("%w: checkpoint of step %s: %v", ErrStore, t.Step, err)
	}
	return true, nil
}

// Safe is a safe point: it returns an error if the run is to stop or turn
// back here, which Do must return.
func (t *Task) Safe(ctx context.Context) error { return t.d.safe(ctx) }

// Progress tells how many bytes of the step are done; total is 0 if unknown.
// It never goes back and may be called often.
func (t *Task) Progress(done, total int64) {
	t.done = max(t.done, done)
	t.d.event(Event{Kind: EventProgress, Step: t.Step, Done: t.done, Total: total})
}

// Log adds a line to the run's events.
func (t *Task) Log(text string) { t.d.event(Event{Kind: EventLog, Step: t.Step, Text: text}) }

// Report sends an interim report as an event.
func (t *Task) Report(text string) { t.d.event(Event{Kind: EventReport, Step: t.Step, Text: text}) }

// File gives a file that the workflow document names, as it was when the
// command was accepted.
func (t *Task) File(name string) ([]byte, error) {
	if data, ok := t.d.graph.Files[name]; ok {
		return data, nil
	}
	if a := t.d.r.accepted; a != nil && a.Files[name] != "" {
		return t.d.e.blobs.get(a.Files[name])
	}
	return nil, fmt.Errorf("file %q was not stored with the workflow", name)
}

// Booted is when the new version was first seen running, on the wall clock.
func (t *Task) Booted() time.Time { return t.d.r.booted }

// Writes are the targets that steps of this run have written or, in a plan,
// would have written so far.
func (t *Task) Writes() []device.Target {
	var out []device.Target
	for _, id := range t.d.r.intents {
		for _, target := range t.d.r.step(id).intent.Targets {
			out = append(out, target)
		}
	}
	return out
}

// Restart makes the device start from what this run has written, and returns
// nil once it does. scope is "device", the name of a directory whose
// program restarts, or "" to switch directories without a restart. Before
// it has happened it returns a [*Wait], and a [*Failure] with code fell_back when the
// old version came back.
func (t *Task) Restart(ctx context.Context, scope string, tries int) error {
	return t.d.restart(ctx, t.Step, scope, tries)
}

// Confirm records that the new version is proven. From then on the run
// succeeds; the slot is marked good and the version floor rises.
func (t *Task) Confirm(ctx context.Context) error {
	if t.d.r.confirmed {
		return t.d.settle(ctx)
	}
	if err := t.d.append(ctx, KindConfirmed, t.Step, nil, nil); err != nil {
		return err
	}
	t.d.event(Event{Kind: EventRestart, Step: t.Step, State: "confirmed"})
	return t.d.settle(ctx)
}
