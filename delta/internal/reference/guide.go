package reference

// guide foretells the values of fields of one element.
type guide struct {
	e *Element
	l *Layout
	m *Map

	baseOld, baseNew int64 // the anchor asked for last
	baseOK           bool

	old, new stretch // of the field asked for last
}

// stretch is a range of places in the file whose addresses are these places
// and add.
type stretch struct{ lo, hi, add uint64 }

// address is [address], which it remembers the answer of for what is around.
func (x *stretch) address(segments []segment, off int64) (uint64, bool) {
	at := uint64(off)
	if at-x.lo < x.hi-x.lo {
		return at + x.add, true
	}
	for i := range segments {
		s := &segments[i]
		if at-s.off >= s.file {
			continue
		}
		*x = stretch{s.off, s.off + s.file, s.addr - s.off}
		if x.hi < x.lo {
			x.hi = 1<<64 - 1
		}
		for _, first := range segments[:i] { // where two overlap, it is the first
			if first.off > at {
				x.hi = min(x.hi, first.off)
			} else if end := first.off + first.file; end <= at && end >= first.off {
				x.lo = max(x.lo, end)
			}
		}
		return at + x.add, true
	}
	return 0, false
}

// What values count: equal values of kinds that count the same mean the same.
const (
	addresses = iota
	places    // in the file
	numbers   // of types, or of something else outside of the file
	lowBits   // as addresses, but only their lower bits

	spaces
)

// space is what values of the kind count.
func (k Kind) space() uint64 {
	switch k {
	case Back32, Name, Offset, Offset4, Offset24, Section64, TypeName, Inline, GoName, GoType, Item16, Section32, Listed24:
		return places
	case TypeID, OuterName:
		return numbers
	case Page12:
		return lowBits
	}
	return addresses
}

// absolute says whether fields of the kind hold their value as it is.
func (k Kind) absolute() bool {
	switch k {
	case Word, ConstWord, Site, DebugWord, Symbol, Wide32, WideSite, TypeID, OuterName, Move32, Word32, ConstWord32, Site32, Symbol32:
		return true
	}
	return false
}

// base is where the base at place off of old is in new.
func (g *guide) base(off int64) int64 {
	if !g.baseOK || off != g.baseOld {
		n, ok := g.e.anchorAt(g.l, off)
		if !ok {
			n = g.m.at(off)
		}
		g.baseOld, g.baseNew, g.baseOK = off, n, true
	}
	return g.baseNew
}

// own says whether fields of the kind count from where they are, of the kinds
// that there are most of: those of others may do so as well.
func (k Kind) own() bool {
	return (1<<Near32|1<<Data32|1<<Table32|1<<Frame32|1<<Branch26|1<<Page21)>>k&1 != 0
}

// from is what the value of f is counted from in old. It is false where f lies
// at no address, in which case it is no field.
func (g *guide) from(f Field) (uint64, bool) {
	switch {
	case f.Kind.own():
	case f.Kind == Switch32 || f.Kind == Base32 || f.Kind == Down32:
		return address(g.e.segments, int64(f.Aux))
	case f.Kind == Pool32 || f.Kind == MoveNear32:
		at, more := f.armFrom()
		a, ok := address(g.e.segments, at)
		return a + more, ok
	case f.Kind == Page12:
		a, ok := address(g.e.segments, 0)
		return a + uint64(f.Aux), ok
	case f.Kind == Back32:
		return uint64(f.Off), true
	case f.Kind.space() == places:
		return uint64(f.Aux), true
	case f.Kind.absolute():
		return 0, true
	}
	return g.old.address(g.e.segments, f.Off)
}

// to is what the value of f is counted from in new, where copy in takes it.
func (g *guide) to(f Field, in Copy) (uint64, bool) {
	at := f.Off - in.Old + in.New
	switch {
	case f.Kind.own():
	case f.Kind == Switch32:
		return address(g.l.segments, g.place(int64(f.Aux), in))
	case f.Kind == Base32 || f.Kind == Down32:
		return address(g.l.segments, g.base(int64(f.Aux)))
	case f.Kind == Pool32 || f.Kind == MoveNear32:
		at, more := f.armFrom()
		a, ok := address(g.l.segments, g.place(at, in))
		return a + more, ok
	case f.Kind == Page12:
		return g.page(f)
	case f.Kind == Back32:
		return uint64(at), true
	case f.Kind.space() == places:
		return uint64(g.base(int64(f.Aux))), true
	case f.Kind.absolute():
		return 0, true
	}
	return g.new.address(g.l.segments, at)
}

// move foretells where the thing is in new that value v of kind k of old
// meant. Bytes of the copy in hand go where it takes them, others where the
// map does.
func (g *guide) move(k Kind, v uint64, in Copy) (uint64, bool) {
	switch k.space() {
	case places:
		if v >= uint64(g.e.size) {
			return 0, false
		}
		return uint64(g.place(int64(v), in)), true
	case numbers:
		return v, true
	}
	return g.moveAddress(v, in)
}

// moveAddress is move for a value that is an address.
func (g *guide) moveAddress(v uint64, in Copy) (uint64, bool) {
	if off, ok := place(g.e.segments, v); ok {
		return address(g.l.segments, g.place(off, in))
	}
	for i, x := range g.e.voids {
		if v-x.addr < x.size {
			return v - x.addr + g.l.voids[i], true
		}
	}
	return 0, false
}

func (g *guide) place(off int64, in Copy) int64 {
	if off >= in.Old && off-in.Old < in.Length {
		return off - in.Old + in.New
	}
	return g.m.at(off)
}
