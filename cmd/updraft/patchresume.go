package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/internal/disk"
)

// How far NEW may get beyond the last position that is durable.
const (
	positionBytes = 8 << 20
	positionTime  = 2 * time.Second
)

// partWork makes a new file as a partial one, which a break leaves, and notes
// how far it is. The order is: the position says that nothing is made; then in
// turn bytes are written, synced, and the position notes them; at the end the
// position says that all is made, the file takes its name, and the position
// goes. Not to be shared.
type partWork struct {
	fs     disk.FS
	clock  disk.Clock
	say    func(format string, args ...any)
	source *patchSource
	notes  *positionFile
	out    *outFile // its temp is the partial file
	to     *applyWriter
	stride int64 // bytes between two positions, at most

	crc     uint32        // of all bytes made
	kept    bool          // a position is there that one can go on at
	noted   int64         // bytes that it has
	notedAt time.Duration // when it was written
}

// resumePatch applies a patch with --resume, and gives how many bytes were
// there already.
func (p *program) resumePatch(ctx context.Context, a applying, source *patchSource, to *applyWriter) (resumedAt int64, err error) {
	if format, err := delta.Lookup(source.format); err != nil || !format.Streams() {
		return 0, noResume(source.format)
	}
	fsys := disk.OS()
	foreign, err := foreignFile(fsys, a.resume)
	if err != nil {
		return 0, inputError(err)
	}
	if foreign {
		return 0, usagef("--resume %s: there is a file that updraft patch did not write: name one that is missing", a.resume)
	}
	lock, err := disk.Lock(a.resume)
	if err != nil {
		return 0, inputError(err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	w := &partWork{fs: fsys, clock: disk.Real(), say: p.say, source: source, to: to, stride: positionBytes}
	resumedAt, err = w.run(ctx, a.new, a.resume)
	if err != nil && ctx.Err() != nil && w.kept {
		p.say("updraft: %v; the same command goes on", context.Cause(ctx))
		return resumedAt, ended(exitWaiting)
	}
	if errors.Is(err, delta.ErrCorrupt) && w.kept {
		err = fmt.Errorf("%w; what was made is kept, and the same command goes on with it: to begin anew, remove %s", err, a.resume)
	}
	return resumedAt, err
}

// run makes the file called name with positions in the file called notes.
// After an error both stand as they are, but for a start that led to nothing.
func (w *partWork) run(ctx context.Context, name, notes string) (resumedAt int64, err error) {
	dir, base := filepath.Split(name)
	w.out = &outFile{fs: w.fs, name: name, temp: dir + "." + base + ".part"}
	var last *position
	var damaged bool
	if w.notes, last, damaged, err = openPositions(w.fs, notes); err != nil {
		return 0, err
	}
	w.kept = last != nil && last.Output > 0
	defer func() {
		err = errors.Join(err, w.close())
		if err != nil && !w.kept {
			err = errors.Join(err, w.drop())
		}
		err = errors.Join(err, w.notes.close())
	}()
	if damaged && last == nil {
		w.say("%s is damaged: beginning anew", notes)
	}
	if last != nil && (last.New != base || !last.Patch.same(w.source.in.identity()) || last.Format != w.source.format) {
		w.kept = true
		return 0, usagef("--resume %s: it notes how far another patch or another new file is: name one that is missing, or remove it", notes)
	}
	if last != nil && last.Done {
		if finished, err := w.finished(last); finished || err != nil {
			return last.Output, err
		}
	}
	reader, err := w.open(ctx, last)
	if err != nil {
		return 0, err
	}
	resumedAt = w.out.size
	if resumedAt > 0 {
		w.say("going on at %s of %s", agent.ByteCount(resumedAt), name)
	}
	if err := errors.Join(w.copy(reader), reader.Close()); err != nil {
		return resumedAt, err
	}
	return resumedAt, w.finish()
}

// drop removes what nothing can go on with.
func (w *partWork) drop() error {
	err := w.fs.Remove(w.out.temp)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, w.notes.remove())
}

// replaceable refuses to put a file in the place of a device or a folder.
func replaceable(name string) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return usagef("%s is not a regular file (%v): write to another file", name, info.Mode().Type())
	}
	if _, base := filepath.Split(name); base == "" {
		return usagef("%q: expected the name of a file", name)
	}
	return nil
}

// close leaves the partial file as it is.
func (w *partWork) close() error {
	if w.out.file == nil {
		return nil
	}
	f := w.out.file
	w.out.file = nil
	return f.Close()
}

// position begins one that belongs to this work.
func (w *partWork) position() position {
	return position{Format: w.source.format, Patch: w.source.in.identity(), New: filepath.Base(w.out.name), Output: w.out.size, CRC: w.crc}
}

// finished goes on where all was made: the partial file must only get its name,
// or has it already.
func (w *partWork) finished(last *position) (bool, error) {
	err := w.readBack(w.out.temp, os.O_RDWR, last)
	if err == nil {
		return true, w.finish()
	}
	if otherBytes(err) {
		if err = w.readBack(w.out.name, os.O_RDONLY, last); err == nil {
			err = errors.Join(w.close(), w.fs.SyncDir(filepath.Dir(w.out.name)), w.notes.remove())
			return true, err
		}
	}
	if otherBytes(err) {
		return false, nil
	}
	return false, err
}

var errOtherBytes = errors.New("it does not have the bytes that were noted")

// otherBytes tells a file that is missing or is not the one that was noted
// from one that cannot be read.
func otherBytes(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errOtherBytes)
}

// readBack opens the file called name and checks that it begins with the bytes
// that the position says, all of them: a disk may lose what it said it had.
func (w *partWork) readBack(name string, flag int, last *position) error {
	f, err := w.fs.OpenFile(name, flag, 0)
	if err != nil {
		return err
	}
	w.out.file, w.out.size = f, last.Output
	if err := w.check(last); err != nil {
		w.restart()
		return errors.Join(err, w.close())
	}
	return nil
}

// restart forgets all bytes.
func (w *partWork) restart() {
	w.out.size, w.crc, w.to.size = 0, 0, 0
	if w.to.sum != nil {
		w.to.sum.Reset()
	}
}

func (w *partWork) check(last *position) error {
	size, err := w.out.file.Size()
	if err != nil {
		return err
	}
	if size < last.Output || last.Done && size != last.Output {
		return errOtherBytes
	}
	b := make([]byte, applyStep)
	for in := io.NewSectionReader(w.out.file, 0, last.Output); err == nil; {
		var n int
		n, err = in.Read(b)
		w.crc = crc32.Update(w.crc, castagnoli, b[:n])
		w.to.add(b[:n])
	}
	switch {
	case err != io.EOF:
		return fmt.Errorf("read %s: %w", w.out.temp, err)
	case w.crc != last.CRC || w.to.size != last.Output:
		return errOtherBytes
	}
	return nil
}

// open gives the new file from the last position on, or from its start.
func (w *partWork) open(ctx context.Context, last *position) (io.ReadCloser, error) {
	format, err := delta.Lookup(w.source.format)
	if err != nil {
		return nil, err
	}
	in, old, limits := w.source.in, w.source.old, w.source.limits
	if last != nil && last.Output > 0 && !last.Done {
		r, err := w.resume(ctx, format, last)
		switch {
		case err == nil:
			return r, nil
		case otherBytes(err), errors.Is(err, delta.ErrPosition):
			w.say("cannot go on at %s of %s: %v: beginning anew", agent.ByteCount(last.Output), w.out.temp, err)
			if err := w.close(); err != nil {
				return nil, err
			}
		default:
			return nil, err
		}
	}
	r, err := format.NewReader(ctx, old, old.Size(), in.part(0, -1), limits)
	if err != nil {
		return nil, err
	}
	if err := w.begin(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// begin notes that nothing is made, and then empties the partial file.
func (w *partWork) begin() error {
	w.restart()
	w.kept, w.noted = false, 0
	err := w.notes.put(w.position())
	if err == nil {
		w.out.file, err = w.fs.OpenFile(w.out.temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	}
	if err == nil {
		err = w.fs.SyncDir(filepath.Dir(w.out.temp))
	}
	if err != nil {
		return inputError(fmt.Errorf("write %s: %w", w.out.temp, err))
	}
	return nil
}

// resume goes on at a position, and cuts off what is beyond it.
func (w *partWork) resume(ctx context.Context, format delta.Format, last *position) (io.ReadCloser, error) {
	if err := w.readBack(w.out.temp, os.O_RDWR, last); err != nil {
		return nil, err
	}
	if err := w.out.file.Truncate(last.Output); err != nil {
		return nil, fmt.Errorf("write %s: %w", w.out.temp, err)
	}
	w.noted = last.Output
	at := delta.Position{Output: last.Output, Patch: last.At, Map: delta.Range{At: last.Map, Length: last.MapLength}, State: last.State}
	in := w.source.in
	patch := io.MultiReader(in.part(last.Map, last.MapLength), in.part(last.At, -1))
	return format.Resume(ctx, w.source.old, w.source.old.Size(), patch, at, w.source.limits)
}

// copy writes what r gives, and notes positions.
func (w *partWork) copy(r io.Reader) error {
	marker, ok := r.(delta.Marker)
	if !ok {
		return errors.New("the reader of a format that streams gives no positions: this is a bug of updraft")
	}
	w.to.to = w.out
	w.notedAt = w.clock.Mono()
	b := make([]byte, applyStep)
	for {
		n, err := r.Read(b)
		if _, err := w.to.Write(b[:n]); err != nil {
			return err
		}
		w.crc = crc32.Update(w.crc, castagnoli, b[:n])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		fresh := w.out.size - w.noted
		if fresh >= w.stride || fresh > 0 && w.clock.Mono()-w.notedAt >= positionTime {
			if err := w.note(marker); err != nil {
				return err
			}
		}
	}
}

// note makes durable what was made, and then the position after it.
func (w *partWork) note(marker delta.Marker) error {
	at, err := marker.Mark()
	if err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	pos := w.position()
	pos.At, pos.Map, pos.MapLength, pos.State = at.Patch, at.Map.At, at.Map.Length, at.State
	if at.Output != pos.Output {
		return fmt.Errorf("the reader is at byte %d, the file at %d: this is a bug of updraft", at.Output, pos.Output)
	}
	if err := w.notes.put(pos); err != nil {
		return err
	}
	w.kept, w.noted, w.notedAt = true, pos.Output, w.clock.Mono()
	return nil
}

// sync makes the partial file durable. One that could not be synced is of no
// use: what is read from it may not be what is on the disk.
func (w *partWork) sync() error {
	if err := w.out.file.Sync(); err != nil {
		w.kept = false
		return fmt.Errorf("write %s: %w", w.out.name, err)
	}
	return nil
}

// finish gives the file its name, now that all of it is made.
func (w *partWork) finish() error {
	if err := w.out.file.Truncate(w.out.size); err != nil {
		return fmt.Errorf("write %s: %w", w.out.name, err)
	}
	if err := w.sync(); err != nil {
		return err
	}
	pos := w.position()
	pos.Done = true
	if err := w.notes.put(pos); err != nil {
		return err
	}
	w.kept = true
	out := *w.out
	w.out.file = nil // commit closes it, whatever happens
	if err := out.commit(); err != nil {
		return err
	}
	return w.notes.remove()
}
