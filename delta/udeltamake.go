package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"runtime"
	"sync"

	"github.com/updraft-ota/updraft/delta/internal/coder"
	"github.com/updraft-ota/updraft/delta/internal/match"
)

// udeltaLevel is what a level means.
type udeltaLevel struct {
	match match.Level
	first match.Level // before references are known
	coder coder.Level
	caps  udeltaCaps
	whole udeltaCaps // where most of new is not in old: a long way back to look pays
}

var udeltaLevels = map[Level]udeltaLevel{
	Fast:    {match.Fast, match.Glance, coder.Fast, levelCaps(18, 20, 18), levelCaps(19, 20, 18)},
	Default: {match.Default, match.Fast, coder.Default, levelCaps(19, 20, 21), levelCaps(21, 22, 21)},
	Max:     {match.Max, match.Default, coder.Max, levelCaps(20, 22, 22), levelCaps(21, 22, 22)},
}

func levelCaps(coded, raw, known uint8) udeltaCaps {
	return udeltaCaps{Coded: coded, Raw: raw, Known: known, Output: udeltaMost.Output}
}

// capsFor gives the caps for a new file of which copies cover some, less where
// it is too small for those of the level.
func (l udeltaLevel) capsFor(newSize int64, copies []match.Copy) udeltaCaps {
	covered := int64(0)
	for _, c := range copies {
		covered += c.Length
	}
	c := l.caps
	if covered < newSize/2 {
		c = l.whole
	}
	if newSize < 1<<24 {
		// No byte of new makes more than two bytes, beside the numbers of
		// a copy, which are worth several.
		c.Raw = min(c.Raw, logUp(int(newSize)*2+udeltaSlack))
		c.Coded = min(c.Coded, max(c.Raw+1, 10))
		c.Output = min(c.Output, logUp(int(newSize)))
	}
	return c
}

func makeUdelta(ctx context.Context, dst io.Writer, old, new *io.SectionReader, o Options) (stats Stats, err error) {
	if n := max(old.Size(), new.Size()); n > math.MaxInt/2 || n >= maxUdeltaFile {
		return stats, fmt.Errorf("%w: a file of %d bytes, this machine can address %d", ErrTooLarge, n, min(int64(math.MaxInt/2), maxUdeltaFile))
	}
	oldBytes, free, forgetOld, err := wholeFile(ctx, "old file", old)
	if err != nil {
		return stats, err
	}
	defer free()
	newBytes, free, forgetNew, err := wholeFile(ctx, "new file", new)
	if err != nil {
		return stats, err
	}
	defer free()
	m := &udeltaMaker{old: oldBytes, new: newBytes, level: udeltaLevels[o.Level], dst: dst}
	m.forget, m.solid = func() { forgetOld(); forgetNew() }, o.Solid
	err = m.run(ctx)
	return m.stats, err
}

// udeltaMaker makes one patch.
type udeltaMaker struct {
	old, new []byte
	level    udeltaLevel
	dst      io.Writer
	solid    bool
	forget   func() // gives back the memory of old and new for now; may be nil
	header   udeltaHeader
	copies   []match.Copy
	regions  []*udeltaRegion // in order of new
	stats    Stats
	raw      [udeltaKinds]int64
	mapRaw   [regionKinds]int64
	mapCoded int64 // bytes of map sections
	coded    int64 // bytes of frames without references
	refs     int64 // bytes of references
}

// oldFile reads the old file; each goroutine has its own.
func (m *udeltaMaker) oldFile() io.ReaderAt { return bytes.NewReader(m.old) }

func (m *udeltaMaker) run(ctx context.Context) error {
	wait := m.sums()
	defer wait()
	if bytes.Equal(m.old, m.new) {
		m.header.required = udeltaIdentical
	} else if err := m.findCopies(ctx); err != nil {
		return err
	}
	wait()
	if m.solid {
		one := *m
		one.dst = io.Discard
		one.level.caps = udeltaCaps{Coded: 26, Raw: 25, Known: 25, Output: 40}
		one.level.whole = one.level.caps
		if err := one.patch(ctx); err != nil {
			return err
		}
		m.stats.SolidSize = one.stats.PatchSize
	}
	return m.patch(ctx)
}

// sums begins the header, whose digests are there once wait has returned.
func (m *udeltaMaker) sums() (wait func()) {
	h := &m.header
	h.minor, h.oldSize, h.newSize = udeltaMinor, int64(len(m.old)), int64(len(m.new))
	var sums sync.WaitGroup
	sums.Go(func() { h.oldSum = sha256.Sum256(m.old) })
	sums.Go(func() { h.newSum = sha256.Sum256(m.new) })
	return sums.Wait
}

// patch writes the patch that makes new by copies.
func (m *udeltaMaker) patch(ctx context.Context) error {
	same := m.header.identical()
	if !same {
		caps := m.level.capsFor(m.header.newSize, m.copies)
		caps.Map, caps.Tables = m.header.caps.Map, m.header.caps.Tables
		m.header.caps = caps
	}
	m.stats.Memory = m.header.caps.memory(1)
	if err := m.write(m.header.append(nil)); err != nil {
		return err
	}
	if !same {
		if err := m.frames(ctx); err != nil {
			return err
		}
	}
	end := binary.AppendUvarint(nil, uint64(m.stats.Frames))
	if err := m.write(m.header.appendSection(nil, m.stats.PatchSize, udeltaEndSection, end)); err != nil {
		return err
	}
	m.stats.Streams = udeltaStreams(m.mapRaw, m.mapCoded, m.raw, m.coded, m.refs)
	return nil
}

func (m *udeltaMaker) write(b []byte) error {
	n, err := m.dst.Write(b)
	m.stats.PatchSize += int64(n)
	if err != nil {
		return fmt.Errorf("write patch: %w", err)
	}
	return nil
}

// codedFrame is a frame and the body of its section.
type codedFrame struct {
	*udeltaFrame
	begins *udeltaRegion // or the map section of one
	body   []byte
}

// frames writes all frames. They are planned one after the other, coded by as
// many goroutines as may run, and written in order.
func (m *udeltaMaker) frames(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	threads := runtime.GOMAXPROCS(0)
	type job struct {
		do   func(c *coder.Compressor) []codedFrame
		done chan []codedFrame
	}
	work, order := make(chan job), make(chan job, threads)
	all.Go(func() {
		defer close(work)
		defer close(order)
		m.plan(func(do func(c *coder.Compressor) []codedFrame) bool {
			j := job{do, make(chan []codedFrame, 1)}
			for _, c := range []chan job{order, work} {
				select {
				case c <- j:
				case <-ctx.Done():
					return false
				}
			}
			return true
		})
	})
	for range threads {
		all.Go(func() {
			var c coder.Compressor
			for j := range work {
				j.done <- j.do(&c)
			}
		})
	}
	for j := range order {
		select {
		case coded := <-j.done:
			if err := m.put(coded); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// plan hands out what there is to code, in order, until add says no.
func (m *udeltaMaker) plan(add func(do func(c *coder.Compressor) []codedFrame) bool) {
	frames := func(r *udeltaRegion, at, to int64) bool {
		p := udeltaPlanner{m: m, region: r, at: at, to: to, limit: 1 << m.header.caps.Raw}
		for p.at < p.to {
			f := p.frame()
			if !add(func(c *coder.Compressor) []codedFrame { return m.code(c, f) }) {
				return false
			}
		}
		return true
	}
	at := int64(0)
	for _, r := range m.regions {
		begin := func(c *coder.Compressor) []codedFrame {
			return []codedFrame{{begins: r, body: r.body(c, m.level.coder)}}
		}
		if !frames(nil, at, r.outputAt) || !add(begin) || !frames(r, r.outputAt, r.end()) {
			return
		}
		at = r.end()
	}
	frames(nil, at, int64(len(m.new)))
}

// put writes frames that follow each other.
func (m *udeltaMaker) put(frames []codedFrame) error {
	for _, f := range frames {
		if f.begins != nil {
			if err := m.putMap(f.begins, f.body); err != nil {
				return err
			}
			continue
		}
		if err := m.write(m.header.appendSection(nil, m.stats.PatchSize, udeltaFrameSection, f.body)); err != nil {
			return err
		}
		m.stats.Frames++
		m.stats.Ops += int64(f.ops)
		m.refs += int64(len(f.refs))
		m.coded += int64(len(f.body) - len(f.refs))
		for kind, c := range f.column {
			m.raw[kind] += int64(len(c))
		}
	}
	return nil
}

// putMap writes the map section of a region.
func (m *udeltaMaker) putMap(r *udeltaRegion, body []byte) error {
	if err := m.write(m.header.appendSection(nil, m.stats.PatchSize, udeltaMapSection, body)); err != nil {
		return err
	}
	m.mapCoded += int64(len(body))
	m.stats.Regions++
	m.stats.Ops += int64(r.ops)
	m.stats.Elements += int64(len(r.elements))
	for _, run := range r.runs {
		m.stats.ElementBytes += run.length
	}
	for kind, c := range r.column {
		m.mapRaw[kind] += int64(len(c))
	}
	return nil
}

// code codes f, in halves if its section would be too long.
func (m *udeltaMaker) code(c *coder.Compressor, f *udeltaFrame) []codedFrame {
	if most := 1 << m.header.caps.Coded; entropy(f.column[udeltaLiterals])/2 <= most {
		if body := m.codeWhole(c, f); len(body) <= most {
			return []codedFrame{{udeltaFrame: f, body: body}}
		}
	}
	total := len(f.refs)
	for _, c := range f.column {
		total += len(c)
	}
	p := udeltaPlanner{m: m, region: f.region, at: f.outputAt, to: f.outputAt + int64(f.output), limit: total/2 + udeltaSlack}
	var all []codedFrame
	for p.at < p.to {
		all = append(all, m.code(c, p.frame())...)
	}
	return all
}

// codeWhole gives the body of the section of f.
func (m *udeltaMaker) codeWhole(c *coder.Compressor, f *udeltaFrame) []byte {
	parts := make([]coder.Part, 0, udeltaKinds+f.ops)
	for kind := range udeltaLiterals {
		parts = append(parts, coder.Part{Kind: kind, Raw: f.column[kind]})
	}
	ops, known, literals := f.clips(m.header.oldSize), newUdeltaKnown(&m.header), f.column[udeltaLiterals]
	for {
		op, err := ops.next()
		if err != nil {
			panic("delta: made a frame that cannot be read: " + err.Error())
		}
		ranges, beside := known.before(op)
		for _, r := range ranges {
			parts = append(parts, coder.Part{Kind: udeltaLiterals, Known: m.old[r.from:r.to]})
		}
		parts = append(parts, coder.Part{Kind: udeltaLiterals, Raw: literals[:op.gap], Beside: beside})
		literals = literals[op.gap:]
		if op.length == 0 {
			break
		}
	}
	body := append(f.appendHead(nil, &m.header), c.Compress(m.level.coder, udeltaModels, parts)...)
	return append(body, f.refs...)
}

// entropy is how many bytes b would take if each byte was coded by itself. What
// has order takes less, seldom below half; so this tells, before it is tried,
// that b is too much for a frame.
func entropy(b []byte) int {
	var counts [256]int
	for _, c := range b {
		counts[c]++
	}
	total := int64(0)
	for _, n := range counts {
		total += int64(n) * int64(logarithm(len(b))-logarithm(n))
	}
	return int(total >> 11)
}

// logarithm is the binary logarithm of n, roughly, in 256ths: in whole numbers,
// because every machine must come to the same patch. Of 0 it is 0.
func logarithm(n int) int {
	if n == 0 {
		return 0
	}
	whole := bits.Len(uint(n)) - 1
	return whole<<8 + (n<<8>>whole - 1<<8)
}
