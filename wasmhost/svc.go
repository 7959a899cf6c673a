package wasmhost

import (
	"context"
	"errors"
	"io"

	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/delta/codec"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// origin is what a service reads: an artifact, a member of an archive, or a
// target that is open for reading.
type origin interface {
	// readAt fills b from off as far as the content goes; 0 is its end.
	readAt(ctx context.Context, b []byte, off int64) (int, error)
	// size is in bytes, -1 if it is not known before the end.
	size() int64
	// label names the content in checkpoints: a role, and for a member two
	// slashes, which no path has, and its path.
	label() string
	// anywhere says that readAt may go back.
	anywhere() bool
}

// source gives the artifact or member that the handle in n stands for, or traps.
func (a args) source(n int) origin {
	switch v := a.c.handles.get(a.i32(n), kindArtifact).(type) {
	case *artifact:
		return v
	case *member:
		return v
	}
	a.trap("%d is no handle of an artifact", a.i32(n))
	return nil
}

// content gives what the handle in n has to be read. A directory has no bytes
// of its own, and what is open for writing cannot be read.
func (a args) content(n int) (origin, error) {
	t, ok := a.c.handles.get(a.i32(n), kindTarget).(*target)
	switch {
	case !ok:
		return a.source(n), nil
	case !t.content():
		return nil, abi.EINVAL
	case t.mode != abi.ModeRead:
		return nil, abi.EDENIED
	}
	return t, nil
}

func (t *target) readAt(ctx context.Context, b []byte, off int64) (int, error) {
	if err := t.ensure(ctx); err != nil {
		return 0, err
	}
	answer, err := t.do(ctx, device.Op{Kind: device.Read, Handle: t.door, Offset: off, Bytes: b})
	return min(answer.N, len(b)), err
}

func (t *target) size() int64    { return t.length }
func (t *target) label() string  { return t.name }
func (t *target) anywhere() bool { return true }

// reading is content as a stream. Between two pieces it looks whether the run
// is being cancelled.
type reading struct {
	ctx  context.Context
	c    *call
	from origin
	at   int64
	// failed is the error of what is read, as opposed to what a decoder above
	// makes of its bytes.
	failed error
}

func (r *reading) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if r.c.cancelled() {
		r.failed = abi.ECANCELED
		return 0, r.failed
	}
	n, err := r.from.readAt(r.ctx, b, r.at)
	r.at += int64(n)
	r.failed = err
	r.c.count(int64(n))
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// watched is what a decoder makes of a reading. A few bytes of input can
// become gigabytes, so that the end of the phase is looked for here too.
type watched struct {
	in *reading
	r  io.Reader
}

func (w *watched) Read(b []byte) (int, error) {
	switch {
	case w.in.c.cancelled():
		w.in.failed = abi.ECANCELED
	case w.in.ctx.Err() != nil:
		w.in.failed = context.Cause(w.in.ctx)
	default:
		return w.r.Read(b[:min(len(b), copyPiece)])
	}
	return 0, w.in.failed
}

// refuse gives the guest's answer to the end of a service: an errno that lies
// below err, or what the bytes are to blame for. Anything else is the host's
// own failure.
func (c *call) refuse(err error) int64 {
	var e abi.Errno
	switch {
	case errors.As(err, &e):
		return int64(e)
	case errors.Is(err, codec.ErrTooLarge), errors.Is(err, delta.ErrTooLarge):
		return int64(abi.EQUOTA)
	case errors.Is(err, codec.ErrCorrupt), errors.Is(err, delta.ErrCorrupt):
		return int64(abi.EBADDATA)
	case errors.Is(err, errors.ErrUnsupported):
		return int64(abi.EINVAL)
	}
	return int64(c.fail(err))
}
