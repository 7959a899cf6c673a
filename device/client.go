package device

import (
	"context"
	"errors"
	"io"
	"io/fs"
)

// Client spells the ops of a [Door] out as methods. Run is the id of the run
// that asks; questions about what is there work without. It holds no state and
// may be shared if the door may.
type Client struct {
	Door Door
	Run  string
}

// Facts gives all facts of the device file.
func (c Client) Facts(ctx context.Context) (map[string]string, error) {
	a, err := c.Door.Do(ctx, Op{Kind: AskFacts, Run: c.Run})
	return a.Facts, err
}

// Resolve says which slot, version or file a name such as "rootfs@inactive" means.
func (c Client) Resolve(ctx context.Context, name string) (Target, error) {
	a, err := c.Door.Do(ctx, Op{Kind: AskTarget, Run: c.Run, Target: name})
	return a.Target, err
}

// BootOf gives the boot state of slots or a directory.
func (c Client) BootOf(ctx context.Context, target string) (Boot, error) {
	a, err := c.Door.Do(ctx, Op{Kind: AskBoot, Run: c.Run, Target: target})
	return a.Boot, err
}

// Incarnation gives what changes with each restart of a scope.
func (c Client) Incarnation(ctx context.Context, scope string) (string, error) {
	a, err := c.Door.Do(ctx, Op{Kind: AskIncarnation, Run: c.Run, Target: scope})
	return a.Text, err
}

// Exists says whether a file target or an entry of a directory version is there.
func (c Client) Exists(ctx context.Context, target, entry string) (bool, error) {
	r, err := c.OpenReader(ctx, target, entry)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, r.Close()
}

// Preserve makes durable what [Client.Restore] will need.
func (c Client) Preserve(ctx context.Context, target string) (Undo, error) {
	a, err := c.Door.Do(ctx, Op{Kind: Preserve, Run: c.Run, Target: target})
	return a.Undo, err
}

// Invalidate makes sure that target is not started while it is written.
func (c Client) Invalidate(ctx context.Context, target string) error {
	return c.do(ctx, Op{Kind: Invalidate, Target: target})
}

// Commit makes the first size bytes that were written to target its next
// version, if they have the digest, and gives the digest that they have. Size
// does not count for a directory.
func (c Client) Commit(ctx context.Context, target string, size int64, digest string, stamp Stamp) (string, error) {
	a, err := c.Door.Do(ctx, Op{Kind: Commit, Run: c.Run, Target: target, Size: size, Digest: digest, Stamp: stamp})
	return a.Digest, err
}

// Abort drops what the run staged at target.
func (c Client) Abort(ctx context.Context, target string) error {
	return c.do(ctx, Op{Kind: Abort, Target: target})
}

// Choose makes a slot or version the one that target starts from next.
func (c Client) Choose(ctx context.Context, target, to string, tries int) error {
	return c.do(ctx, Op{Kind: Choose, Target: target, To: to, Tries: tries})
}

// MarkGood says that what runs from target is proven.
func (c Client) MarkGood(ctx context.Context, target string) error {
	return c.do(ctx, Op{Kind: Good, Target: target})
}

// Restart restarts the device or a directory's program.
func (c Client) Restart(ctx context.Context, scope string) error {
	return c.do(ctx, Op{Kind: Restart, Target: scope})
}

// Restore puts back what undo says.
func (c Client) Restore(ctx context.Context, undo Undo) error {
	return c.do(ctx, Op{Kind: Restore, Target: undo.Target, Undo: undo})
}

func (c Client) do(ctx context.Context, op Op) error {
	op.Run = c.Run
	_, err := c.Door.Do(ctx, op)
	return err
}

// OpenReader opens a target, or an entry of a directory version, for reading.
// ctx is that of all its reads.
func (c Client) OpenReader(ctx context.Context, target, entry string) (*Reader, error) {
	a, err := c.Door.Do(ctx, Op{Kind: OpenRead, Run: c.Run, Target: target, Entry: entry})
	if err != nil {
		return nil, err
	}
	return &Reader{stream: stream{ctx: ctx, door: c.Door, run: c.Run, handle: a.Handle}, size: a.Size}, nil
}

// OpenWriter opens a target for writing at most quota bytes, 0 for no quota.
// ctx is that of all its writes.
func (c Client) OpenWriter(ctx context.Context, target string, quota int64) (*Writer, error) {
	a, err := c.Door.Do(ctx, Op{Kind: Open, Run: c.Run, Target: target, Size: quota})
	if err != nil {
		return nil, err
	}
	return &Writer{stream: stream{ctx: ctx, door: c.Door, run: c.Run, handle: a.Handle}}, nil
}

// stream keeps the context of whoever opened it: the interfaces of package io
// have no place for one.
type stream struct {
	ctx    context.Context
	door   Door
	run    string
	handle int64
}

func (s *stream) do(op Op) (Answer, error) {
	op.Run, op.Handle = s.run, s.handle
	return s.door.Do(s.ctx, op)
}

// Handle is the number of the handle, for ops that are not methods here.
func (s *stream) Handle() int64 { return s.handle }

// Close closes the handle, also when the context has ended. What was staged stays.
func (s *stream) Close() error {
	_, err := s.door.Do(context.WithoutCancel(s.ctx), Op{Kind: Close, Run: s.run, Handle: s.handle})
	return err
}

// Reader reads an open target. It may be shared.
type Reader struct {
	stream
	size int64
}

var _ io.ReaderAt = (*Reader)(nil)
var _ io.Closer = (*Reader)(nil)

// Size is the number of bytes that can be read.
func (r *Reader) Size() int64 { return r.size }

// ReadAt implements [io.ReaderAt].
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	a, err := r.do(Op{Kind: Read, Offset: off, Bytes: p})
	if err == nil && a.N < len(p) {
		err = io.EOF
	}
	return a.N, err
}

// Writer writes an open target, or an entry of it. Its calls are not to overlap.
type Writer struct{ stream }

var _ io.WriterAt = (*Writer)(nil)
var _ io.Closer = (*Writer)(nil)

// OpenEntry opens a file below a directory for writing.
func (w *Writer) OpenEntry(entry string, perm fs.FileMode) (*Writer, error) {
	a, err := w.do(Op{Kind: OpenEntry, Entry: entry, Perm: perm})
	if err != nil {
		return nil, err
	}
	return &Writer{stream{ctx: w.ctx, door: w.door, run: w.run, handle: a.Handle}}, nil
}

// WriteAt implements [io.WriterAt].
func (w *Writer) WriteAt(p []byte, off int64) (int, error) {
	a, err := w.do(Op{Kind: Write, Offset: off, Bytes: p})
	return a.N, err
}

// Truncate forgets what is behind size bytes.
func (w *Writer) Truncate(size int64) error {
	_, err := w.do(Op{Kind: Truncate, Size: size})
	return err
}

// Sync makes what was written durable, names included.
func (w *Writer) Sync() error {
	_, err := w.do(Op{Kind: Sync})
	return err
}
