package stages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
)

// patched is an artifact made from a base on the device and a patch. A format
// that streams is applied as it comes. Of any other, Open brings
// the whole patch into the workspace and checks it and the base; a stream
// that goes on in the middle is then decoded from its start, which costs time but no
// network.
type patched struct {
	c      *Config
	t      *engine.Task
	format delta.Format
	patch  engine.Source

	base       string // resolved
	baseSize   int64  // bytes; -1: all of it
	baseSHA256 string // "": not known
	proven     bool   // the base was hashed a moment ago

	size   int64 // bytes, or -1
	digest string

	// instead makes the next try do without the delta. nil: there is nothing
	// else to try.
	instead func(ctx context.Context, cause error) error
}

func (p *patched) Size() int64    { return p.size }
func (p *patched) Digest() string { return p.digest }

// Cost is the patch, which is also kept for a while.
func (p *patched) Cost() []engine.Effect {
	var all []engine.Effect
	if costly, ok := p.patch.(engine.Costly); ok {
		all = costly.Cost()
	}
	if p.format.Streams() {
		return all
	}
	space := engine.Effect{Kind: "space", Bytes: p.patch.Size(), Certainty: engine.Exact, Undo: "removed when the run ends", Detail: "patch stored before use"}
	if space.Bytes < 0 {
		space.Bytes, space.Certainty = 0, engine.Unknown
	}
	return append(all, space)
}

func (p *patched) Open(ctx context.Context, at engine.State) (engine.Stream, error) {
	if p.format.Streams() {
		return p.openFlow(ctx, at)
	}
	name, err := spool(ctx, p.t, p.patch, "patch")
	if missing(err) {
		return nil, p.useless(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	s := &patchedStream{p: p, ctx: ctx, sum: trust.NewDigest()}
	if err := s.start(name); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.skip(at.Offset); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// useless gives up the delta, if there is another way.
func (p *patched) useless(ctx context.Context, cause error) error {
	failure := &engine.Failure{Code: "delta", Err: cause}
	if p.instead == nil {
		return failure
	}
	if err := p.instead(ctx, cause); err != nil {
		return errors.Join(failure, err)
	}
	return &engine.Retry{Fresh: true, Err: failure}
}

// patchedStream is one decoding. It has the context of Open.
type patchedStream struct {
	p     *patched
	ctx   context.Context
	file  disk.File
	base  *device.Reader
	new   io.ReadCloser
	sum   *trust.Digest
	at    int64
	ended error
}

func (s *patchedStream) start(name string) (err error) {
	p := s.p
	var size int64
	if s.base, size, err = p.openBase(s.ctx); err != nil {
		return err
	}
	if s.file, err = p.t.Files().OpenFile(name, os.O_RDONLY, 0); err != nil {
		return fmt.Errorf("open patch: %w", err)
	}
	length, err := s.file.Size()
	if err != nil {
		return fmt.Errorf("open patch: %w", err)
	}
	s.new, err = p.format.NewReader(s.ctx, s.base, size, io.NewSectionReader(s.file, 0, length), delta.Limits{Memory: p.c.DeltaMemory, Size: p.size})
	return p.judge(s.ctx, err)
}

// openBase opens the base and checks that it is the right one. The reader is
// there to be closed also with an error, or nil.
func (p *patched) openBase(ctx context.Context) (*device.Reader, int64, error) {
	r, err := openBase(ctx, p.t, p.base)
	if errors.Is(err, errNoBase) {
		err = p.useless(ctx, err)
	}
	if err != nil {
		return nil, 0, err
	}
	size := p.baseSize
	if size < 0 {
		size = r.Size()
	}
	if p.baseSHA256 != "" && !p.proven {
		sums, err := prefixes(ctx, p.t, r, []int64{size})
		if err != nil {
			return r, size, err
		}
		if sums[size] != p.baseSHA256 {
			return r, size, p.useless(ctx, fmt.Errorf("the first %d bytes of %s are not the base of the delta", size, p.base))
		}
	}
	p.proven = false // by the next Open it is long ago
	return r, size, nil
}

// judge gives up the delta if its own bytes are to blame.
func (p *patched) judge(ctx context.Context, err error) error {
	if errors.Is(err, delta.ErrCorrupt) || errors.Is(err, delta.ErrTooLarge) {
		return p.useless(ctx, err)
	}
	return err
}

// right gives io.EOF if what was made has the promised digest.
func (p *patched) right(ctx context.Context, sum *trust.Digest) error {
	if got := sum.Sum(); p.digest != "" && got != p.digest {
		return p.useless(ctx, &engine.Failure{Code: "digest", Err: fmt.Errorf("the delta gives the SHA-256 %s, want %s", got, p.digest)})
	}
	return io.EOF
}

// skip decodes up to where an earlier stream stood.
func (s *patchedStream) skip(n int64) error {
	buf := make([]byte, 64<<10)
	for s.at < n {
		if err := s.p.t.Safe(s.ctx); err != nil {
			return err
		}
		_, err := s.Read(buf[:min(int64(len(buf)), n-s.at)])
		if err == io.EOF && s.at < n {
			return &engine.Retry{Fresh: true, Err: fmt.Errorf("the artifact ends at byte %d, before byte %d where it was read", s.at, n)}
		}
		if err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

func (s *patchedStream) Read(p []byte) (int, error) {
	if s.ended != nil {
		return 0, s.ended
	}
	n, err := s.new.Read(p)
	s.at += int64(n)
	if _, sumErr := s.sum.Write(p[:n]); sumErr != nil {
		err = errors.Join(err, sumErr)
	}
	if err == io.EOF {
		err = s.p.right(s.ctx, s.sum)
	} else {
		err = s.p.judge(s.ctx, err)
	}
	s.ended = err
	return n, err
}

func (s *patchedStream) Mark() (engine.State, error) { return engine.State{Offset: s.at}, nil }

func (s *patchedStream) Close() error {
	var all []error
	if s.new != nil {
		all = append(all, s.new.Close())
	}
	if s.file != nil {
		all = append(all, s.file.Close())
	}
	if s.base != nil {
		all = append(all, s.base.Close())
	}
	return errors.Join(all...)
}
