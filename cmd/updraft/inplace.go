package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/internal/disk"
)

// checkInPlace finds what is wrong with the arguments of patch --in-place
// alone. FILE is a.old.
func (a *applying) checkInPlace() error {
	switch {
	case a.journal == "":
		return usagef("--in-place needs --journal FILE, a file or device that keeps what it has through a power cut")
	case a.patch == "-":
		return usagef("--in-place reads PATCH twice, and again after a power cut, so it cannot be standard input: store it first")
	case a.old == "-":
		return usagef("--in-place writes FILE at any place, so it cannot be standard input")
	case a.resume != "":
		return usagef("--in-place goes on by itself: leave --resume away")
	case a.format != recognise && a.format != usualFormat:
		return usagef("--in-place: a patch of format %s makes a new file beside the old one; make one with updraft diff --in-place", a.format)
	}
	if err := apart("FILE", a.old, "PATCH", a.patch); err != nil {
		return err
	}
	return apart("--journal", a.journal, "FILE", a.old, "PATCH", a.patch)
}

// inPlaceInfo checks the whole patch.
func (in *patchInput) inPlaceInfo() (delta.InPlace, error) {
	format, err := in.format()
	if err == nil && format != usualFormat {
		err = fmt.Errorf("%w: it is of format %s", delta.ErrUnsupported, format)
	}
	var info delta.InPlace
	if err == nil {
		info, err = delta.InspectInPlace(in.whole())
	}
	if errors.Is(err, delta.ErrUnsupported) {
		return info, usagef("%s: %w; leave --in-place away, or make a patch for it with updraft diff --in-place", in.name, err)
	}
	if err != nil {
		return info, fmt.Errorf("%s: %w", in.name, err)
	}
	return info, nil
}

// forInPlace tells whether the patch is one for use in place.
func (in *patchInput) forInPlace() bool {
	_, err := delta.Inspect(bytes.NewReader(in.head))
	return errors.Is(err, delta.ErrUnsupported)
}

// journalNeed is how large the file of --journal gets, in bytes.
func journalNeed(info delta.InPlace) int64 { return info.Journal + journalHead }

// patchInPlace writes the new image over the old one.
func (p *program) patchInPlace(ctx context.Context, a applying) (applied appliedPatch, err error) {
	began := time.Now()
	in, err := p.openPatch(a.patch)
	if err != nil {
		return applied, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.inPlaceInfo()
	if err != nil {
		return applied, err
	}
	a.collectGarbage()
	w := &placeWork{p: p, a: a, in: in, info: info, limits: delta.Limits{Memory: a.memory, Size: delta.AnySize}}
	if err := w.run(ctx); err != nil {
		return applied, err
	}
	applied = appliedPatch{Format: usualFormat, InPlace: true, Bytes: info.NewSize, Seconds: time.Since(began).Seconds()}
	if a.digest {
		applied.SHA256 = hexOf(info.NewSHA256)
	}
	return applied, nil
}

// placeWork is one call of patch --in-place. Not to be shared.
type placeWork struct {
	p      *program
	a      applying
	in     *patchInput
	info   delta.InPlace
	limits delta.Limits
	image  *placeImage
	synced func() // told after each batch, may be nil
}

// placeImage is FILE while it is updated.
type placeImage struct {
	disk.File
	plain bool // it is a regular file, not a device

	// An update that goes on writes before it reads anything.
	read    atomic.Bool
	written bool
	goesOn  func()
	synced  func() // may be nil
}

// ReadAt notes that something was read.
func (i *placeImage) ReadAt(p []byte, at int64) (int, error) {
	i.read.Store(true)
	return i.File.ReadAt(p, at)
}

// WriteAt notes that the update has begun.
func (i *placeImage) WriteAt(p []byte, at int64) (int, error) {
	i.begin()
	return i.File.WriteAt(p, at)
}

// Sync is only called when the update has begun.
func (i *placeImage) Sync() error {
	i.begin()
	err := i.File.Sync()
	if i.synced != nil {
		i.synced()
	}
	return err
}

func (i *placeImage) begin() {
	if !i.written && !i.read.Load() {
		i.goesOn()
	}
	i.written = true
}

func (w *placeWork) run(ctx context.Context) (err error) {
	fsys, a := disk.OS(), w.a
	lock, err := w.open(fsys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.image.Close(), lock.Close()) }()
	path, err := filepath.Abs(a.old)
	if err != nil {
		return err
	}
	owner := journalOwner{File: path, Old: hexOf(w.info.OldSHA256), New: hexOf(w.info.NewSHA256)}
	journal, err := openJournal(fsys, a.journal, journalNeed(w.info), owner)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, journal.close()) }()
	done := w.p.busy("updating " + a.old)
	w.image.goesOn = func() {
		done()
		w.p.say("going on with %s", a.old)
	}
	size, err := delta.ApplyInPlace(ctx, w.image, journal, w.in.section, w.limits)
	if err == nil && w.image.plain {
		err = w.cut(size)
	}
	done()
	switch {
	case err == nil:
		return journal.finish()
	case w.image.written, ctx.Err() != nil && !journal.unused:
		return w.halfway(ctx, err)
	case errors.Is(err, delta.ErrCorrupt) && journal.unused:
		err = fmt.Errorf("%w; if an update of %s was interrupted, give --journal what it had then", err, a.old)
	}
	return errors.Join(a.explain(w.in, usualFormat, err), journal.drop())
}

// open locks and opens FILE.
func (w *placeWork) open(fsys disk.FS) (lock *disk.Held, err error) {
	name := w.a.old
	stat, err := os.Stat(name)
	if err != nil {
		return nil, inputError(err)
	}
	w.image = &placeImage{plain: stat.Mode().IsRegular(), synced: w.synced}
	flag := os.O_RDWR
	switch {
	case w.image.plain:
	case isBlockDevice(stat.Mode()):
		flag |= os.O_EXCL // refused if it is mounted
	default:
		return nil, usagef("%s is neither a regular file nor a block device (%v)", name, stat.Mode().Type())
	}
	if lock, err = disk.LockContent(name); err != nil {
		return nil, inputError(err)
	}
	if w.image.File, err = fsys.OpenFile(name, flag, 0); err == nil {
		if err = w.fits(fsys); err != nil {
			err = errors.Join(err, w.image.Close())
		}
	}
	if errors.Is(err, syscall.EBUSY) {
		err = usagef("%w: it is in use: unmount it first", err)
	}
	if err != nil {
		return nil, errors.Join(inputError(err), lock.Close())
	}
	return lock, nil
}

// fits refuses a FILE of a size that it can never have in this update.
func (w *placeWork) fits(fsys disk.FS) error {
	name, need := w.a.old, w.info.Region
	size, err := w.image.Size()
	switch {
	case err != nil:
		return fmt.Errorf("size of %s: %w", name, err)
	case !w.image.plain && size < need:
		return usagef("%s is a device of %d bytes: the patch turns an image of %d bytes into one of %d", name, size, w.info.OldSize, w.info.NewSize)
	case !w.image.plain:
		return nil
	case size > need:
		return usagef("%s has %d bytes: the patch turns a file of %d bytes into one of %d, and would cut off what is behind", name, size, w.info.OldSize, w.info.NewSize)
	}
	free, err := fsys.Free(filepath.Dir(name))
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("free space for %s: %w", name, err)
	}
	if grows := w.info.NewSize - size; err == nil && grows > free {
		return fmt.Errorf("%s grows by %s, and there are %s free: %w", name, agent.ByteCount(grows), agent.ByteCount(free), syscall.ENOSPC)
	}
	return nil
}

// cut gives a regular file the size of the new image.
func (w *placeWork) cut(size int64) error {
	err := w.image.Truncate(size)
	if err == nil {
		err = w.image.File.Sync()
	}
	if err != nil {
		w.image.written = true
		return fmt.Errorf("cut %s to %d bytes: %w", w.a.old, size, err)
	}
	return nil
}

// halfway ends a call that left FILE as nobody wants it.
func (w *placeWork) halfway(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		w.p.say("updraft: %v; %s may be neither the old nor the new image now: the same command goes on", context.Cause(ctx), w.a.old)
		return ended(exitWaiting)
	}
	w.p.say("updraft: %v", w.a.explain(w.in, usualFormat, err))
	w.p.say("%s may be neither the old nor the new image now: the same command goes on; if that ends in the same way, write the whole new image to it", w.a.old)
	return ended(exitFailed)
}
