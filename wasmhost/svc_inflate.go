package wasmhost

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/updraft-ota/updraft/delta/codec"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// inflaters are the codecs by their number in the contract.
var inflaters = map[int32]string{
	abi.InflateZstd: "zstd", abi.InflateGzip: "gzip", abi.InflateXZ: "xz", abi.InflateLZ4: "lz4", abi.InflateBzip2: "bzip2",
}

// svcInflate decompresses an artifact into a target, from its first byte to
// its last. The decoder holds at most 64 MiB. What comes out is bounded by the
// target's quota. A repeated call decodes from the beginning, since no stream
// can be entered in its middle, and does not write what is synced.
func svcInflate(ctx context.Context, c *call, a args) int64 {
	from, t := a.source(1), a.target(2)
	name, known := inflaters[a.i32(0)]
	if !known && a.i32(0) != 0 || !t.content() {
		return int64(abi.EINVAL)
	}
	if err := t.writable(ctx); err != nil {
		return c.errno(err)
	}
	p := pouring{c: c, into: t, key: Copy{Source: "inflate " + from.label(), Count: -1}, total: -1, text: from.label()}
	if p.record().Whole {
		return p.record().Done
	}
	in := &reading{ctx: ctx, c: c, from: from}
	out, err := inflate(ctx, in, name)
	if err != nil {
		return c.refuse(err)
	}
	err = p.again(ctx, &watched{in, out})
	if err = errors.Join(err, out.Close()); err != nil {
		return c.refuse(err)
	}
	return p.record().Done
}

// inflate begins to decode; without a name what the first bytes say.
func inflate(ctx context.Context, in io.Reader, name string) (io.ReadCloser, error) {
	packed := bufio.NewReaderSize(in, 64<<10)
	if name == "" {
		head, err := packed.Peek(codec.DetectLength)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if name = codec.Detect(head); name == "" {
			return nil, abi.EBADDATA
		}
	}
	format, err := codec.Lookup(name)
	if err != nil {
		return nil, err
	}
	return format.NewReader(ctx, packed, codec.Limits{Size: codec.AnySize})
}

// again passes over what the record counts and pours the rest.
func (p *pouring) again(ctx context.Context, r io.Reader) error {
	done := p.record().Done
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(r, done), p.c.piece())
	if err != nil {
		return err
	}
	if n < done {
		return abi.EBADDATA // it is another source than it was
	}
	return p.pour(ctx, r)
}
