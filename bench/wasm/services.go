package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/delta/codec"
	"github.com/updraft-ota/updraft/wasmhost"
)

// service is one of the host's, with native code that does the same.
type service struct {
	name   string
	how    string  // as the guest mover is told
	packed []byte  // the artifact
	want   string  // digest of what is written, "" if nothing is
	size   int64   // that the speed counts
	least  float64 // of native; 0: no aim
	native func(ctx context.Context, r *rig, i *image) error
}

const (
	ofService = "service"
	ofNative  = "native"
)

// services compares what the host does on handles with native code.
func services(ctx context.Context, b *bench) (s section, err error) {
	s = section{Title: "Services of the host", Note: fmt.Sprintf("A guest in C calls one service for %s bytes. *native* is Go code that does the same with the same packages of updraft: it digests the artifact that it reads, "+
		"writes in pieces of 256 KiB, and syncs every 768 KiB, where the host makes a checkpoint. The journal of the service keeps its checkpoints in memory. The patch holds as little in memory as it can, on both sides.", group(b.size))}
	wasm, err := b.guest(ctx, "mover")
	if err != nil || wasm == nil {
		return s, err
	}
	m, err := loadMover(ctx, wasm)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, m.Close(ctx)) }()
	old := noise(b.size, 2)
	r, err := newRig(ctx, b.dir, old)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(filepath.Dir(r.old))) }()
	list, err := b.listServices(ctx, old)
	if err != nil {
		return s, err
	}
	for _, v := range list {
		if err := b.serve(ctx, &s, v, r, m); err != nil {
			return s, fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return s, nil
}

// serve measures one service.
func (b *bench) serve(ctx context.Context, s *section, v service, r *rig, m *wasmhost.Module) error {
	i, err := newImage(filepath.Join(b.dir, "artifact"), v.packed)
	if err != nil {
		return err
	}
	defer os.Remove(i.file) // with the folder at the latest
	r.image = i
	run := func(do func() error) (time.Duration, error) {
		if err := os.Truncate(r.out, 0); err != nil {
			return 0, err
		}
		d, err := timed(do)
		if err == nil && v.want != "" {
			var got string
			if got, err = digestOf(r.out); err == nil && got != v.want {
				err = fmt.Errorf("it wrote sha256 %s, want %s", got, v.want)
			}
		}
		return d, err
	}
	t, err := b.race(ctx, []side{
		{ofNative, func(ctx context.Context) (time.Duration, error) {
			return run(func() error { return v.native(ctx, r, i) })
		}},
		{ofService, func(ctx context.Context) (time.Duration, error) {
			return run(func() error { return r.install(ctx, m, fmt.Sprintf(`{"how": %q}`, v.how)) })
		}},
	})
	if err != nil {
		return err
	}
	s.row(v.name, through(ofService, v.size, t[ofService]), through(ofNative, v.size, t[ofNative]), ratio("service : native", t[ofNative], t[ofService]),
		figure{"artifact", float64(len(v.packed)), bytesUnit})
	if v.least > 0 {
		s.atLeast(v.name+": against native", float64(t[ofNative])/float64(t[ofService]), times, v.least)
	}
	return nil
}

// listServices makes what the services work on.
func (b *bench) listServices(ctx context.Context, old []byte) ([]service, error) {
	content := words(b.size)
	format, err := codec.Lookup("zstd")
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	w, err := codec.NewWriter(&packed, format, codec.Options{Size: b.size})
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, bytes.NewReader(content)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	next := edited(old)
	patch, err := makePatch(ctx, old, next)
	if err != nil {
		return nil, err
	}
	move := func(r *rig, i *image) native {
		return native{image: i, out: r.out, piece: servicePiece, sync: serviceSync, checked: true}
	}
	return []service{
		{name: "svc_copy", how: "copy", packed: next, want: hexOf(next), size: b.size, least: 0.95,
			native: func(_ context.Context, r *rig, i *image) error { return move(r, i).run(nil) }},
		{name: "svc_hash of an artifact", how: "hash", packed: next, size: b.size, least: 0.95,
			native: func(_ context.Context, _ *rig, i *image) error {
				sum, err := digest(i.file)
				return errors.Join(err, i.check(sum))
			}},
		{name: "svc_hash of a slot", how: "hash-old", packed: []byte("unused"), size: b.size, least: 0.95,
			native: func(_ context.Context, r *rig, _ *image) error { _, err := digest(r.old); return err }},
		{name: "svc_inflate, zstd", how: "inflate", packed: packed.Bytes(), want: hexOf(content), size: b.size,
			native: func(ctx context.Context, r *rig, i *image) error { return move(r, i).run(inflated(ctx)) }},
		{name: "svc_patch, udelta", how: "patch", packed: patch, want: hexOf(next), size: int64(len(next)),
			native: func(ctx context.Context, r *rig, i *image) error { return move(r, i).run(patched(ctx, r.old, true)) }},
	}, nil
}

func hexOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// edited is a version whose every hundred kilobytes have some new bytes.
func edited(old []byte) []byte {
	next := bytes.Clone(old)
	for at := 0; at+64 < len(next); at += 100_000 {
		copy(next[at:], noise(64, byte(at/100_000)))
	}
	return next
}

func makePatch(ctx context.Context, old, next []byte) ([]byte, error) {
	format, err := delta.Lookup("udelta")
	if err != nil {
		return nil, err
	}
	section := func(b []byte) *io.SectionReader { return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))) }
	var patch bytes.Buffer
	_, err = delta.Make(ctx, format, &patch, section(old), section(next), delta.Options{Level: delta.Fast})
	return patch.Bytes(), err
}

// words is text that compresses about as programs do.
func words(size int64) []byte {
	dice, vocabulary := noise(1<<20, 3), noise(1<<16, 4)
	b := make([]byte, 0, size+16)
	for x := uint32(1); int64(len(b)) < size; x = x*1664525 + 1013904223 {
		d := uint32(dice[x>>12]) * uint32(dice[(x>>12)^1]) // small numbers more often
		at := d &^ 7 % uint32(len(vocabulary)-16)
		b = append(b, vocabulary[at:at+3+x>>29]...)
	}
	return b[:size]
}
