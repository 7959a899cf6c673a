package delta

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/delta/internal/coder"
	"github.com/updraft-ota/updraft/delta/internal/match"
	"github.com/updraft-ota/updraft/delta/internal/reference"
	"github.com/updraft-ota/updraft/internal/sample"
)

// plainly makes a patch without a look at executables.
func plainly(t *testing.T, old, upd []byte) []byte {
	t.Helper()
	copies, err := match.Find(t.Context(), old, upd, match.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var patch bytes.Buffer
	m := &udeltaMaker{old: old, new: upd, level: udeltaLevels[Default], dst: &patch, copies: copies}
	m.sums()()
	if err := m.patch(t.Context()); err != nil {
		t.Fatal(err)
	}
	return patch.Bytes()
}

func TestElements(t *testing.T) {
	f := lookup(t, "udelta")
	for what, make := range map[string]func() (old, upd []byte){
		"a program": func() (old, upd []byte) { return sample.Programs(500) },
		"an image":  images,
	} {
		t.Run(what, func(t *testing.T) {
			old, upd := make()
			patch := mustMake(t, f, old, upd, Default)
			got, err := apply(t.Context(), f, old, patch, Limits{Size: int64(len(upd))})
			if err != nil || !bytes.Equal(got, upd) {
				t.Fatalf("%d bytes, %v, want %d", len(got), err, len(upd))
			}
			info, err := Inspect(bytes.NewReader(patch))
			if err != nil || info.Elements == 0 || info.Regions == 0 || info.ElementBytes == 0 {
				t.Errorf("%+v, %v, want elements", info, err)
			}
			if plain := len(plainly(t, old, upd)); len(patch) > plain/2 {
				t.Errorf("%d bytes, %d without references, want less than half of it", len(patch), plain)
			}
			small := makeSmall(t, old, upd)
			got, err = apply(t.Context(), f, old, small, Limits{Size: int64(len(upd))})
			if err != nil || !bytes.Equal(got, upd) {
				t.Errorf("small frames: %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestElementsThreads(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	old, upd := images()
	want := makeSmall(t, old, upd)
	for _, n := range []int{1, 2, 4} {
		runtime.GOMAXPROCS(n)
		if got := makeSmall(t, old, upd); !bytes.Equal(got, want) {
			t.Errorf("%d threads gave another patch", n)
		}
	}
}

// TestElementsMemory counts what open elements hold against the header.
func TestElementsMemory(t *testing.T) {
	old, upd := images()
	f := lookup(t, "udelta")
	patch := mustMake(t, f, old, upd, Default)
	info, err := Inspect(bytes.NewReader(patch))
	if err != nil {
		t.Fatal(err)
	}
	for _, memory := range []int64{info.Memory, info.LowMemory} {
		got, err := apply(t.Context(), f, old, patch, Limits{Size: AnySize, Memory: memory})
		if err != nil || !bytes.Equal(got, upd) {
			t.Errorf("memory %d: %d bytes, %v", memory, len(got), err)
		}
	}
	if _, err := apply(t.Context(), f, old, patch, Limits{Size: AnySize, Memory: info.LowMemory - 1}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too little memory: %v, want ErrTooLarge", err)
	}
}

// brokenOld fails at one of its reads.
type brokenOld struct {
	io.ReaderAt
	left int
}

var errBroken = errors.New("the disk is broken")

func (b *brokenOld) ReadAt(p []byte, at int64) (int, error) {
	if b.left--; b.left == 0 {
		return 0, errBroken
	}
	return b.ReaderAt.ReadAt(p, at)
}

// TestElementsOldFails has each read of old fail once. That is never taken for
// the fault of the patch.
func TestElementsOldFails(t *testing.T) {
	old, upd := sample.Programs(2000)
	f := lookup(t, "udelta")
	patch := makeSmall(t, old, upd)
	for i := 1; ; i++ {
		src := &brokenOld{bytes.NewReader(old), i}
		r, err := f.NewReader(t.Context(), src, int64(len(old)), bytes.NewReader(patch), Limits{Size: AnySize, OldChecked: true})
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		if src.left > 0 {
			if err != nil || i < 10 {
				t.Fatalf("%d reads of old, %v", i, err)
			}
			return
		}
		if !errors.Is(err, errBroken) || errors.Is(err, ErrCorrupt) {
			t.Fatalf("read %d fails: %v, want the error of the read", i, err)
		}
	}
}

// regionPatch is a patch with a region that change has spoilt, and whose
// checksums are right.
func regionPatch(t *testing.T, old, upd []byte, change func(r *udeltaRegion, h *udeltaHeader)) []byte {
	t.Helper()
	var patch bytes.Buffer
	m := &udeltaMaker{old: old, new: upd, level: udeltaLevels[Default], dst: &patch}
	m.sums()()
	if err := m.findCopies(t.Context()); err != nil || len(m.regions) == 0 {
		t.Fatalf("%d regions, %v", len(m.regions), err)
	}
	m.header.caps = udeltaCaps{Coded: 19, Raw: 20, Known: 20, Output: 26, Map: 16, Tables: 20}
	var frames [][]byte
	r := m.regions[0]
	p := udeltaPlanner{m: m, region: r, at: r.outputAt, to: r.end(), limit: 1 << 20}
	for p.at < p.to {
		for _, c := range m.code(&coder.Compressor{}, p.frame()) {
			frames = append(frames, c.body)
		}
	}
	change(r, &m.header)
	h := &m.header
	b := h.append(nil)
	b = h.appendSection(b, int64(len(b)), udeltaMapSection, r.body(&coder.Compressor{}, 0))
	for _, f := range frames {
		b = h.appendSection(b, int64(len(b)), udeltaFrameSection, f)
	}
	return h.appendSection(b, int64(len(b)), udeltaEndSection, []byte{byte(len(frames))})
}

// TestElementsHostile has regions whose checksums are right and whose contents
// are not.
func TestElementsHostile(t *testing.T) {
	old, upd := sample.Programs(300)
	f := lookup(t, "udelta")
	retable := func(do func(r *udeltaRegion)) func(*udeltaRegion, *udeltaHeader) {
		return func(r *udeltaRegion, _ *udeltaHeader) {
			do(r)
			r.column[regionElements] = r.appendElements(nil)
		}
	}
	for _, tt := range []struct {
		name   string
		change func(r *udeltaRegion, h *udeltaHeader)
		says   string
	}{
		{"nothing", func(*udeltaRegion, *udeltaHeader) {}, ""},
		{"region too long", func(r *udeltaRegion, _ *udeltaHeader) { r.output++ }, "section M"},
		{"empty region", func(r *udeltaRegion, _ *udeltaHeader) { r.output = 0 }, "section M: it is of 0 bytes"},
		{"fewer copies than told", func(r *udeltaRegion, _ *udeltaHeader) { r.ops++ }, "its head says"},
		{"more than the map may have", func(r *udeltaRegion, h *udeltaHeader) { h.caps.Map = 4 }, "the header allows 16"},
		{"more than open elements may hold", func(r *udeltaRegion, h *udeltaHeader) { h.caps.Tables = 2 }, "open elements take"},
		{"table cut", func(r *udeltaRegion, _ *udeltaHeader) {
			r.column[regionElements] = r.column[regionElements][:3]
		}, "cut short"},
		{"no extent", func(r *udeltaRegion, _ *udeltaHeader) { r.column[regionElements][0] = 0 }, "an element of 0 and"},
		{"many extents", func(r *udeltaRegion, _ *udeltaHeader) { r.column[regionElements] = []byte{0xFF, 0xFF, 0x7F, 1} }, "an element of 2097151"},
		{"old extent outside", retable(func(r *udeltaRegion) { r.elements[0].old = []extent{{1, int64(len(old))}} }), "cut short"},
		{"new extents overlap", retable(func(r *udeltaRegion) {
			r.elements[0].new = []extent{{0, 5000}, {4000, 1000}}
		}), "two elements have byte 4000"},
		{"old extents overlap", retable(func(r *udeltaRegion) {
			r.elements[0].old = []extent{{0, int64(len(old))}, {100, 1}}
		}), "an element has byte 100 of the old file twice"},
		{"no executable", retable(func(r *udeltaRegion) { r.elements[0].old = []extent{{200, 5000}} }), "no executable that is understood"},
		{"bad layout", retable(func(r *udeltaRegion) { r.elements[0].layout = []byte{0xFF} }), "layout"},
		{"old in two extents", retable(func(r *udeltaRegion) {
			r.elements[0].old = []extent{{0, 64}, {64, int64(len(old)) - 64}}
		}), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			patch := regionPatch(t, old, upd, tt.change)
			got, err := apply(t.Context(), f, old, patch, Limits{Size: AnySize})
			if tt.says == "" {
				if err != nil || !bytes.Equal(got, upd) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				return
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want ErrCorrupt and %q", err, tt.says)
			}
		})
	}
}

// TestStretches asks for stretches at any place of a copy: they are those of a
// walk from its start.
func TestStretches(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		// extents that do not overlap, some of which touch, in any order
		extents := func() (all []extent) {
			for at := int64(0); at < 400; {
				at += rnd.Int64N(3) * rnd.Int64N(20)
				n := 1 + rnd.Int64N(40)
				all = append(all, extent{at, n})
				if rnd.IntN(4) == 0 {
					all = append(all, extent{hole, 1 + rnd.Int64N(9)})
				}
				at += n
			}
			rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			return all
		}
		upd := extents()
		cut := rnd.IntN(len(upd))
		r := &udeltaRegion{output: 600, oldSize: 600, elements: []udeltaElement{{old: extents(), new: upd[:cut]}, {old: extents(), new: upd[cut:]}}}
		if err := r.sortRuns(); err != nil {
			t.Fatal(err)
		}
		op := udeltaOp{length: 400 + rnd.Int64N(100), new: rnd.Int64N(100), old: rnd.Int64N(100)}
		for at := int64(0); at < op.length; {
			whole := r.stretch(op, at)
			if whole.from != at || whole.length <= 0 || whole.to() > op.length || whole.element >= 0 && whole.in.Length != whole.length {
				t.Fatalf("%+v at %d of %d", whole, at, op.length)
			}
			for from := at; from < whole.to(); from++ {
				s := r.stretch(op, from)
				if s.element >= 0 && s != whole || s.element != whole.element || s.to() != whole.to() {
					t.Fatalf("%+v from %d, %+v from %d", s, from, whole, at)
				}
				for i, e := range r.elements {
					a, inOld := placeIn(e.old, op.old+from)
					b, inNew := placeIn(e.new, op.new+from)
					if (inOld && inNew) != (s.element == i) {
						t.Fatalf("element %d has byte %d: %v and %v, stretch of element %d", i, from, inOld, inNew, s.element)
					}
					if s.element == i && (s.in.Old+from-s.from != a || s.in.New+from-s.from != b) {
						t.Fatalf("byte %d: %+v, want it at %d and %d", from, s, a, b)
					}
				}
			}
			at = whole.to()
		}
	}
}

// placeIn is where in a file that lies in extents a byte is.
func placeIn(all []extent, at int64) (inside int64, ok bool) {
	for _, x := range all {
		if x.at != hole && at >= x.at && at < x.end() {
			return inside + at - x.at, true
		}
		inside += x.length
	}
	return 0, false
}

// TestStretchesOfManyExtents has a copy go through as many extents as there can
// be, and many frames begin near its end.
func TestStretchesOfManyExtents(t *testing.T) {
	const extents = maxRegionExtents - 1
	r := &udeltaRegion{output: 2 * extents, oldSize: 2 * extents, elements: []udeltaElement{{new: []extent{{0, 2 * extents}}}}}
	for i := range int64(extents) {
		r.elements[0].old = append(r.elements[0].old, extent{2 * i, 1})
	}
	if err := r.sortRuns(); err != nil {
		t.Fatal(err)
	}
	op := udeltaOp{length: 2 * extents}
	began := time.Now()
	x := &udeltaExec{f: &udeltaFrame{region: r}, old: bytes.NewReader(make([]byte, 2*extents)), oldSize: 2 * extents, window: make([]byte, udeltaWindow), until: maxUdeltaFile}
	for range 1000 {
		x.written = 0
		if err := x.foretold(t.Context(), udeltaClip{length: 1, old: op.length - 1, whole: op}); err != nil || x.written != 1 {
			t.Fatal(x.written, err)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("1000 frames of one byte took %v", took)
	}
}

// TestElementsWork refuses a patch that opens elements again and again.
func TestElementsWork(t *testing.T) {
	old := sample.Program(300)
	h := &udeltaHeader{oldSize: int64(len(old)), newSize: 100, caps: udeltaCaps{Map: 20, Tables: 24}}
	r := &udeltaRegion{output: 100, oldSize: int64(len(old))}
	for range openElements + 1 {
		r.elements = append(r.elements, udeltaElement{old: []extent{{0, int64(len(old))}}, new: []extent{{0, 1}}})
	}
	e, _ := reference.Parse(bytes.NewReader(old), int64(len(old)))
	m, _ := reference.NewMap(func(func(reference.Copy) bool) {}, int64(len(old)))
	for i := range r.elements {
		r.elements[i].layout = reference.AppendLayout(nil, e, e, m)
	}
	if err := r.finishMade(); err == nil {
		t.Fatal("elements that overlap were taken")
	}
	x := newElements(h, bytes.NewReader(old))
	opened := 0
	for i := 0; ; i++ {
		if err := x.use(r, i%len(r.elements), 0); err != nil {
			if !strings.Contains(err.Error(), "more often") || opened > 2*workFactor {
				t.Errorf("after %d elements: %v", opened, err)
			}
			break
		}
		if opened++; opened > 100 {
			t.Fatal("100 elements were opened")
		}
	}
	// What the patch says of new does not count before it is made.
	x.work, h.newSize = 0, maxUdeltaFile-1
	most := workFactor * (h.oldSize + 1000 + workAhead)
	for at := int64(0); at <= most/elementCost; at++ {
		if !x.spend(r, 0, 1000) {
			return
		}
	}
	t.Errorf("elements of more than %d bytes may be opened at byte 1000 of new", most)
}

// TestElementsWorkCopies counts the copies that opening an element looks at,
// which may be all of a region.
func TestElementsWorkCopies(t *testing.T) {
	const copies, size = 1000, 100
	h := &udeltaHeader{oldSize: size, newSize: copies}
	r := &udeltaRegion{output: copies, oldSize: size, ops: copies, elements: []udeltaElement{
		{old: []extent{{0, size}}, new: []extent{{0, 1}, {copies - 1, 1}}},
		{old: []extent{{0, size}}, new: []extent{{7, 3}}},
	}}
	var recent udeltaDiagonal
	for i := range int64(copies) {
		r.column[regionGaps] = append(r.column[regionGaps], 0)
		r.column[regionLengths] = append(r.column[regionLengths], 0)
		r.column[regionDiagonals] = recent.append(r.column[regionDiagonals], i%size-i)
	}
	if err := r.finishMade(); err != nil {
		t.Fatal(err)
	}
	for element, want := range []int64{elementCost + copies*copyCost, elementCost + 3*copyCost} {
		x := newElements(h, nil)
		if x.spend(r, element, 0); x.work != want {
			t.Errorf("opening element %d counts %d, want %d", element, x.work, want)
		}
	}
}

// TestExtentReader reads across extents as if they lay together.
func TestExtentReader(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	file := randomBytes(r, 1000)
	x := &extentReader{file: bytes.NewReader(file), all: []extent{{500, 100}, {0, 1}, {hole, 50}, {700, 300}, {20, 7}}}
	var want []byte
	for _, e := range x.all {
		if e.at == hole {
			want = append(want, make([]byte, e.length)...)
			continue
		}
		want = append(want, file[e.at:e.end()]...)
	}
	for range 500 {
		at := r.IntN(len(want) + 2)
		b := make([]byte, r.IntN(len(want)))
		n, err := x.ReadAt(b, int64(at))
		wantN := max(min(len(b), len(want)-at), 0)
		if n != wantN || n < len(b) && err != io.EOF || !bytes.Equal(b[:n], want[min(at, len(want)):][:n]) {
			t.Fatalf("%d bytes at %d: %d, %v", len(b), at, n, err)
		}
	}
	if _, err := apply(context.Background(), lookup(t, "udelta"), nil, nil, Limits{}); err == nil {
		t.Error("an empty patch was taken")
	}
}

// images are two images with programs and text in them. In the new one the
// programs have changed their places.
func images() (old, upd []byte) {
	r := rand.New(rand.NewPCG(9, 1))
	text := randomBytes(r, 20_000)
	a, b := sample.Programs(300)
	c, d := sample.Programs(200)
	old = bytes.Join([][]byte{text[:9000], a, text[9000:12_000], c, text[12_000:]}, nil)
	upd = bytes.Join([][]byte{text[:8000], d, text[8500:12_000], b, text[12_000:]}, nil)
	return old, upd
}
