package wasmhost

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/updraft-ota/updraft/internal/trust"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// svcHash digests a part of an artifact or target. A part that is not whole
// there is EINVAL. A stream is read by it: it cannot go back to be copied.
func svcHash(ctx context.Context, c *call, a args) int64 {
	off, count := a.i64(1), a.i64(2)
	from, err := a.content(0)
	if err != nil {
		return c.errno(err)
	}
	sum := digester(a.i32(3))
	if off < 0 || off > 1<<62 || count < -1 || sum == nil {
		return int64(abi.EINVAL)
	}
	if len(a.bytes(4)) < hex.EncodedLen(sum.Size()) {
		return int64(hex.EncodedLen(sum.Size())) // before a stream is spent for nothing
	}
	in := io.Reader(&reading{ctx: ctx, c: c, from: from, at: off})
	if count >= 0 {
		in = io.LimitReader(in, count)
	}
	// A stream is digested on its way: once is enough.
	art, own := from.(*artifact)
	own = own && !art.anywhere() && off == 0 && count < 0 && a.i32(3) == abi.SHA256
	w := io.Writer(sum)
	if own {
		w = io.Discard
	}
	// A plain writer, so that the buffer is used.
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, in, c.piece())
	switch {
	case err != nil:
		return c.refuse(err)
	case count >= 0 && n < count:
		return int64(abi.EINVAL)
	case own:
		return a.answer(4, []byte(art.digest))
	}
	return a.answer(4, []byte(hex.EncodeToString(sum.Sum(nil))))
}

func digester(alg int32) hash.Hash {
	switch alg {
	case abi.SHA256:
		return sha256.New()
	case abi.SHA512:
		return sha512.New()
	case abi.MD5:
		return md5.New()
	}
	return nil
}

// svcVerify checks minisign's prehashed signature over all of an artifact or
// target. The key is the caller's, as text; one that cannot be read is EINVAL.
func svcVerify(ctx context.Context, c *call, a args) int64 {
	from, err := a.content(0)
	if err != nil {
		return c.errno(err)
	}
	key, err := trust.ParsePublic(a.bytes(3))
	if err != nil {
		return int64(abi.EINVAL)
	}
	_, err = trust.Verify(&reading{ctx: ctx, c: c, from: from}, a.bytes(1), []trust.Public{key})
	switch {
	case err == nil:
		return 0
	case errors.Is(err, trust.ErrUntrusted):
		return int64(abi.EBADDATA)
	}
	return c.refuse(err)
}
