package delta

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sort"

	"github.com/updraft-ota/updraft/delta/internal/reference"
)

// maxElement is how large an element can be on either side, in bytes.
const maxElement = 1<<32 - 1

// extent is a stretch of a file, or of zeros that are not in it.
type extent struct{ at, length int64 }

// hole is at of zeros.
const hole = -1

func (x extent) end() int64 { return x.at + x.length }

// udeltaElement is an executable in old and its counterpart in new. Either may
// lie in several extents, in the order of its bytes, as files in the image of
// a file system do. What lies in extents one after the other is the element's
// own bytes, from 0 on.
type udeltaElement struct {
	old, new []extent
	layout   []byte // see [reference.Element.ReadLayout]

	runs []elementRun // old in order of place
}

func total(all []extent) (n int64) {
	for _, x := range all {
		n += x.length
	}
	return n
}

func (e *udeltaElement) oldSize() int64 { return total(e.old) }
func (e *udeltaElement) newSize() int64 { return total(e.new) }

// elementRun is an extent of old or new and the element it belongs to.
type elementRun struct {
	extent
	element int
	inside  int64 // place in the element of its first byte
}

// sortRuns lists the extents of new, of which no two may overlap, and those of
// old of each element, of which no two may either.
func (r *udeltaRegion) sortRuns() error {
	for i := range r.elements {
		e := &r.elements[i]
		r.runs = appendRuns(r.runs, e.new, i)
		e.runs = sorted(appendRuns(make([]elementRun, 0, len(e.old)), e.old, i))
		if at, ok := overlap(e.runs); ok {
			return fmt.Errorf("an element has byte %d of the old file twice", at)
		}
	}
	if at, ok := overlap(sorted(r.runs)); ok {
		return fmt.Errorf("two elements have byte %d of the new file", at)
	}
	return nil
}

func appendRuns(runs []elementRun, all []extent, element int) []elementRun {
	inside := int64(0)
	for _, x := range all {
		if x.at != hole {
			runs = append(runs, elementRun{x, element, inside})
		}
		inside += x.length
	}
	return runs
}

// sorted sorts runs in place.
func sorted(runs []elementRun) []elementRun {
	sort.Slice(runs, func(i, j int) bool { return runs[i].at < runs[j].at })
	return runs
}

// overlap finds the first byte that two of the sorted runs have.
func overlap(runs []elementRun) (at int64, ok bool) {
	for i := 1; i < len(runs); i++ {
		if runs[i].at < runs[i-1].end() {
			return runs[i].at, true
		}
	}
	return 0, false
}

// runAt gives the sorted run that has the byte at a place; or else for how many
// bytes none has.
func runAt(runs []elementRun, at int64) (run elementRun, none int64) {
	i := sort.Search(len(runs), func(i int) bool { return runs[i].end() > at })
	if i == len(runs) {
		return run, maxUdeltaFile
	}
	return runs[i], max(runs[i].at-at, 0)
}

// udeltaStretch is a part of a copy that lies inside of one element on both
// sides, or in none. It is as long as it can be: one in none only from where it
// was asked for.
type udeltaStretch struct {
	element int            // -1 if there is none
	in      reference.Copy // in bytes of the element
	from    int64          // of the copy
	length  int64
}

func (s *udeltaStretch) to() int64 { return s.from + s.length }

// stretch gives the stretch of op that has the byte from bytes into it.
func (r *udeltaRegion) stretch(op udeltaOp, from int64) udeltaStretch {
	at, old, left := op.new+from, op.old+from, op.length-from
	s := udeltaStretch{element: -1, from: from, length: left}
	to, none := runAt(r.runs, at)
	if none > 0 {
		s.length = min(left, none)
		return s
	}
	s.length = min(left, to.end()-at)
	e := &r.elements[to.element]
	in, none := runAt(e.runs, old)
	if none > 0 {
		s.length = min(s.length, none)
		return s
	}
	back := min(from, at-to.at, old-in.at)
	s.from -= back
	s.length = back + min(s.length, in.end()-old)
	s.element = to.element
	s.in = reference.Copy{Old: in.inside + old - in.at - back, New: to.inside + at - to.at - back, Length: s.length}
	return s
}

// around gives the copies of the region that have a byte between the first and
// the last one of an element in new.
func (r *udeltaRegion) around(element int) iter.Seq[udeltaOp] {
	from, to := int64(maxUdeltaFile), int64(0)
	for _, x := range r.elements[element].new {
		if x.at != hole {
			from, to = min(from, x.at), max(to, x.end())
		}
	}
	return func(yield func(udeltaOp) bool) {
		ops := r.opsAt(from)
		for {
			op, err := ops.next()
			if err != nil || op.length == 0 || op.new >= to {
				return // index has found all errors
			}
			if op.new+op.length > from && !yield(op) {
				return
			}
		}
	}
}

// copies gives all copies inside an element, in order of new.
func (r *udeltaRegion) copies(element int) iter.Seq[reference.Copy] {
	return func(yield func(reference.Copy) bool) {
		for op := range r.around(element) {
			for at := int64(0); at < op.length; {
				s := r.stretch(op, at)
				if s.element == element && !yield(s.in) {
					return
				}
				at = s.to()
			}
		}
	}
}

// extentReader is a file that lies in extents of another. It is for one
// goroutine.
type extentReader struct {
	file   io.ReaderAt
	all    []extent
	failed error // of file, the last one
}

// ReadAt reads across extents.
func (r *extentReader) ReadAt(p []byte, at int64) (n int, err error) {
	for _, x := range r.all {
		if at >= x.length {
			at -= x.length
			continue
		}
		k := int(min(int64(len(p)-n), x.length-at))
		if x.at == hole {
			clear(p[n : n+k])
		} else if err := readAt(r.file, p[n:n+k], x.at+at); err != nil {
			r.failed = err
			return n, err
		}
		n += k
		if n == len(p) {
			return n, nil
		}
		at = 0
	}
	return n, io.EOF
}

const (
	openElements = 4 // at a time
	// workFactor is how many bytes of elements may be opened for each byte of
	// old and new: opening one reads parts of it. Of new counts what is made,
	// and workAhead more, because its size is only what the patch says.
	workFactor = 4
	workAhead  = 64 << 20
	// elementCost is what opening any element counts at the least, copyCost
	// what it counts for each copy that has to be looked at.
	elementCost = 4 << 10
	copyCost    = 16
)

// openElement is an element with all that its references need.
type openElement struct {
	region  *udeltaRegion
	element int
	parsed  *reference.Element
	layout  *reference.Layout
	places  *reference.Map
	file    io.ReaderAt
	size    int64 // memory
	used    int64 // by the clock of elements
}

// open reads what the references of an element need.
func (r *udeltaRegion) open(element int, old io.ReaderAt) (*openElement, error) {
	e := &r.elements[element]
	file := &extentReader{file: old, all: e.old}
	o := &openElement{region: r, element: element, file: file}
	var ok bool
	o.parsed, ok = reference.Parse(file, e.oldSize())
	if file.failed != nil {
		return nil, file.failed // it may have been taken for the end of something
	}
	if !ok {
		return nil, fmt.Errorf("the element at %d of the old file is no executable that is understood", e.old[0].at)
	}
	var err error
	if o.places, err = reference.NewMap(r.copies(element), e.oldSize()); err != nil {
		return nil, err
	}
	if o.layout, err = o.parsed.ReadLayout(e.layout, o.places); err != nil {
		return nil, err
	}
	o.size = o.parsed.Memory() + o.places.Memory()
	return o, nil
}

// elements keeps the last elements open, and makes copies inside them.
type elements struct {
	open   func(r *udeltaRegion, element int) (*openElement, error)
	copier *reference.Copier
	all    []*openElement
	inUse  *openElement
	clock  int64
	header *udeltaHeader
	work   int64 // bytes of elements that were opened
	limit  int64 // memory of all that are open
	most   int64 // memory that was in use at a time
}

func newElements(h *udeltaHeader, old io.ReaderAt) *elements {
	open := func(r *udeltaRegion, element int) (*openElement, error) { return r.open(element, old) }
	return &elements{open: open, copier: reference.NewCopier(), header: h, limit: 1 << h.caps.Tables}
}

// use makes an element the one that copies are about. The stretch that needs it
// begins at a place in new.
func (x *elements) use(r *udeltaRegion, element int, at int64) error {
	if o := x.inUse; o != nil && o.region == r && o.element == element {
		return nil
	}
	o, err := x.find(r, element, at)
	if err != nil {
		return err
	}
	x.copier.Use(uint64(element), o.parsed, o.layout, o.places, o.file)
	return nil
}

// spend counts the opening of an element. It is false if that is too much.
func (x *elements) spend(r *udeltaRegion, element int, at int64) bool {
	x.work += max(r.elements[element].oldSize(), elementCost)
	for range r.around(element) {
		x.work += copyCost
	}
	return x.work/workFactor <= x.header.oldSize+min(x.header.newSize, at+workAhead)
}

// find gives an element that is open, opening it if need be.
func (x *elements) find(r *udeltaRegion, element int, at int64) (*openElement, error) {
	x.clock++
	for _, o := range x.all {
		if o.region == r && o.element == element {
			o.used, x.inUse = x.clock, o
			return o, nil
		}
	}
	x.all = slices.DeleteFunc(x.all, func(o *openElement) bool { return o.region != r })
	if len(x.all) == openElements {
		last := slices.MinFunc(x.all, func(a, b *openElement) int { return cmp.Compare(a.used, b.used) })
		x.all = slices.DeleteFunc(x.all, func(o *openElement) bool { return o == last })
	}
	x.inUse = nil
	if !x.spend(r, element, at) {
		return nil, errors.New("elements are opened more often than the files are large")
	}
	o, err := x.open(r, element)
	if err != nil {
		return nil, err
	}
	o.used = x.clock
	size := o.size
	for _, o := range x.all {
		size += o.size
	}
	if x.most = max(x.most, size); size > x.limit {
		return nil, fmt.Errorf("open elements take %d bytes, the header allows %d", size, x.limit)
	}
	x.all, x.inUse = append(x.all, o), o
	return o, nil
}
