package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/updraft-ota/updraft/wasmhost"
)

// The sides of streaming.
const (
	throughGuest = "updraft"
	nativeSame   = "native"
	nativeBare   = "native, unchecked"
	wasiFiles    = "WASI files, checked"
	wasiGuest    = "WASI files, digest in the guest"
	wasiBare     = "WASI files, unchecked"
)

// streaming moves an artifact through the memory of a guest.
func streaming(ctx context.Context, b *bench) (s section, err error) {
	s = section{Title: "Streaming through a guest", Note: fmt.Sprintf("A guest in C reads an artifact of %s bytes and writes it to a slot, in calls of the given size. updraft digests every artifact that it hands out, "+
		"so *native* is Go code that reads, digests, writes and syncs the same files with buffers of that size; *native, unchecked* does without the digest. *WASI files* is a guest in C under plain wazero with a mounted folder; "+
		"*checked* adds the digest that the host makes of the artifact before the guest is given the file, *digest in the guest* one that the guest makes of what it reads.", group(b.size))}
	mover, err := b.guest(ctx, "mover")
	if err != nil {
		return s, err
	}
	files, err := b.guest(ctx, "files")
	if err != nil || mover == nil || files == nil {
		return s, err
	}
	t, err := b.newStream(ctx, mover, files)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, t.close(ctx)) }()
	for _, piece := range []int{4 << 10, 64 << 10, 1 << 20} {
		took, err := b.race(ctx, t.sides(piece))
		if err != nil {
			return s, err
		}
		what := fmt.Sprintf("%d KiB", piece>>10)
		s.row(what, through(throughGuest, b.size, took[throughGuest]), through(nativeSame, b.size, took[nativeSame]),
			ratio("updraft : native", took[nativeSame], took[throughGuest]),
			through(nativeBare, b.size, took[nativeBare]), ratio("updraft : unchecked", took[nativeBare], took[throughGuest]),
			through(wasiFiles, b.size, took[wasiFiles]), ratio("updraft : WASI", took[wasiFiles], took[throughGuest]),
			through(wasiGuest, b.size, took[wasiGuest]), through(wasiBare, b.size, took[wasiBare]))
		if piece == 64<<10 {
			speed := func(other string) float64 { return float64(took[other]) / float64(took[throughGuest]) }
			what := fmt.Sprintf("%.0f MB through a guest, calls of 64 KiB: against ", float64(b.size)/1e6)
			s.atLeast(what+"native with the same digest", speed(nativeSame), times, 0.8)
			s.atLeast(what+"native without a digest", speed(nativeBare), times, 0.8)
			s.atLeast(what+"WASI files, digested by the host before", speed(wasiFiles), times, 2)
			s.atLeast(what+"WASI files, digested in the guest", speed(wasiGuest), times, 2)
		}
	}
	return s, nil
}

// stream is one artifact and all that moves it.
type stream struct {
	rig    *rig
	image  *image
	module *wasmhost.Module
	wasi   *plain
	folder string // that WASI is given
}

func (b *bench) newStream(ctx context.Context, mover, files []byte) (*stream, error) {
	t := &stream{folder: filepath.Join(b.dir, "wasi")}
	if err := os.Mkdir(t.folder, 0o700); err != nil {
		return nil, err
	}
	var err error
	if t.image, err = newImage(filepath.Join(t.folder, "image"), noise(b.size, 1)); err != nil {
		return nil, err
	}
	if t.rig, err = newRig(ctx, b.dir, []byte("old")); err != nil {
		return nil, err
	}
	t.rig.image = t.image
	if t.module, err = loadMover(ctx, mover); err != nil {
		return nil, err
	}
	if t.wasi, err = newPlain(ctx, files, wazero.NewRuntimeConfig()); err != nil {
		return nil, errors.Join(err, t.module.Close(ctx))
	}
	return t, nil
}

func loadMover(ctx context.Context, wasm []byte) (*wasmhost.Module, error) {
	h, err := wasmhost.New(ctx, wasmhost.Config{})
	if err != nil {
		return nil, err
	}
	return h.Load(ctx, wasm, wasmhost.Limits{})
}

func (t *stream) close(ctx context.Context) error {
	return errors.Join(t.module.Close(ctx), t.wasi.close(ctx), os.RemoveAll(t.folder), os.Remove(t.rig.out))
}

func (t *stream) sides(piece int) []side {
	copied := func(checked bool) func(context.Context) (time.Duration, error) {
		return func(context.Context) (time.Duration, error) {
			d, err := timed(func() error {
				return native{image: t.image, out: t.rig.out, piece: piece, checked: checked}.run(nil)
			})
			return d, errors.Join(err, t.arrived(t.rig.out))
		}
	}
	return []side{
		{nativeSame, copied(true)},
		{throughGuest, func(ctx context.Context) (time.Duration, error) {
			settings := fmt.Sprintf(`{"how": "stream", "piece": %d, "room": %d}`, piece, piece)
			d, err := timed(func() error { return t.rig.install(ctx, t.module, settings) })
			return d, errors.Join(err, t.arrived(t.rig.out))
		}},
		{nativeBare, copied(false)},
		{wasiFiles, func(ctx context.Context) (time.Duration, error) { return t.overWASI(ctx, piece, true, 0) }},
		{wasiGuest, func(ctx context.Context) (time.Duration, error) { return t.overWASI(ctx, piece, false, 1) }},
		{wasiBare, func(ctx context.Context) (time.Duration, error) { return t.overWASI(ctx, piece, false, 0) }},
	}
}

// overWASI copies with the guest files. Checked says that the host digests the
// artifact before, and inGuest is 1 if the guest does.
func (t *stream) overWASI(ctx context.Context, piece int, checked bool, inGuest uint64) (time.Duration, error) {
	d, err := timed(func() error {
		if checked {
			sum, err := digest(t.image.file)
			if err := errors.Join(err, t.image.check(sum)); err != nil {
				return err
			}
		}
		config := wazero.NewModuleConfig().WithFSConfig(wazero.NewFSConfig().WithDirMount(t.folder, "/"))
		_, n, err := t.wasi.call(ctx, config, "copy", uint64(piece), inGuest)
		if err == nil && n != t.image.size {
			err = fmt.Errorf("the guest copied %d bytes, want %d", n, t.image.size)
		}
		return err
	})
	return d, errors.Join(err, t.arrived(filepath.Join(t.folder, "out")))
}

// arrived checks that a file holds the artifact.
func (t *stream) arrived(name string) error {
	got, err := digestOf(name)
	if err == nil && got != t.image.digest {
		err = fmt.Errorf("%s has sha256 %s, want %s", filepath.Base(name), got, t.image.digest)
	}
	return err
}
