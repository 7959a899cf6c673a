package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
)

// do calls a step with an effect: its filters are built, its targets resolved
// and preserved, then intent, effect, done. The bytes flow through once.
func (d *drive) do(ctx context.Context, s *Step) error {
	in, chain, err := d.sources(ctx, s)
	if err != nil {
		return err
	}
	t, verb, err := d.bind(ctx, s)
	if err != nil {
		return err
	}
	again, err := d.storeFirst(ctx, t, verb, s, in)
	if err != nil || again {
		if err == nil {
			err = d.do(ctx, s)
		}
		return err
	}
	t.In = in
	state := d.r.step(s.ID)
	resumed := state.intent != nil
	if !resumed {
		already, err := d.already(ctx, verb, in)
		if err != nil {
			return err
		}
		if already {
			d.event(Event{Kind: EventStep, Step: s.ID, State: "already"})
			if k, ok := verb.(Skipper); ok {
				k.Skipped(t)
			}
			return d.finish(ctx, s, done{Already: true, Outputs: d.gather(s, t), Release: d.release}, chain)
		}
		if err := d.intend(ctx, s, verb, chain, in); err != nil {
			return err
		}
	}
	t.Targets = state.intent.Targets
	if p, ok := verb.(Prober); ok && resumed {
		found, err := p.Probe(ctx, t)
		if err != nil {
			return fmt.Errorf("find out how far the step came: %w", err)
		}
		if found == Done {
			return d.finish(ctx, s, done{Outputs: d.gather(s, t)}, chain)
		}
	}
	if err := verb.(Doer).Do(ctx, t); err != nil {
		return err
	}
	return d.finish(ctx, s, done{Outputs: d.gather(s, t), Release: d.release}, chain)
}

// intend makes durable what the step is about to do, and how to take it back.
func (d *drive) intend(ctx context.Context, s *Step, verb any, chain []string, in []Source) error {
	rec := intent{Chain: chain, Targets: map[string]device.Target{}, Outputs: d.outputs, Release: d.release}
	for _, src := range in {
		rec.Inputs = append(rec.Inputs, src.Digest())
	}
	if toucher, ok := verb.(Toucher); ok {
		for _, ref := range toucher.Touches() {
			a, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.AskTarget, Run: d.r.id, Target: ref})
			if err != nil {
				return fmt.Errorf("target %s: %w", ref, err)
			}
			undo, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.Preserve, Run: d.r.id, Target: a.Target.Ref})
			if err != nil {
				return fmt.Errorf("preserve %s: %w", a.Target.Ref, err)
			}
			rec.Targets[ref] = a.Target
			rec.Undo = append(rec.Undo, undo.Undo)
		}
	}
	return d.append(ctx, KindIntent, s.ID, rec, nil)
}

// already reports whether the one target of the step runs from the one
// artifact that it would install.
func (d *drive) already(ctx context.Context, verb any, in []Source) (bool, error) {
	toucher, ok := verb.(Toucher)
	if !ok || len(in) != 1 || in[0].Digest() == "" || len(toucher.Touches()) != 1 {
		return false, nil
	}
	a, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.AskTarget, Run: d.r.id, Target: toucher.Touches()[0]})
	if err != nil || a.Target.Type == device.File {
		return false, err
	}
	running, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.AskTarget, Run: d.r.id, Target: a.Target.Name + "@active"})
	if errors.Is(err, device.ErrUnknown) || errors.Is(err, os.ErrNotExist) {
		return false, nil // a directory without a version
	}
	if err != nil {
		return false, err
	}
	boot, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.AskBoot, Target: a.Target.Name})
	if err != nil {
		return false, err
	}
	return boot.Boot.Next == "" && running.Target.Stamp.Source == in[0].Digest(), nil
}

// finish records that the step and the filters that flowed into it are done.
func (d *drive) finish(ctx context.Context, s *Step, rec done, chain []string) error {
	if err := d.append(ctx, KindDone, s.ID, rec, nil, checkpointKey(s.ID)); err != nil {
		return err
	}
	for _, id := range chain {
		if d.r.step(id).done == nil {
			if err := d.append(ctx, KindDone, id, done{}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// gather takes the outputs of a step's task.
func (d *drive) gather(s *Step, t *Task) map[string]map[string]any {
	if len(t.out) > 0 {
		d.outputs[s.ID] = t.out
	}
	return d.outputs
}

// sources builds what a step reads, filters that flow into it included, and
// lists those filters.
func (d *drive) sources(ctx context.Context, s *Step) (in []Source, chain []string, err error) {
	reader, ok := s.Static.(Reader)
	if !ok {
		return nil, nil, nil
	}
	for _, id := range reader.Reads() {
		src, via, err := d.source(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		in, chain = append(in, src), append(chain, via...)
	}
	return in, chain, nil
}

func (d *drive) source(ctx context.Context, id string) (Source, []string, error) {
	s := d.graph.step(id)
	if s == nil {
		return nil, nil, fmt.Errorf("reads unknown step %q", id)
	}
	if was := d.r.step(id).done; was != nil && was.Stored != nil {
		return &fileSource{d.e.c.FS, d.storedName(id), *was.Stored}, nil, nil
	} else if was != nil && was.Skipped {
		return nil, nil, fmt.Errorf("reads step %q, which was skipped", id)
	}
	in, chain, err := d.sources(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	src, err := d.filter(ctx, s, in)
	if err != nil {
		return nil, nil, inStep(id, err)
	}
	return src, append(chain, id), nil
}

// filter calls a filter verb; errors of its streams keep its step.
func (d *drive) filter(ctx context.Context, s *Step, in []Source) (Source, error) {
	t, verb, err := d.bind(ctx, s)
	if err != nil {
		return nil, err
	}
	src, err := verb.(Filter).Filter(ctx, t, in)
	if err != nil {
		return nil, err
	}
	if len(t.out) > 0 {
		d.outputs[s.ID] = t.out
	}
	if t.release != nil {
		d.release = t.release
	}
	named := stepSource{src, s, d.e.c.Clock}
	if r, ok := src.(Random); ok {
		return randomStep{named, r}, nil
	}
	return named, nil
}

// storeFirst stores the inputs of a verb that cannot take them as they come.
// It reports whether anything was stored.
func (d *drive) storeFirst(ctx context.Context, t *Task, verb any, s *Step, in []Source) (bool, error) {
	storer, ok := verb.(Storer)
	if !ok {
		return false, nil
	}
	t.In = in
	want, err := storer.Stored(ctx, t)
	if err != nil || !want {
		return false, err
	}
	some := false
	for i, id := range s.Static.(Reader).Reads() {
		if _, whole := in[i].(Random); whole {
			continue
		}
		if err := d.store(ctx, d.graph.step(id)); err != nil {
			return false, err
		}
		some = true
	}
	return some, nil
}

// store writes a filter's bytes to a file of the state directory. It changes
// nothing on the device, so that it has no intent. The file has its name from
// the start: the done record says that it is whole.
func (d *drive) store(ctx context.Context, s *Step) error {
	in, chain, err := d.sources(ctx, s)
	if err != nil {
		return err
	}
	src, err := d.filter(ctx, s, in)
	if err != nil {
		return err
	}
	t := d.task(s, d.scope())
	name := d.storedName(s.ID)
	if err := disk.MkdirAll(d.e.c.FS, path.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := d.e.c.FS.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil { // a checkpoint must not outlive the name of its file
		err = d.e.c.FS.SyncDir(path.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("store artifact: %w", err)
	}
	wrote, err := t.Copy(ctx, src, f)
	if err == nil {
		err = f.Truncate(wrote.Size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return d.finish(ctx, s, done{Stored: &stored{wrote.Size, wrote.SHA256}, Outputs: d.outputs, Release: d.release}, chain)
}

func (d *drive) storedName(id string) string { return path.Join(d.workDir(), id, "artifact") }

func (d *drive) workDir() string { return path.Join(d.e.c.Dir, "work", d.r.id) }

// fileSource is a stored artifact. Copy checks its digest again, so that bits
// that rot on the way are seen before anything takes hold.
type fileSource struct {
	fs   disk.FS
	name string
	is   stored
}

func (f *fileSource) Size() int64    { return f.is.Size }
func (f *fileSource) Digest() string { return f.is.SHA256 }

func (f *fileSource) Open(_ context.Context, at State) (Stream, error) {
	file, err := f.fs.OpenFile(f.name, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open stored artifact: %w", err)
	}
	return &fileStream{file, at.Offset, f.is.Size}, nil
}

// ReadAt reads the stored artifact. Each call opens the file anew.
func (f *fileSource) ReadAt(p []byte, off int64) (int, error) {
	file, err := f.fs.OpenFile(f.name, os.O_RDONLY, 0)
	if err != nil {
		return 0, fmt.Errorf("open stored artifact: %w", err)
	}
	n, err := file.ReadAt(p, off)
	if closing := file.Close(); closing != nil {
		err = errors.Join(err, closing)
	}
	return n, err // io.EOF as itself, which readers compare
}

type fileStream struct {
	f         disk.File
	off, size int64
}

func (s *fileStream) Read(p []byte) (int, error) {
	if s.off >= s.size {
		return 0, io.EOF
	}
	n, err := s.f.ReadAt(p[:min(int64(len(p)), s.size-s.off)], s.off)
	s.off += int64(n)
	if n > 0 && err == io.EOF && s.off == s.size {
		err = nil
	} else if err == io.EOF {
		err = fmt.Errorf("stored artifact ends at byte %d of %d", s.off, s.size)
	}
	return n, err
}

func (s *fileStream) Mark() (State, error) { return State{Offset: s.off}, nil }
func (s *fileStream) Close() error         { return s.f.Close() }

// stepSource gives a source the name and the time limit of its step.
type stepSource struct {
	Source
	step  *Step
	clock disk.Clock
}

type randomStep struct {
	stepSource
	r Random
}

func (r randomStep) ReadAt(p []byte, off int64) (int, error) { return r.r.ReadAt(p, off) }

func (s stepSource) Open(ctx context.Context, at State) (Stream, error) {
	out := &stepStream{id: s.step.ID, cancel: func() {}}
	if s.step.Timeout > 0 {
		out.limit = &Failure{"timeout", fmt.Errorf("took longer than %v", s.step.Timeout)}
		ctx, out.cancel = disk.WithTimeout(ctx, s.clock, s.step.Timeout, out.limit)
	}
	out.ctx = ctx
	var err error
	if out.Stream, err = s.Source.Open(ctx, at); err != nil {
		out.cancel()
		return nil, out.named(err)
	}
	return out, nil
}

// stepStream is a stream of a step that flows into another. It has the context
// of Open, since reading has none.
type stepStream struct {
	Stream
	id     string
	ctx    context.Context
	cancel context.CancelFunc
	limit  error
}

func (s *stepStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if err != nil && err != io.EOF {
		err = s.named(err)
	}
	return n, err
}

func (s *stepStream) named(err error) error {
	if s.limit != nil && errors.Is(context.Cause(s.ctx), s.limit) {
		err = s.limit
	}
	return inStep(s.id, err)
}

func (s *stepStream) Close() error {
	defer s.cancel()
	return s.Stream.Close()
}
