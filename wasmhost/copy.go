package wasmhost

import (
	"context"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// svcCopy streams bytes of an artifact to a target without the guest. It
// makes a checkpoint about every MiB or second and at its end, and goes on
// where the checkpoint is when it is called again.
func svcCopy(ctx context.Context, c *call, a args) int64 {
	art, soff, t, doff, count := a.artifact(0), a.i64(1), a.target(2), a.i64(3), a.i64(4)
	if soff < 0 || doff < 0 || soff > 1<<62 || doff > 1<<62 || count < -1 || !t.content() {
		return int64(abi.EINVAL)
	}
	if t.mode != abi.ModeWrite {
		return int64(abi.EDENIED)
	}
	if err := t.ensure(ctx); err != nil {
		return c.errno(err)
	}
	// The record moves when its list grows, so it is looked up each time.
	record := func() *Copy { return c.point.file(t.name).copied(art.role, soff, doff, count) }
	for !record().Whole {
		n, err := c.move(ctx, art, t, *record())
		if err == nil {
			k := record()
			k.Done += n
			// A piece is short only where the artifact ends.
			k.Whole = k.Done == count || n < copyPiece
			err = c.pause(ctx, art, k.Done, k.Whole)
		}
		if err != nil {
			return c.errno(err)
		}
	}
	return record().Done
}

// move copies the next piece and gives its length.
func (c *call) move(ctx context.Context, art *artifact, t *target, k Copy) (int64, error) {
	if c.cancelled() {
		return 0, abi.ECANCELED
	}
	b := c.piece()
	if k.Count >= 0 {
		b = b[:min(int64(len(b)), k.Count-k.Done)]
	}
	n, err := art.readAt(ctx, b, k.From+k.Done)
	if err != nil {
		return 0, err
	}
	from := ""
	if k.From == k.To {
		from = art.role
	}
	if err := t.write(ctx, b[:n], k.To+k.Done, from); err != nil {
		return 0, err
	}
	c.moved += int64(n)
	c.count(int64(n))
	return int64(n), nil
}

// pause makes a checkpoint if one is due.
func (c *call) pause(ctx context.Context, art *artifact, done int64, last bool) error {
	if !last && c.moved < copyEvery && c.g.Clock.Mono()-c.saved < copyInterval {
		return nil
	}
	if err := c.save(ctx); err != nil {
		return err
	}
	c.progress(done, max(art.source.Size(), 0), art.role)
	return nil
}
