package delta

import (
	"context"
	"crypto/sha256"
	"encoding"
	"fmt"
	"hash"
)

// digestState is SHA-256 of the start of a file, as something that can be kept
// and gone on with.
type digestState []byte

// newDigestState is that of nothing.
func newDigestState() digestState { return stateOf(sha256.New()) }

func stateOf(h hash.Hash) digestState {
	s, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic("delta: SHA-256 has no state: " + err.Error())
	}
	return s
}

// hash goes on from the state. It fails if that is none.
func (s digestState) hash() (hash.Hash, error) {
	h := sha256.New()
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(s); err != nil {
		return nil, fmt.Errorf("state of SHA-256: %w", err)
	}
	return h, nil
}

// after is the state after b.
func (s digestState) after(b []byte) (digestState, error) {
	if len(b) == 0 {
		return s, nil
	}
	h, err := s.hash()
	if err != nil {
		return nil, err
	}
	h.Write(b)
	return stateOf(h), nil
}

// digest notes in each piece made what the digest is before it, and hands it
// on. For bytes that are only copied that is most of the work, so it is done
// beside the rest.
func (r *udeltaReader) digest(ctx context.Context, h hash.Hash, made <-chan udeltaPiece) {
	defer close(r.pieces)
	for {
		var p udeltaPiece
		var ok bool
		select {
		case p, ok = <-made:
		case <-ctx.Done():
		}
		if !ok {
			return
		}
		p.before = stateOf(h)
		h.Write(p.b)
		select {
		case r.pieces <- p:
		case <-ctx.Done():
			return
		}
	}
}
