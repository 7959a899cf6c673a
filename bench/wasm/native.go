package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/delta/codec"
)

// The host moves the bytes of services in pieces and makes what it wrote
// durable at this distance; native code here does the same.
const (
	servicePiece = 256 << 10
	serviceSync  = 768 << 10
)

// native is Go code that does what a step does: it reads a file, checks its
// digest, and writes another one.
type native struct {
	image   *image
	out     string
	piece   int
	sync    int64 // bytes between two syncs; 0: only at the end
	checked bool  // with the digest
}

// run moves the bytes, as decode makes them if it is not nil.
func (n native) run(decode func(io.Reader) (io.Reader, error)) (err error) {
	from, err := os.Open(n.image.file)
	if err != nil {
		return err
	}
	defer from.Close() // only read
	in, sum := io.Reader(from), sha256.New()
	if n.checked {
		in = io.TeeReader(from, sum)
	}
	r := in
	if decode != nil {
		if r, err = decode(in); err != nil {
			return err
		}
	}
	if err := n.write(r); err != nil || !n.checked {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	return n.image.check(sum)
}

func (i *image) check(sum hash.Hash) error {
	if got := hex.EncodeToString(sum.Sum(nil)); got != i.digest {
		return fmt.Errorf("sha256 %s, want %s", got, i.digest)
	}
	return nil
}

// write fills the file that is there, from its beginning.
func (n native) write(r io.Reader) (err error) {
	out, err := os.OpenFile(n.out, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	b := make([]byte, n.piece)
	at, synced := int64(0), int64(0)
	for {
		k, err := io.ReadFull(r, b)
		if _, err := out.WriteAt(b[:k], at); err != nil {
			return err
		}
		at += int64(k)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return out.Sync()
		}
		if err != nil {
			return err
		}
		if n.sync > 0 && at-synced >= n.sync {
			if err := out.Sync(); err != nil {
				return err
			}
			synced = at
		}
	}
}

// digest is the SHA-256 of a file, read in pieces.
func digest(name string) (hash.Hash, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	sum := sha256.New()
	_, err = io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{f}, make([]byte, servicePiece))
	return sum, err
}

// inflated decodes zstd as the host does.
func inflated(ctx context.Context) func(io.Reader) (io.Reader, error) {
	return func(r io.Reader) (io.Reader, error) {
		format, err := codec.Lookup("zstd")
		if err != nil {
			return nil, err
		}
		return format.NewReader(ctx, r, codec.Limits{Size: codec.AnySize})
	}
}

// patched applies a delta to the file old; least says to hold as little as
// possible, as the host does.
func patched(ctx context.Context, old string, least bool) func(io.Reader) (io.Reader, error) {
	return func(r io.Reader) (io.Reader, error) {
		format, err := delta.Lookup("udelta")
		if err != nil {
			return nil, err
		}
		f, err := os.Open(old) // closed with the process, or when it is garbage
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		return format.NewReader(ctx, f, info.Size(), r, delta.Limits{Size: delta.AnySize, Least: least})
	}
}
