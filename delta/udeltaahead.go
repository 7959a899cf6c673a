package delta

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"sort"
	"sync"

	fsimage "github.com/updraft-ota/updraft/delta/internal/image"
	"github.com/updraft-ota/updraft/delta/internal/match"
	"github.com/updraft-ota/updraft/delta/internal/reference"
)

// leastExecutable is the size of the smallest file whose references are worth
// looking at, in bytes.
const leastExecutable = 2 << 10

// executable is one file in an image.
type executable struct {
	extents []extent
	size    int64
	parsed  *reference.Element
}

// contents is the file's bytes; a part of data if they lie together there.
func (x *executable) contents(data []byte) []byte {
	if len(x.extents) == 1 {
		return data[x.extents[0].at:x.extents[0].end()]
	}
	b := make([]byte, 0, x.size)
	for _, e := range x.extents {
		if e.at == hole {
			b = append(b, make([]byte, e.length)...)
			continue
		}
		b = append(b, data[e.at:e.end()]...)
	}
	return b
}

// executables finds the files in an image that are executables: wherever one
// begins, in a file system, an archive or anything else. None overlaps another.
func executables(data []byte) []executable {
	files := map[int64][]extent{} // by place of their first byte
	for parts := range fsimage.Sparse(data, leastExecutable) {
		var all []extent
		for _, x := range parts {
			all = append(all, extent{x.At, x.Length}) // hole is fsimage.Hole
		}
		if all[0].at != hole {
			files[all[0].at] = all
		}
	}
	var all []executable
	look := &magics{data: data}
	for at := int64(0); ; {
		if at = int64(look.next(int(at))); at < 0 {
			return apart(all)
		}
		file, ok := files[at]
		if !ok {
			file = []extent{{at, int64(len(data)) - at}}
		}
		if x, ok := executableIn(data, file); ok {
			all = append(all, x)
			at += x.extents[0].length
		} else {
			at++
		}
	}
}

// windowsBlock is what programs for Windows are aligned to where they lie in an
// archive or an image. Their magic is too short to look for it anywhere.
const windowsBlock = 512

// magics looks for places where an executable may begin.
type magics struct {
	data []byte
	elf  int // the next of ELF; -1 if there is none
}

// next is the first such place from at on, or -1.
func (m *magics) next(at int) int {
	if m.elf >= 0 && m.elf < at || at == 0 {
		if m.elf = bytes.Index(m.data[at:], []byte("\x7fELF")); m.elf >= 0 {
			m.elf += at
		}
	}
	end := len(m.data) - 1
	if m.elf >= 0 {
		end = m.elf
	}
	for i := at + -at&(windowsBlock-1); i < end; i += windowsBlock {
		if m.data[i] == 'M' && m.data[i+1] == 'Z' {
			return i
		}
	}
	return m.elf
}

// executableIn gives the executable that begins where a file does.
func executableIn(data []byte, file []extent) (executable, bool) {
	r := &extentReader{file: bytes.NewReader(data), all: file}
	size, ok := reference.Sniff(r, 0, total(file))
	if !ok || size < leastExecutable {
		return executable{}, false
	}
	x := executable{size: size}
	for _, part := range file {
		part.length = min(part.length, size)
		if size -= part.length; part.length > 0 {
			x.extents = append(x.extents, part)
		}
	}
	x.parsed, ok = reference.Parse(&extentReader{file: bytes.NewReader(data), all: x.extents}, x.size)
	return x, ok
}

// apart leaves out what overlaps something before it.
func apart(all []executable) []executable {
	parts, gone := whereIs(all), map[int]bool{}
	end := int64(0)
	for _, p := range parts {
		if p.at < end {
			gone[p.file] = true
		}
		end = max(end, p.end())
	}
	var left []executable
	for i, x := range all {
		if !gone[i] {
			left = append(left, x)
		}
	}
	return left
}

// twins are an executable in old and what became of it.
type twins struct {
	old, new *executable
	copied   int64
	forecast *reference.Forecast
}

// findCopies finds the copies, and the elements in which references are worth
// foretelling.
func (m *udeltaMaker) findCopies(ctx context.Context) (err error) {
	olds, news := executables(m.old), executables(m.new)
	if len(olds) == 0 || len(news) == 0 {
		m.copies, err = m.find(ctx, m.old, m.new, m.level.match)
		return err
	}
	first, err := m.find(ctx, m.old, m.new, m.level.first)
	if err != nil {
		return err
	}
	pairs := pairUp(olds, news, first)
	pairs = m.worthwhile(ctx, pairs, first)
	if len(pairs) == 0 {
		m.copies, err = m.find(ctx, m.old, m.new, m.level.match)
		return err
	}
	if m.copies, err = m.findAgain(ctx, pairs); err != nil {
		return err
	}
	if !m.cutRegions(pairs) {
		m.regions, m.header.caps.Map = nil, 0
		m.copies, err = m.find(ctx, m.old, m.new, m.level.match)
	}
	return err
}

// find looks for copies, and then lets go of what that held: an index takes up
// to as much memory as the files.
func (m *udeltaMaker) find(ctx context.Context, old, upd []byte, level match.Level) ([]match.Copy, error) {
	copies, err := match.Find(ctx, old, upd, match.Options{Level: level})
	runtime.GC()
	return copies, err
}

// pairUp says for each executable of new from which one of old most of it was
// copied.
func pairUp(olds, news []executable, copies []match.Copy) []*twins {
	from, to := whereIs(olds), whereIs(news)
	tally := map[[2]int]int64{}
	for _, c := range copies {
		to.each(extent{c.New, c.Length}, func(n int, part extent) {
			from.each(extent{part.at + c.Old - c.New, part.length}, func(o int, part extent) {
				tally[[2]int{o, n}] += part.length
			})
		})
	}
	best := make([]*twins, len(news))
	keys := make([][2]int, 0, len(tally))
	for k := range tally {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [2]int) int { return cmp.Or(cmp.Compare(a[1], b[1]), cmp.Compare(a[0], b[0])) })
	for _, k := range keys {
		if n := tally[k]; best[k[1]] == nil || n > best[k[1]].copied {
			best[k[1]] = &twins{old: &olds[k[0]], new: &news[k[1]], copied: n}
		}
	}
	return slices.DeleteFunc(best, func(p *twins) bool { return p == nil })
}

// places tells which executable a byte of an image belongs to.
type places []struct {
	extent
	file int
}

func whereIs(all []executable) places {
	var p places
	for i := range all {
		for _, x := range all[i].extents {
			if x.at != hole {
				p = append(p, struct {
					extent
					file int
				}{x, i})
			}
		}
	}
	sort.Slice(p, func(i, j int) bool { return p[i].at < p[j].at })
	return p
}

// each calls do for the parts of x that lie in files.
func (p places) each(x extent, do func(file int, part extent)) {
	i := sort.Search(len(p), func(i int) bool { return p[i].end() > x.at })
	for ; i < len(p) && p[i].at < x.end(); i++ {
		from, to := max(p[i].at, x.at), min(p[i].end(), x.end())
		do(p[i].file, extent{from, to - from})
	}
}

// regionOf makes the region of all of new, or of a part of it, with the copies
// in it and the elements of pairs.
func (m *udeltaMaker) regionOf(at, to int64, copies []match.Copy, pairs []*twins) *udeltaRegion {
	r := &udeltaRegion{outputAt: at, output: to - at, oldSize: int64(len(m.old))}
	var recent udeltaDiagonal
	i := sort.Search(len(copies), func(i int) bool { return copies[i].New+copies[i].Length > at })
	for done := at; i < len(copies) && copies[i].New < to; i++ {
		c := copies[i]
		start, end := max(c.New, at), min(c.New+c.Length, to)
		r.column[regionGaps] = binary.AppendUvarint(r.column[regionGaps], uint64(start-done))
		r.column[regionLengths] = binary.AppendUvarint(r.column[regionLengths], uint64(end-start-1))
		r.column[regionDiagonals] = recent.append(r.column[regionDiagonals], c.Old-c.New)
		r.ops++
		done = end
	}
	for _, p := range pairs {
		r.elements = append(r.elements, udeltaElement{old: p.old.extents, new: p.new.extents})
	}
	return r
}

// finishMade is for a region that is made what reading one derives.
func (r *udeltaRegion) finishMade() error {
	if err := r.index(); err != nil {
		return err
	}
	return r.sortRuns()
}

// foretell fills in what is known about the layout of new.
func (m *udeltaMaker) foretell(r *udeltaRegion, i int, p *twins) (size int64, err error) {
	e := &r.elements[i]
	f := &reference.Forecast{}
	if f.Map, err = reference.NewMap(r.copies(i), e.oldSize()); err != nil {
		return 0, err
	}
	e.layout = reference.AppendLayout(nil, p.old.parsed, p.new.parsed, f.Map)
	if f.Layout, err = p.old.parsed.ReadLayout(e.layout, f.Map); err != nil {
		return 0, err
	}
	p.forecast = f
	return p.old.parsed.Memory() + f.Map.Memory(), nil
}

// worthwhile leaves the pairs in which forecasts are right more often than the
// bytes of old are.
func (m *udeltaMaker) worthwhile(ctx context.Context, pairs []*twins, copies []match.Copy) []*twins {
	r := m.regionOf(0, int64(len(m.new)), copies, pairs)
	if r.finishMade() != nil {
		return nil
	}
	good := make([]bool, len(pairs))
	parallel(ctx, len(pairs), func(i int) {
		p := pairs[i]
		if _, err := m.foretell(r, i, p); err != nil {
			return
		}
		old, upd := p.old.contents(m.old), p.new.contents(m.new)
		gain := reference.Measure(p.old.parsed, p.forecast.Layout, p.forecast.Map, old, upd, r.copies(i))
		good[i] = gain.Fields-gain.Plain > 16 && gain.Forecast >= gain.Plain
		if good[i] {
			p.forecast.Types = reference.NewNumbering(p.old.parsed, old, p.new.parsed, upd)
		}
	})
	var left []*twins
	for i, p := range pairs {
		if good[i] {
			left = append(left, p)
		}
	}
	return left
}

// parallel calls do for 0 to n-1, on as many goroutines as may run.
func parallel(ctx context.Context, n int, do func(i int)) {
	var all sync.WaitGroup
	next := make(chan int)
	for range min(n, runtime.GOMAXPROCS(0)) {
		all.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	all.Wait()
}

// findAgain finds copies in images in which references are replaced by what
// they refer to.
func (m *udeltaMaker) findAgain(ctx context.Context, pairs []*twins) ([]match.Copy, error) {
	old, freeOld := scratch(len(m.old))
	defer freeOld()
	upd, freeNew := scratch(len(m.new))
	defer freeNew()
	m.copyAll(old, m.old)
	m.copyAll(upd, m.new)
	slices.SortStableFunc(pairs, func(a, b *twins) int { return cmp.Compare(b.copied, a.copied) })
	done := map[*executable]bool{}
	type job struct {
		x         *executable
		to, from  []byte
		forecast  *reference.Forecast
		low, high int64
	}
	var jobs []job
	for _, p := range pairs {
		if !done[p.old] {
			jobs = append(jobs, job{x: p.old, to: old, from: m.old, forecast: p.forecast})
			done[p.old] = true
		}
		jobs = append(jobs, job{x: p.new, to: upd, from: m.new})
	}
	// What lies together is cut, so that both processors have something to do.
	var parts []job
	for _, j := range jobs {
		step := j.x.size
		if len(j.x.extents) == 1 {
			step = absolutePiece
		}
		for ; j.low < j.x.size; j.low += step {
			j.high = min(j.low+step, j.x.size)
			parts = append(parts, j)
		}
	}
	parallel(ctx, len(parts), func(i int) {
		if i%forgetParts == 0 {
			m.forgetFiles()
		}
		j := parts[i]
		data := j.x.contents(j.from)
		if len(j.x.extents) == 1 {
			x := j.x.extents[0]
			reference.Absolute(j.x.parsed, j.to[x.at:x.end()], data, j.low, j.high, j.forecast)
			return
		}
		b := make([]byte, len(data))
		reference.Absolute(j.x.parsed, b, data, j.low, j.high, j.forecast)
		for _, x := range j.x.extents {
			if x.at != hole {
				copy(j.to[x.at:x.end()], b)
			}
			b = b[x.length:]
		}
	})
	m.forgetFiles()
	return m.find(ctx, old, upd, m.level.match)
}

// copyAll fills to from a file, of which little is in memory at a time.
func (m *udeltaMaker) copyAll(to, from []byte) {
	for n := 0; n < len(to); {
		n += copy(to[n:min(n+forgetParts*absolutePiece, len(to))], from[n:])
		m.forgetFiles()
	}
}

// forgetFiles gives back the memory of both files for now.
func (m *udeltaMaker) forgetFiles() {
	if m.forget != nil {
		m.forget()
	}
}

const (
	absolutePiece = 4 << 20 // of an image, rewritten at a time
	forgetParts   = 4       // pieces after which files are forgotten
	calmGap       = 4 << 20 // between elements, from here on outside of regions
	regionOps     = maxRegionOps / 2
)

// cutRegions cuts new into regions around the elements. It is false if that
// exceeds what the format allows.
func (m *udeltaMaker) cutRegions(pairs []*twins) bool {
	slices.SortFunc(pairs, func(a, b *twins) int { return cmp.Compare(a.new.extents[0].at, b.new.extents[0].at) })
	var news []executable
	for _, p := range pairs {
		news = append(news, *p.new)
	}
	runs, sizes := whereIs(news), map[sizedElement]int64{}
	for i := 0; i < len(runs); {
		at := runs[i].at
		to, in, extents := at, map[int]bool{}, 0
		for ; i < len(runs); i++ {
			x := runs[i]
			more := 0
			if !in[x.file] {
				more = len(pairs[x.file].old.extents) + len(pairs[x.file].new.extents)
			}
			if to > at && (x.at-to > calmGap || m.opsIn(at, x.end()) > regionOps || len(in) == maxRegionElements || extents+more > maxRegionExtents) {
				break
			}
			in[x.file] = true
			extents += more
			to = x.end()
		}
		if err := m.addRegions(at, to, pairs, in, sizes); err != nil {
			return false
		}
	}
	tables, ok := m.tables(sizes)
	if ok {
		m.header.required |= udeltaElements
		m.header.caps.Tables = tables
	}
	return ok
}

// sizedElement is an element of one region.
type sizedElement struct {
	region  *udeltaRegion
	element int
}

// tables goes through the elements as a reader will, and gives what they hold
// at a time. It is false if that, or opening them, is more than a patch may.
func (m *udeltaMaker) tables(sizes map[sizedElement]int64) (uint8, bool) {
	h := m.header
	h.caps.Tables = udeltaMost.Tables
	x := newElements(&h, nil)
	x.open = func(r *udeltaRegion, element int) (*openElement, error) {
		return &openElement{region: r, element: element, size: sizes[sizedElement{r, element}]}, nil
	}
	for _, r := range m.regions {
		ops := r.opsAt(r.outputAt)
		for {
			op, err := ops.next()
			if err != nil || op.length == 0 {
				break
			}
			for at := int64(0); at < op.length; {
				s := r.stretch(op, at)
				if at = s.to(); s.element < 0 {
					continue
				}
				if _, err := x.find(r, s.element, op.new+s.from); err != nil {
					return 0, false
				}
			}
		}
	}
	return max(logUp(int(x.most)), 10), true
}

var errTooMany = errors.New("a region has more than a map can hold")

// opsIn is how many copies are in a stretch of new.
func (m *udeltaMaker) opsIn(at, to int64) int {
	c := m.copies
	return sort.Search(len(c), func(i int) bool { return c[i].New >= to }) -
		sort.Search(len(c), func(i int) bool { return c[i].New+c[i].Length > at })
}

// addRegions adds the region from at to to, in several if it has too many
// copies for one.
func (m *udeltaMaker) addRegions(at, to int64, pairs []*twins, in map[int]bool, sizes map[sizedElement]int64) error {
	for at < to {
		end := to
		if m.opsIn(at, to) > maxRegionOps-1 {
			c := m.copies
			i := sort.Search(len(c), func(i int) bool { return c[i].New+c[i].Length > at })
			end = c[i+maxRegionOps-1].New
		}
		var inside []*twins
		for i, p := range pairs {
			if in[i] && slices.ContainsFunc(p.new.extents, func(x extent) bool { return x.at < end && x.end() > at }) {
				inside = append(inside, p)
			}
		}
		r := m.regionOf(at, end, m.copies, inside)
		if err := r.finishMade(); err != nil {
			return err
		}
		for i, p := range inside {
			size, err := m.foretell(r, i, p)
			if err != nil {
				return err
			}
			sizes[sizedElement{r, i}] = size
		}
		r.column[regionElements] = r.appendElements(nil)
		raw := 64
		for _, c := range r.column {
			raw += len(c)
		}
		if raw > 1<<udeltaMost.Map-1<<14 {
			return errTooMany
		}
		m.header.caps.Map = max(m.header.caps.Map, logUp(raw+raw/64), 10)
		m.regions = append(m.regions, r)
		at = end
	}
	return nil
}
