package wasmhost

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost/meter"
)

// Replayed is a phase of a recording that went the same way again, as far as
// the recording goes.
type Replayed struct {
	Number int64 // in the recording, from 1
	Module string
	Name   string // of the module, with its version
	Phase  abi.Phase
	Run    string
	Calls  int64 // of the host
	Fuel   int64
	// SameFuel says that the fuel was compared and is equal. It is not compared
	// with another module, with other prices, or for a phase without an end.
	SameFuel bool
	// End is how the recorded phase ended: a class, a code, or "" if the
	// recording ends before the phase.
	End string
}

// Difference is the first place where a module did not do what the recording
// says. Want and Got are text for people.
type Difference struct {
	Number   int64 // of the phase in the recording, from 1
	Name     string
	Phase    abi.Phase
	Call     int64  // of the phase, from 1
	Function string // that the module called, "" for its end
	What     string // function, argument, bytes, room, fuel or end
	Want     string // in the recording
	Got      string
}

func (d *Difference) Error() string {
	at := "at its end"
	if d.Function != "" {
		at = fmt.Sprintf("call %d, %s", d.Call, d.Function)
	}
	return fmt.Sprintf("phase %d, %s of %s, %s: %s differs: the recording has %s, the module gave %s",
		d.Number, d.Phase, d.Name, at, d.What, d.Want, d.Got)
}

// Replay runs the phases of a recording again, one after the other, without a
// device, network or clock: what the modules ask is compared, and answered with
// what was recorded. Each phase that went the same way is told to heard. The
// first other one ends it with a [*Difference]. A damaged recording is
// [ErrRecording], and [*Error] a module that does not load.
//
// Instead, if not nil, runs in place of the recorded modules that have the same
// name: so a changed module meets what its predecessor met.
func Replay(ctx context.Context, h *Host, recording *io.SectionReader, instead []byte, heard func(Replayed)) (err error) {
	index, err := readIndex(recording)
	if err != nil {
		return err
	}
	r := &replay{h: h, recording: recording, index: index}
	if instead != nil {
		if r.instead, err = r.replacement(instead); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, r.drop(ctx)) }()
	for i := range index.phases {
		done, err := r.phase(ctx, &index.phases[i], int64(i+1))
		if err != nil {
			return err
		}
		heard(done)
	}
	return nil
}

// replay is one call of [Replay].
type replay struct {
	h         *Host
	recording *io.SectionReader
	index     *recordingIndex
	instead   *replacement
	module    *Module // the last one that was loaded
	of        [2]any  // its digest and memory
}

type replacement struct {
	wasm []byte
	name string
}

func (r *replay) replacement(wasm []byte) (*replacement, error) {
	manifest, err := abi.ReadManifest(wasm)
	if err != nil {
		return nil, &Error{Code: InvalidModule, Err: err}
	}
	var names []string
	for _, p := range r.index.phases {
		if p.name() == manifest.Name {
			return &replacement{wasm, manifest.Name}, nil
		}
		names = append(names, p.name())
	}
	slices.Sort(names)
	return nil, fmt.Errorf("%w: no phase of a module named %q (has %q)", ErrRecording, manifest.Name, slices.Compact(names))
}

// load gives the module of a phase, and whether it is the recorded one.
func (r *replay) load(ctx context.Context, head *recordedPhase) (*Module, error) {
	of := [2]any{head.Module, head.Memory}
	if r.module != nil && r.of == of {
		return r.module, nil
	}
	if err := r.drop(ctx); err != nil {
		return nil, err
	}
	var wasm []byte
	if r.instead != nil && r.instead.name == nameOf(head.Name) {
		wasm = r.instead.wasm
	} else {
		var err error
		if wasm, err = r.index.module(r.recording, head.Module); err != nil {
			return nil, err
		}
	}
	m, err := r.h.Load(ctx, wasm, Limits{Memory: head.Memory, Fuel: head.Fuel, Wall: math.MaxInt64})
	if err != nil {
		return nil, err
	}
	r.module, r.of = m, of
	return m, nil
}

func (r *replay) drop(ctx context.Context) (err error) {
	if r.module != nil {
		err = r.module.Close(ctx)
		r.module = nil
	}
	return err
}

func (r *replay) phase(ctx context.Context, at *indexedPhase, number int64) (Replayed, error) {
	m, err := r.load(ctx, &at.head)
	if err != nil {
		return Replayed{}, fmt.Errorf("phase %d of the recording: %w", number, err)
	}
	phase := abi.PhaseNamed(at.head.Phase)
	p := &player{
		track: track{lines: linesFrom(r.recording, at.after), phase: at.number},
		fuel:  m.digest == at.head.Module && at.head.Meter == meter.Version,
		diff:  Difference{Number: number, Name: at.head.Name, Phase: phase},
	}
	c := newCall(m, phase, &Grants{Run: at.head.Run})
	c.wall, c.tank.limit = installWall, cmp.Or(at.head.Fuel, c.tank.limit)
	p.c, c.serve = c, p.answer
	class, err := c.inside(ctx)
	if ctx.Err() != nil {
		return Replayed{}, err
	}
	if err := p.finish(ending(class, err, c.usage.Fuel)); err != nil {
		return Replayed{}, err
	}
	return Replayed{
		Number: number, Module: m.digest, Name: at.head.Name, Phase: phase, Run: at.head.Run,
		Calls: p.calls, Fuel: c.usage.Fuel, SameFuel: p.fuel && p.end != nil && !p.end.outside(), End: p.end.text(),
	}, nil
}

// player answers a module with what was recorded.
type player struct {
	c     *call
	track track
	fuel  bool // whether fuel is compared
	calls int64
	diff  Difference // where
	end   *recordedEnd
	over  bool  // the recording ends from outside or is cut
	err   error // a Difference or ErrRecording: it ended the instance
}

func (p *player) answer(ctx context.Context, i *entry, a args) int64 {
	x := i.exchange(a)
	x.Fuel = p.c.tank.used()
	want, err := p.next()
	switch {
	case err != nil:
		p.stop(err)
	case want == nil && (p.over || p.end.outside()):
		p.over = true
		p.stop(nil)
	case want == nil:
		p.stop(p.differs(&x, "function", p.end.text(), "a call of "+i.name))
	}
	p.calls++
	if err := p.compare(&x, want); err != nil {
		p.stop(err)
	}
	switch err := p.track.fill(i.room(a), want); {
	case errors.Is(err, errCut):
		p.over = true
		p.stop(nil)
	case err != nil:
		p.stop(err)
	}
	if want.Ended != nil {
		p.c.stop(want.Ended.Code, want.Ended.Detail, nil)
	}
	return want.Answer
}

// stop ends the instance. It does not return.
func (p *player) stop(err error) {
	p.err = err
	p.c.stop(ABI, "the replay ends here", nil)
}

// next gives the next recorded call, or nil at the end of the phase.
func (p *player) next() (*recordedCall, error) {
	l, err := p.track.next()
	switch {
	case err != nil:
		return nil, err
	case l == nil:
		p.over = true
		return nil, nil
	case l.End != nil:
		p.end = l.End
		return nil, nil
	}
	return l.Call, nil
}

func (p *player) differs(x *Exchange, what, want, got string) error {
	d := p.diff
	d.Call, d.What, d.Want, d.Got = p.calls+1, what, want, got
	if x != nil {
		d.Function = x.Function
	}
	return &d
}

// compare finds the first difference between what a module asks and what it
// asked.
func (p *player) compare(x *Exchange, want *recordedCall) error {
	p.calls--
	defer func() { p.calls++ }()
	if x.Function != want.Function {
		return p.differs(x, "function", "a call of "+want.Function, "a call of "+x.Function)
	}
	if len(x.Args) != len(want.Args) || len(x.In) != len(want.In) {
		return fmt.Errorf("%w: call %d of %s has another number of arguments than the function", ErrRecording, want.Number, want.Function)
	}
	for i, v := range x.Args {
		if v != want.Args[i] {
			return p.differs(x, fmt.Sprintf("number %d", i+1), fmt.Sprint(want.Args[i]), fmt.Sprint(v))
		}
	}
	for i, b := range x.In {
		if got := recordBytes(b); !got.equal(want.In[i]) {
			return p.differs(x, fmt.Sprintf("buffer %d", i+1), want.In[i].text(), got.beside(want.In[i]))
		}
	}
	if x.Room != want.Room {
		return p.differs(x, "room for the answer", fmt.Sprint(want.Room, " bytes"), fmt.Sprint(x.Room, " bytes"))
	}
	if p.fuel && x.Fuel != want.Fuel {
		return p.differs(x, "fuel", fmt.Sprint(want.Fuel), fmt.Sprint(x.Fuel))
	}
	return nil
}

// finish compares how the phase ended.
func (p *player) finish(got recordedEnd) error {
	if p.err != nil || p.over {
		return p.err
	}
	if p.end == nil {
		want, err := p.next()
		switch {
		case err != nil:
			return err
		case want != nil:
			return p.differs(nil, "the end", "a call of "+want.Function, got.text())
		case p.end == nil || p.end.outside():
			return nil // the recording ends before the phase, or somebody else ended it
		}
	}
	if p.end.outside() {
		return nil
	}
	if got.Class != p.end.Class || got.Code != p.end.Code {
		return p.differs(nil, "the end", p.end.text(), got.text())
	}
	if p.fuel && got.Fuel != p.end.Fuel {
		return p.differs(nil, "fuel", fmt.Sprint(p.end.Fuel), fmt.Sprint(got.Fuel))
	}
	return nil
}

// outside reports whether something else than the module ended the phase.
func (e *recordedEnd) outside() bool {
	return slices.Contains([]Code{HostIO, Wall, Cancelled, Memory}, e.Code)
}

func (e *recordedEnd) text() string {
	switch {
	case e == nil:
		return ""
	case e.Code == "":
		return fmt.Sprintf("class %d", e.Class)
	case e.Detail == "":
		return string(e.Code)
	}
	return fmt.Sprintf("%s (%.200s)", e.Code, e.Detail)
}

func (b recordedBytes) equal(c recordedBytes) bool {
	return b.Size == c.Size && b.SHA256 == c.SHA256 && bytes.Equal(b.Bytes, c.Bytes)
}

const shownBytes = 48

func (b recordedBytes) text() string {
	if b.SHA256 != "" {
		return fmt.Sprintf("%d bytes with the sha256 %s", b.Size, clean([]byte(b.SHA256)))
	}
	return fmt.Sprintf("%d bytes %.*q", len(b.Bytes), shownBytes, b.Bytes)
}

// beside is the text of b next to another one: around the first byte that differs.
func (b recordedBytes) beside(c recordedBytes) string {
	at := 0
	for at < min(len(b.Bytes), len(c.Bytes)) && b.Bytes[at] == c.Bytes[at] {
		at++
	}
	if b.SHA256 != "" || c.SHA256 != "" {
		return b.text()
	}
	return fmt.Sprintf("%s, from byte %d on %.*q", b.text(), at, shownBytes, b.Bytes[at:])
}
