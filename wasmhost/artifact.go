package wasmhost

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// artifact is an opened source: a stream that goes forwards and is hashed on
// the way, or a verified file that is read anywhere.
type artifact struct {
	c      *call
	role   string
	source Source
	handle int32
	random io.ReaderAt // nil: a stream

	stream Stream // nil before the first read and after the end
	begun  bool
	at     int64 // bytes read
	hash   hash.Hash
	digest string // of the whole, once its end was seen
}

func artOpen(_ context.Context, c *call, a args) int64 {
	role, ok := a.text(0, abi.MaxName)
	source := c.g.Sources[role]
	if !ok || source == nil {
		return int64(abi.ENOENT)
	}
	art := c.sources[role]
	if art == nil {
		art = &artifact{c: c, role: role, source: source}
		if c.m.manifest.Access == abi.Random {
			art.random, _ = source.(io.ReaderAt)
		}
	}
	if art.handle == 0 {
		if art.handle, ok = c.handles.add(kindArtifact, art); !ok {
			return int64(abi.EMFILE)
		}
		c.sources[role] = art
	}
	return int64(art.handle)
}

// artClose frees the handle, and those of members with it. The artifact
// itself is read to its end all the same, and an opening later in the phase
// finds a stream where it was left.
func artClose(_ context.Context, c *call, a args) int64 {
	src := a.source(0)
	c.closeMembers(src)
	switch v := src.(type) {
	case *artifact:
		v.handle = 0
	case *member:
		v.close()
	}
	c.handles.drop(a.i32(0))
	return 0
}

func artSize(_ context.Context, _ *call, a args) int64 {
	if n := a.source(0).size(); n >= 0 {
		return n
	}
	return int64(abi.EUNKNOWN)
}

func artDigest(_ context.Context, _ *call, a args) int64 {
	digest := ""
	if art, ok := a.source(0).(*artifact); ok {
		digest = art.source.Digest()
	}
	if a.i32(1) != abi.SHA256 {
		return int64(abi.EINVAL)
	}
	if digest == "" {
		return int64(abi.EUNKNOWN)
	}
	return a.answer(2, []byte(digest))
}

func artRead(ctx context.Context, c *call, a args) int64 {
	src, off, b := a.source(0), a.i64(1), a.bytes(2)
	if off < 0 {
		return int64(abi.EINVAL)
	}
	if len(b) == 0 {
		return 0
	}
	n, err := src.readAt(ctx, b, off)
	if err != nil {
		return c.errno(err)
	}
	return int64(n)
}

func (a *artifact) size() int64    { return a.source.Size() }
func (a *artifact) label() string  { return a.role }
func (a *artifact) anywhere() bool { return a.random != nil }

// errno turns an error into the guest's answer; all but an errno fail the phase.
func (c *call) errno(err error) int64 {
	if e, ok := err.(abi.Errno); ok {
		return int64(e)
	}
	return int64(c.fail(err))
}

// readAt fills b from off as far as the artifact goes. Going back in a stream
// is abi.ESEQ.
func (a *artifact) readAt(ctx context.Context, b []byte, off int64) (int, error) {
	if a.c.failed != nil {
		return 0, abi.EIO
	}
	if a.random != nil {
		n, err := a.random.ReadAt(b, off)
		if err == io.EOF {
			err = nil
		}
		return n, a.wrap(err)
	}
	if err := a.seek(ctx, off); err != nil {
		return 0, err
	}
	if a.at < off {
		return 0, nil // the artifact ended before
	}
	return a.read(ctx, b)
}

// seek begins the stream, at the checkpoint if that is not behind off, and
// skips to off.
func (a *artifact) seek(ctx context.Context, off int64) error {
	if !a.begun {
		if err := a.begin(ctx, off); err != nil {
			return a.wrap(err)
		}
	}
	if off < a.at {
		return abi.ESEQ
	}
	for a.at < off && a.digest == "" {
		b := a.c.piece()
		if _, err := a.read(ctx, b[:min(int64(len(b)), off-a.at)]); err != nil {
			return err
		}
	}
	return nil
}

func (a *artifact) begin(ctx context.Context, off int64) error {
	at := a.c.point.Sources[a.role]
	if off < at.Offset || at.Offset > 0 && at.Digest == "" && len(at.Hash) == 0 {
		at = SourceMark{}
	}
	a.hash = sha256.New()
	if len(at.Hash) > 0 {
		if err := a.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(at.Hash); err != nil {
			return fmt.Errorf("hash state: %w", err)
		}
	}
	if at.Digest == "" {
		var err error
		if a.stream, err = a.source.Open(ctx, at.State); err != nil {
			return err
		}
	}
	a.begun, a.at, a.digest = true, at.Offset, at.Digest
	return nil
}

// read fills b from the stream, less only at the end, where it checks what
// was promised.
func (a *artifact) read(ctx context.Context, b []byte) (int, error) {
	n := 0
	for n < len(b) && a.digest == "" {
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		k, err := a.stream.Read(b[n:])
		a.hash.Write(b[n : n+k])
		n += k
		a.at += int64(k)
		if size := a.source.Size(); size >= 0 && a.at > size {
			return n, a.wrap(fmt.Errorf("%w: more than %d bytes", ErrArtifact, size))
		}
		if err == io.EOF {
			err = a.end()
		}
		if err != nil {
			return n, a.wrap(err)
		}
	}
	return n, nil
}

func (a *artifact) end() error {
	if size := a.source.Size(); size >= 0 && a.at != size {
		return fmt.Errorf("%w: %d bytes, want %d", ErrArtifact, a.at, size)
	}
	sum := hex.EncodeToString(a.hash.Sum(nil))
	if want := a.source.Digest(); want != "" && sum != want {
		return fmt.Errorf("%w: sha256 %s, want %s", ErrArtifact, sum, want)
	}
	a.digest = sum
	return nil
}

// drain reads the rest, so that every byte of an opened artifact was hashed.
func (a *artifact) drain(ctx context.Context) error {
	if a.random != nil {
		return nil // verified before it was granted
	}
	if !a.begun {
		if err := a.begin(ctx, a.c.point.Sources[a.role].Offset); err != nil {
			return err
		}
	}
	for a.digest == "" {
		if _, err := a.read(ctx, a.c.piece()); err != nil {
			return err
		}
	}
	return nil
}

// mark notes in p where the stream stands.
func (a *artifact) mark(p *Checkpoint) error {
	m := SourceMark{Offset: a.at, Digest: a.digest}
	switch {
	case a.random != nil:
		m.Offset, m.Digest = a.source.Size(), a.source.Digest()
	case !a.begun:
		return nil
	case a.digest == "":
		var err error
		if m.State, err = a.stream.Mark(); err != nil {
			return err
		}
		if m.Hash, err = a.hash.(encoding.BinaryMarshaler).MarshalBinary(); err != nil {
			return err
		}
	}
	if p.Sources == nil {
		p.Sources = map[string]SourceMark{}
	}
	p.Sources[a.role] = m
	return nil
}

func (a *artifact) close() error {
	if a.stream == nil {
		return nil
	}
	err := a.stream.Close()
	a.stream = nil
	return a.wrap(err)
}

func (a *artifact) wrap(err error) error {
	if err == nil {
		return nil
	}
	var e abi.Errno
	if errors.As(err, &e) {
		return err
	}
	return fmt.Errorf("artifact %s: %w", a.role, err)
}

// piece is the one buffer of the call.
func (c *call) piece() []byte {
	if c.buffer == nil {
		c.buffer = make([]byte, copyPiece)
	}
	return c.buffer
}
