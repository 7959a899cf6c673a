package stages

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/updraft-ota/updraft/delta/codec"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/trust"
)

// Inflate decompresses the bytes of another step: zstd, gzip, xz, lz4 or bzip2,
// known by how they begin. Exactly size bytes come out, or the step fails; a
// file that expands further is stopped there.
//
// A stream cannot be entered in its middle. After a power cut the bytes before are
// decompressed again, and fetched again unless the step that gives them has
// keep: true.
type Inflate struct {
	// Artifact is the step that gives the compressed bytes.
	Artifact string `yaml:"artifact,literal,required"`
	// Format is zstd, gzip, xz, lz4 or bzip2. The default is what the first
	// bytes say.
	Format string `yaml:"format"`
	// Size is how many bytes come out, such as 64MiB.
	Size int64 `yaml:"size,size,required"`
	// SHA256 is the SHA-256 of what comes out, in lower-case hex. It may be
	// missing: the compressed bytes were verified before.
	SHA256 string `yaml:"sha256"`

	c *Config
}

var _ engine.Filter = (*Inflate)(nil)

// Reads gives the step with the compressed bytes.
func (i *Inflate) Reads() []string { return []string{i.Artifact} }

// Check reports what is wrong with the fields before a run.
func (i *Inflate) Check(report func(field, text string)) {
	if i.Format != "" {
		if _, err := codec.Lookup(i.Format); err != nil {
			report("format", err.Error())
		}
	}
	if i.Size < 0 {
		report("size", fmt.Sprintf("is %d, want a number of bytes", i.Size))
	}
	if i.SHA256 != "" {
		if _, err := trust.ParseSHA256(i.SHA256); err != nil {
			report("sha256", err.Error())
		}
	}
}

// Filter gives the decompressed artifact.
func (i *Inflate) Filter(_ context.Context, t *engine.Task, in []engine.Source) (engine.Source, error) {
	if err := checkFields(i); err != nil {
		return nil, err
	}
	src := &inflated{in: in[0], t: t, format: i.Format, size: i.Size, memory: i.c.DeltaMemory}
	if i.SHA256 == "" {
		return src, nil
	}
	return &checked{in: src, digest: i.SHA256, checks: []check{sha256Check(i.SHA256)}}, nil
}

// inflated is what a compressed artifact holds.
type inflated struct {
	in     engine.Source
	t      *engine.Task
	format string // "" for what the first bytes say
	size   int64
	memory int64
}

func (i *inflated) Size() int64    { return i.size }
func (i *inflated) Digest() string { return "" }

// Cost is that of the compressed bytes.
func (i *inflated) Cost() []engine.Effect {
	if costly, ok := i.in.(engine.Costly); ok {
		return costly.Cost()
	}
	return nil
}

func (i *inflated) Open(ctx context.Context, at engine.State) (engine.Stream, error) {
	in, err := i.in.Open(ctx, engine.State{})
	if err != nil {
		return nil, err
	}
	s := &inflating{in: in}
	if s.out, err = i.decoder(ctx, in); err == nil {
		err = s.skip(ctx, i.t, at.Offset)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// decoder finds the codec and starts it. Package codec's errors end the step:
// the same bytes would fail in the same way.
func (i *inflated) decoder(ctx context.Context, in io.Reader) (io.ReadCloser, error) {
	head := bufio.NewReaderSize(in, 64<<10)
	name := i.format
	if name == "" {
		first, err := head.Peek(codec.DetectLength)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if name = codec.Detect(first); name == "" {
			return nil, &engine.Failure{Code: "inflate", Err: fmt.Errorf("begins with %x, which is none of %q", first, codec.Names())}
		}
	}
	c, err := codec.Lookup(name)
	if err != nil {
		return nil, &engine.Failure{Code: "usage", Err: err}
	}
	out, err := c.NewReader(ctx, head, codec.Limits{Size: i.size, Memory: i.memory})
	return out, inflateError(err)
}

func inflateError(err error) error {
	if errors.Is(err, codec.ErrCorrupt) || errors.Is(err, codec.ErrTooLarge) || errors.Is(err, errors.ErrUnsupported) {
		return &engine.Failure{Code: "inflate", Err: err}
	}
	return err
}

// inflating is one decompression.
type inflating struct {
	in  engine.Stream
	out io.ReadCloser
	at  int64
}

func (s *inflating) Read(p []byte) (int, error) {
	n, err := s.out.Read(p)
	s.at += int64(n)
	return n, inflateError(err)
}

// skip decompresses up to where an earlier stream stood.
func (s *inflating) skip(ctx context.Context, t *engine.Task, n int64) error {
	buf := make([]byte, 64<<10)
	for s.at < n {
		if err := t.Safe(ctx); err != nil {
			return err
		}
		if _, err := s.Read(buf[:min(int64(len(buf)), n-s.at)]); err == io.EOF && s.at < n {
			return &engine.Retry{Fresh: true, Err: fmt.Errorf("the artifact ends at byte %d, before byte %d where it was read", s.at, n)}
		} else if err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

func (s *inflating) Mark() (engine.State, error) { return engine.State{Offset: s.at}, nil }

func (s *inflating) Close() error {
	if s.out == nil {
		return s.in.Close()
	}
	return errors.Join(s.out.Close(), s.in.Close())
}
