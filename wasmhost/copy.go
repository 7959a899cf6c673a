package wasmhost

import (
	"context"
	"io"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// svcCopy streams bytes of an artifact to a target without the guest. It
// makes a checkpoint about every MiB or second and at its end, and goes on
// where the checkpoint is when it is called again.
func svcCopy(ctx context.Context, c *call, a args) int64 {
	src, soff, t, doff, count := a.source(0), a.i64(1), a.target(2), a.i64(3), a.i64(4)
	if soff < 0 || doff < 0 || soff > 1<<62 || doff > 1<<62 || count < -1 || !t.content() {
		return int64(abi.EINVAL)
	}
	if err := t.writable(ctx); err != nil {
		return c.errno(err)
	}
	p := pouring{
		c: c, into: t, key: Copy{Source: src.label(), From: soff, To: doff, Count: count},
		total: src.size(), text: src.label(),
	}
	if art, ok := src.(*artifact); ok && soff == doff {
		p.from = art.role
	}
	if p.record().Whole {
		return p.record().Done
	}
	if err := p.pour(ctx, &reading{ctx: ctx, c: c, from: src, at: soff + p.record().Done}); err != nil {
		return c.refuse(err)
	}
	return p.record().Done
}

// writable opens t for a service that writes to it.
func (t *target) writable(ctx context.Context) error {
	if t.mode != abi.ModeWrite {
		return abi.EDENIED
	}
	return t.ensure(ctx)
}

// pouring is a stream on its way into a target. Its record in the checkpoint
// says how far it is, by the key of what was asked for.
type pouring struct {
	c     *call
	into  *target
	key   Copy
	from  string // role of the artifact that has the same bytes at the same offset, or ""
	total int64  // for the progress; -1 if it is not known
	text  string
}

// record is looked up each time: it moves when its list grows.
func (p *pouring) record() *Copy {
	return p.c.point.file(p.into.name).copied(p.key.Source, p.key.From, p.key.To, p.key.Count)
}

// pour writes what r gives, which goes on behind the bytes that the record
// counts, to its end or to the count that was asked for.
func (p *pouring) pour(ctx context.Context, r io.Reader) error {
	for {
		n, end, err := p.step(ctx, r)
		if err != nil {
			return err
		}
		k := p.record()
		k.Done += n
		k.Whole = end || k.Done == k.Count
		if err := p.c.pause(ctx, k.Done, p.total, p.text, k.Whole); err != nil {
			return err
		}
		if p.record().Whole {
			return nil
		}
	}
}

// step moves the next piece and says how long it was and whether it was the last.
func (p *pouring) step(ctx context.Context, r io.Reader) (n int64, end bool, err error) {
	if p.c.cancelled() {
		return 0, false, abi.ECANCELED
	}
	k := p.record()
	b := p.c.piece()
	if k.Count >= 0 {
		b = b[:min(int64(len(b)), k.Count-k.Done)]
	}
	filled, err := io.ReadFull(r, b)
	end = err == io.EOF || err == io.ErrUnexpectedEOF
	if err != nil && !end {
		return 0, false, err
	}
	if err := p.into.write(ctx, b[:filled], k.To+k.Done, p.from); err != nil {
		return 0, false, err
	}
	p.c.moved += int64(filled)
	return int64(filled), end, nil
}

// pause makes a checkpoint if one is due.
func (c *call) pause(ctx context.Context, done, total int64, text string, last bool) error {
	if !last && !c.due() {
		return nil
	}
	if err := c.save(ctx); err != nil {
		return err
	}
	c.progress(done, max(total, 0), text)
	return nil
}

func (c *call) due() bool { return c.moved >= copyEvery || c.g.Clock.Mono()-c.saved >= copyInterval }
