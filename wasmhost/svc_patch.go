package wasmhost

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// patchers are the formats by their number in the contract, and how a patch of
// each begins. That of vcdiff is the whole of RFC 3284's.
var patchers = map[int32]struct{ name, magic string }{
	abi.PatchUdelta: {"udelta", "\x89udelta\n"},
	abi.PatchBsdiff: {"bsdiff", "BSDIFF40"},
	abi.PatchVCDIFF: {"vcdiff", "\xd6\xc3\xc4"},
	abi.PatchZstd:   {"zstd", "\x28\xb5\x2f\xfd"},
}

// maxPatchHead is the longest of the magics.
const maxPatchHead = 8

// svcPatch makes the new file from old and a patch and writes it to a target
// from its first byte. Applying holds at most 64 MiB; a patch that needs more
// is EQUOTA, and one that does not fit old is EBADDATA. A repeated call
// applies the patch from its beginning and does not write what is synced.
func svcPatch(ctx context.Context, c *call, a args) int64 {
	patch, t := a.source(2), a.target(3)
	old, err := a.content(1)
	if err != nil {
		return c.errno(err)
	}
	if !t.content() || a.i32(0) != 0 && patchers[a.i32(0)].name == "" || !old.anywhere() || old == patch {
		return int64(abi.EINVAL)
	}
	if err := t.writable(ctx); err != nil {
		return c.errno(err)
	}
	if o, ok := old.(*target); ok { // its size is known once it is open
		if err := o.ensure(ctx); err != nil {
			return c.errno(err)
		}
	}
	p := pouring{c: c, into: t, key: Copy{Source: "patch " + patch.label() + " of " + old.label(), Count: -1}, total: -1, text: patch.label()}
	if p.record().Whole {
		return p.record().Done
	}
	f := newFerry()
	err = f.run(ctx, c, func(ctx context.Context) (io.ReadCloser, error) {
		return f.patched(ctx, a.i32(0), old, patch)
	}, func(r io.Reader) error { return p.again(ctx, r) })
	if err != nil {
		return c.refuse(err)
	}
	return p.record().Done
}

// patched begins to apply a patch; kind 0 is what its first bytes say.
func (f *ferry) patched(ctx context.Context, kind int32, old, patch origin) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(&ferried{f: f, from: patch}, 64<<10)
	name := patchers[kind].name
	if name == "" {
		head, err := in.Peek(maxPatchHead)
		if err != nil && err != io.EOF {
			return nil, err
		}
		for _, p := range patchers {
			if len(head) >= len(p.magic) && string(head[:len(p.magic)]) == p.magic {
				name = p.name
			}
		}
		if name == "" {
			return nil, abi.EBADDATA
		}
	}
	format, err := delta.Lookup(name)
	if err != nil {
		return nil, err
	}
	size := old.size()
	return format.NewReader(ctx, &ferried{f: f, from: old}, size, in, delta.Limits{Size: delta.AnySize, Least: true})
}

// ferry lets a decoder that reads from goroutines of its own have its input
// from the goroutine of the call: artifacts, the door and the journal are used
// there alone, and a panic of theirs stays there.
type ferry struct {
	asks  chan ask
	gives chan given
	free  chan []byte
	owed  chan given // the reply that an ask waits for
}

type ask struct {
	from  origin
	b     []byte
	off   int64
	reply chan given
}

type given struct {
	n   int
	err error
}

var errGone = errors.New("the service has ended")

func newFerry() *ferry {
	return &ferry{asks: make(chan ask), gives: make(chan given), free: make(chan []byte)}
}

// run lets open make a decoder on a goroutine of its own, and use read what it
// gives on this one. It returns when that goroutine has ended.
func (f *ferry) run(ctx context.Context, c *call, open func(context.Context) (io.ReadCloser, error), use func(io.Reader) error) error {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.decode(ctx, open)
	}()
	defer func() {
		stop()
		if f.owed != nil { // the reading panicked
			f.owed <- given{err: errGone}
		}
		for {
			select {
			case a := <-f.asks:
				a.reply <- given{err: errGone}
			case <-done:
				return
			}
		}
	}()
	return use(&arriving{f: f, in: &reading{ctx: ctx, c: c}})
}

// decode fills the buffers that come over free until ctx or the content ends.
func (f *ferry) decode(ctx context.Context, open func(context.Context) (io.ReadCloser, error)) {
	out, err := open(ctx)
	if err == nil {
		defer out.Close()
	}
	for {
		var b []byte
		select {
		case b = <-f.free:
		case <-ctx.Done():
			return
		}
		n := 0
		if err == nil {
			n, err = out.Read(b)
		}
		select {
		case f.gives <- given{n: n, err: err}:
		case <-ctx.Done():
			return
		}
	}
}

// arriving is what the decoder gives, read on the call's goroutine, which
// answers what the decoder asks meanwhile.
type arriving struct {
	f  *ferry
	in *reading
}

func (r *arriving) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	free := r.f.free
	for {
		select {
		case free <- b:
			free = nil
		case a := <-r.f.asks:
			r.in.from, r.in.at = a.from, a.off
			r.f.owed = a.reply
			n, err := r.in.Read(a.b)
			r.f.owed = nil
			a.reply <- given{n: n, err: err}
		case g := <-r.f.gives:
			return g.n, g.err
		case <-r.in.ctx.Done(): // the decoder may have gone already
			return 0, context.Cause(r.in.ctx)
		}
	}
}

// ferried is content as the decoder's goroutines read it.
type ferried struct {
	f    *ferry
	from origin
	at   int64 // of Read
}

func (r *ferried) Read(b []byte) (int, error) {
	n, err := r.ask(b, r.at)
	r.at += int64(n)
	return n, err
}

// ReadAt implements [io.ReaderAt].
func (r *ferried) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = r.ask(b[n:], off+int64(n))
		n += k
	}
	return n, err
}

func (r *ferried) ask(b []byte, off int64) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	a := ask{from: r.from, b: b, off: off, reply: make(chan given, 1)}
	r.f.asks <- a
	g := <-a.reply
	return g.n, g.err
}
