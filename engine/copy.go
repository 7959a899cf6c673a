package engine

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// Sink takes the bytes of a pipe. Sync makes what was written durable.
type Sink interface {
	io.WriterAt
	Sync() error
}

// Written is what Copy wrote.
type Written struct {
	Size   int64  // bytes
	SHA256 string // lower-case hex
}

const (
	copyBuffer      = 256 << 10 // bytes
	checkpointBytes = 768 << 10 // with a buffer on its way this stays below 1 MiB
	checkpointTime  = time.Second
)

// copyState is the checkpoint of Copy.
type copyState struct {
	Stream State  `json:"stream"`
	Hash   []byte `json:"hash"`
}

// Copy streams src into dst, from the step's last checkpoint if there is one.
// At most every 1 MiB or 1 s it syncs dst, marks the stream and saves both. It holds
// 256 KiB. More bytes than src promised, fewer, or others are a [*Failure]
// with code size or digest.
func (t *Task) Copy(ctx context.Context, src Source, dst Sink) (w Written, err error) {
	var at copyState
	if _, err := t.LastCheckpoint(&at); err != nil {
		return w, err
	}
	sum := sha256.New()
	if at.Hash != nil {
		if err := sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(at.Hash); err != nil {
			return w, fmt.Errorf("%w: hash state of step %s: %v", ErrStore, t.Step, err)
		}
	}
	stream, err := src.Open(ctx, at.Stream)
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	c := &copying{t: t, src: src, dst: dst, stream: stream, at: at.Stream.Offset, saved: at.Stream.Offset,
		sum: sum, since: t.Clock().Mono()}
	if err := c.run(ctx); err != nil {
		return w, err
	}
	w = Written{c.at, hex.EncodeToString(sum.Sum(nil))}
	if want := src.Size(); want >= 0 && w.Size != want {
		return w, &Failure{"size", fmt.Errorf("artifact has %d bytes, want %d", w.Size, want)}
	}
	if want := src.Digest(); want != "" && w.SHA256 != want {
		return w, &Failure{"digest", fmt.Errorf("artifact has SHA-256 %s, want %s", w.SHA256, want)}
	}
	return w, nil
}

type copying struct {
	t         *Task
	src       Source
	dst       Sink
	stream    Stream
	at, saved int64 // bytes written, and of them in the checkpoint
	since     time.Duration
	sum       hash.Hash
}

func (c *copying) run(ctx context.Context) error {
	buf := make([]byte, copyBuffer)
	for {
		if err := c.t.Safe(ctx); err != nil {
			return err
		}
		n, err := c.fill(buf)
		if n > 0 {
			if size := c.src.Size(); size >= 0 && c.at+int64(n) > size {
				return &Failure{"size", fmt.Errorf("artifact has more than its %d bytes", size)}
			}
			if _, err := c.dst.WriteAt(buf[:n], c.at); err != nil {
				return fmt.Errorf("write at byte %d: %w", c.at, err)
			}
			c.sum.Write(buf[:n])
			c.at += int64(n)
			c.t.Progress(c.at, max(c.src.Size(), 0))
		}
		end := err == io.EOF
		if err != nil && !end {
			// What came is worth keeping: the next try goes on from here.
			if c.at > c.saved {
				return errors.Join(err, c.save(ctx))
			}
			return err
		}
		if end || c.at-c.saved >= checkpointBytes || c.t.Clock().Mono()-c.since >= checkpointTime {
			if err := c.save(ctx); err != nil || end {
				return err
			}
		}
	}
}

// fill reads one chunk, or less if a checkpoint is due; it may give bytes and
// an error together.
func (c *copying) fill(buf []byte) (n int, err error) {
	for n < len(buf) && err == nil && (n == 0 || c.t.Clock().Mono()-c.since < checkpointTime) {
		var k int
		k, err = c.stream.Read(buf[n:])
		n += k
	}
	return n, err
}

// save is a checkpoint: target first, then stream, then journal.
func (c *copying) save(ctx context.Context) error {
	if err := c.dst.Sync(); err != nil {
		return fmt.Errorf("sync at byte %d: %w", c.at, err)
	}
	mark, err := c.stream.Mark()
	if err != nil {
		return err
	}
	if mark.Offset != c.at {
		return fmt.Errorf("stream is at byte %d, its reader at %d", mark.Offset, c.at)
	}
	hash, err := c.sum.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return err
	}
	c.saved, c.since = c.at, c.t.Clock().Mono()
	return c.t.Checkpoint(ctx, copyState{mark, hash})
}
