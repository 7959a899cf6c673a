package stages

import (
	"context"
	"crypto/md5" // a hint against damage, never trust
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"github.com/updraft-ota/updraft/engine"
)

// check is one digest over a whole stream.
type check struct {
	name string // names its state in a checkpoint
	hash func() hash.Hash
	// right judges the sum; its error is what the stream ends with.
	right func(sum []byte) error
}

// sumCheck compares with a digest in lower-case hex.
func sumCheck(name string, h func() hash.Hash, want string) check {
	return check{name, h, func(sum []byte) error {
		if got := hex.EncodeToString(sum); got != want {
			return &engine.Failure{Code: "digest", Err: fmt.Errorf("artifact has the %s %s, want %s", name, got, want)}
		}
		return nil
	}}
}

func sha256Check(want string) check { return sumCheck("sha256", sha256.New, want) }
func md5Check(want string) check    { return sumCheck("md5", md5.New, want) }

// checked is a source whose streams end with io.EOF only if all digests are
// right. The state of each hash is part of a stream's state.
type checked struct {
	in     engine.Source
	digest string // SHA-256, or ""
	checks []check
}

func (c *checked) Size() int64    { return c.in.Size() }
func (c *checked) Digest() string { return c.digest }

// Cost passes on what the bytes cost.
func (c *checked) Cost() []engine.Effect {
	if costly, ok := c.in.(engine.Costly); ok {
		return costly.Cost()
	}
	return nil
}

func (c *checked) Open(ctx context.Context, at engine.State) (engine.Stream, error) {
	s := &checkedStream{checks: c.checks}
	saved := map[string][]byte{}
	up := engine.State{}
	if at.Up != nil {
		up = *at.Up
	}
	if up.Offset != at.Offset {
		return nil, staleState(fmt.Errorf("byte %d here, byte %d there", at.Offset, up.Offset))
	}
	if at.Offset > 0 {
		if err := json.Unmarshal(at.Blob, &saved); err != nil {
			return nil, staleState(err)
		}
	}
	for _, k := range c.checks {
		h := k.hash()
		if at.Offset > 0 {
			if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(saved[k.name]); err != nil {
				return nil, staleState(err)
			}
		}
		s.sums = append(s.sums, h)
	}
	in, err := c.in.Open(ctx, up)
	if err != nil {
		return nil, err
	}
	s.Stream = in
	return s, nil
}

// staleState happens when a delta was given up a moment before power was lost,
// and after an update of updraft itself: another release of Go may keep hashes
// in another form.
func staleState(err error) error {
	return &engine.Retry{Fresh: true, Err: fmt.Errorf("saved digests do not fit the artifact, hash it anew: %w", err)}
}

type checkedStream struct {
	engine.Stream
	checks []check
	sums   []hash.Hash
	err    error
}

func (s *checkedStream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.Stream.Read(p)
	for _, h := range s.sums {
		h.Write(p[:n]) // a hash never fails
	}
	if err == io.EOF {
		err = s.end()
	}
	s.err = err
	return n, err
}

func (s *checkedStream) end() error {
	for i, k := range s.checks {
		err := k.right(s.sums[i].Sum(nil))
		if j, ok := s.Stream.(interface{ joined() bool }); ok && err != nil && j.joined() {
			return &engine.Retry{Fresh: true, Err: err}
		}
		if err != nil {
			return err
		}
	}
	return io.EOF
}

func (s *checkedStream) Mark() (engine.State, error) {
	up, err := s.Stream.Mark()
	if err != nil {
		return up, err
	}
	states := map[string][]byte{}
	for i, k := range s.checks {
		if states[k.name], err = s.sums[i].(encoding.BinaryMarshaler).MarshalBinary(); err != nil {
			return up, fmt.Errorf("mark digest: %w", err)
		}
	}
	blob, err := json.Marshal(states)
	if err != nil {
		return up, fmt.Errorf("mark digest: %w", err)
	}
	return engine.State{Offset: up.Offset, Blob: blob, Up: &up}, nil
}
