package reference

const (
	// Margin is how many bytes past a field's start may decide about it.
	Margin = 64
	// restart is where reading of x86 code begins anew, so that any part of
	// old can be read by itself; lead is how many bytes before it are read to
	// find the end of an instruction that lies across it.
	restart = 256
	lead    = 16
	// behind is how far before a field its surroundings may decide about it.
	behind = 48
	// reach is how long a record may be in which there are fields.
	reach = 16 << 10
	// pieceSize is how much is scanned at once where all of an image is there.
	pieceSize = 64 << 10
)

// Window is the part of old that [Element.Scan] needs for the fields from lo
// to hi. It is at most 20 KiB larger than hi-lo; mostly 1 KiB.
func (e *Element) Window(lo, hi int64) (from, to int64) {
	from = lo
	if i := e.regionAt(lo); i < len(e.regions) && e.regions[i].lo <= lo {
		g := &e.regions[i]
		switch {
		case g.form == formX86:
			from = max(lo&^(restart-1)-lead, g.lo)
		case g.form == formArm:
			from = max(lo&^(armBlock-1)-armBehind, g.lo)
		case g.form == formRiscv:
			from = max(lo&^(riscvBlock-1)-riscvLead, g.lo)
		case g.form == formConstants:
			from = max(lo&^(tablePage-1)-tablePage-behind, g.lo)
		case g.marks != nil:
			from = max(g.record(lo), lo-reach-markStep)
		default:
			from = max(lo-behind, g.lo)
		}
	}
	return min(from, lo), min(max(hi, lo)+Margin, e.size)
}

// regionAt is the index of the first region that ends after off.
func (e *Element) regionAt(off int64) int {
	lo, hi := 0, len(e.regions)
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); e.regions[mid].hi > off {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// Scan appends to fields those that start from lo on and before hi, in order.
// buf holds old from at on, and all of [Element.Window]; fields that need more
// than is there are left out. What is found does not depend on how a range is
// cut into calls.
func (e *Element) Scan(fields []Field, buf []byte, at, lo, hi int64) []Field {
	lo, hi = max(lo, at, 0), min(hi, e.size, at+int64(len(buf)))
	for i := e.regionAt(lo); i < len(e.regions) && e.regions[i].lo < hi; i++ {
		g := &e.regions[i]
		s := scanner{e: e, g: g, lo: max(lo, g.lo), hi: min(hi, g.hi), out: fields}
		s.from = max(at, g.lo)
		s.data = buf[s.from-at : min(g.hi-at, int64(len(buf)))]
		s.run()
		fields = s.out
	}
	return fields
}

// scanner finds the fields of one region from lo to hi.
type scanner struct {
	e      *Element
	g      *region
	lo, hi int64
	from   int64  // place of data
	data   []byte // of the region only
	out    []Field
}

func (s *scanner) run() {
	switch s.g.form {
	case formX86:
		s.x86()
	case formArm64:
		s.arm64()
	case formWords:
		s.words(Word)
	case formConstants:
		s.constants()
	case formTable:
		s.table()
	case formSymbols:
		s.symbols()
	case formRela:
		s.rela()
	case formFrames:
		s.byMarks((*scanner).frames)
	case formFrameIndex:
		s.frameIndex()
	case formOffsets:
		s.offsets()
	case formFuncIndex:
		s.funcIndex()
	case formFuncs:
		s.byMarks((*scanner).funcs)
	case formInline:
		s.inline()
	case formTypes:
		s.byMarks((*scanner).types)
	case formDebug:
		s.debug()
	case formListed:
		s.listed()
	case formSites:
		s.sites()
	case formArm:
		s.arm()
	case formWords32:
		s.words32(Word32)
	case formConstants32:
		s.words32(ConstWord32)
	case formSymbols32:
		s.symbols32()
	case formRel32:
		s.rel32()
	case formArmIndex:
		s.armIndex()
	case formRiscv:
		s.riscv()
	case formPages:
		s.byMarks((*scanner).pages)
	case formRecords:
		s.records()
	}
}

// byMarks walks along records for each part of the region that has a mark of
// its own, so that a walk from an earlier one finds the same.
func (s *scanner) byMarks(walk func(*scanner)) {
	for end := s.hi; s.lo < end; s.lo = s.hi {
		s.hi = min(s.g.lo+((s.lo-s.g.lo)/markStep+1)*markStep, end)
		walk(s)
	}
}

// add notes a field, if it lies where fields are asked for.
func (s *scanner) add(off int64, k Kind, aux int64) {
	if off >= s.lo && off < s.hi {
		s.out = append(s.out, Field{Off: off, Kind: k, Aux: uint32(aux)})
	}
}

// uint32 is the word at off of the file.
func (s *scanner) uint32(off int64) (uint32, bool) {
	i := off - s.from
	if i < 0 || i+4 > int64(len(s.data)) {
		return 0, false
	}
	return little.Uint32(s.data[i:]), true
}

func (s *scanner) uint64(off int64) (uint64, bool) {
	i := off - s.from
	if i < 0 || i+8 > int64(len(s.data)) {
		return 0, false
	}
	return little.Uint64(s.data[i:]), true
}

// address is what the byte at off is loaded at.
func (s *scanner) address(off int64) uint64 { return s.g.addr + uint64(off-s.g.lo) }

// align is the first place from off on that is a multiple of step from the
// region's start.
func (s *scanner) align(off int64, step int64) int64 {
	return s.g.lo + (off-s.g.lo+step-1)/step*step
}
