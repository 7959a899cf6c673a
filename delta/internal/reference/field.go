package reference

// overAt is the bit of a distance where the part of the 12 low bits of a
// [Page21] is kept that reaches beyond a page: none that a compiler writes, but
// such bytes exist. A distance itself takes 34 bits with its sign.
const overAt = 40

// value is the number that b holds in this field, counted from origin. Setting
// it gives the same bytes again. The unit of a [Page21] is that of the bytes in
// old, whatever b has there.
func (f Field) value(b, old []byte, origin uint64) uint64 {
	switch f.Kind {
	case Near32, Data32:
		return origin + 4 + uint64(int64(int32(little.Uint32(b))))
	case Wide32, WideSite:
		return uint64(int64(int32(little.Uint32(b))))
	case Word, ConstWord, Site, DebugWord, Symbol:
		return little.Uint64(b)
	case Section64:
		return origin + little.Uint64(b)
	case Branch26:
		return origin + uint64(branch(little.Uint32(b)))
	case Page21:
		page := origin&^4095 + uint64(pages(little.Uint32(b)))
		if f.Aux == 0 {
			return page
		}
		low := uint64(little.Uint32(b[f.Aux:])>>10&4095) << lowShift(little.Uint32(old[f.Aux:]))
		return page + low&4095 + low>>12<<overAt
	case Table32, Switch32, Frame32, Base32:
		return origin + uint64(int64(int32(little.Uint32(b))))
	case Down32:
		return origin + uint64(int64(^int32(little.Uint32(b))))
	case Back32:
		return origin - uint64(little.Uint32(b))
	case Offset4:
		return origin + 4*uint64(little.Uint32(b))
	case Offset24:
		return origin + 24*uint64(little.Uint32(b))
	case Listed24:
		return origin + 4*listedNumber(b)
	case Jump20, Pair32, Branch12:
		return f.riscvValue(b, old, origin)
	case Short16:
		return f.shortValue(b, old, origin)
	case Load12:
		return origin + loadBase(f, origin) + uint64(f.loadBits(b))
	case Page12:
		return origin + uint64(little.Uint16(b)&4095)
	}
	if f.Kind >= Branch24 && f.Kind <= Item16 {
		return f.narrowValue(b, old, origin)
	}
	return origin + uint64(little.Uint32(b)) // Name, Offset, TypeName, TypeID, Inline, Section32
}

// set writes value v, as far as the field can hold it. What else is in b
// stays; the instruction that completes a [Page21] is taken from old.
func (f Field) set(b, old []byte, origin, v uint64) {
	switch f.Kind {
	case Near32, Data32:
		little.PutUint32(b, uint32(v-origin-4))
	case Wide32, WideSite:
		little.PutUint32(b, uint32(v))
	case Word, ConstWord, Site, DebugWord, Symbol:
		little.PutUint64(b, v)
	case Section64:
		little.PutUint64(b, v-origin)
	case Branch26:
		little.PutUint32(b, little.Uint32(b)&0xFC000000|uint32(v-origin)>>2&0x03FFFFFF)
	case Page21:
		f.setPage(b, old, origin, v)
	case Down32:
		little.PutUint32(b, ^uint32(v-origin))
	case Back32:
		little.PutUint32(b, uint32(origin-v))
	case Offset4:
		little.PutUint32(b, uint32((v-origin)/4))
	case Offset24:
		little.PutUint32(b, uint32((v-origin)/24))
	case Listed24:
		putListed(b, (v-origin)/4)
	case Branch24, BranchThumb, Pool32, Move32, MoveNear32, Word32, ConstWord32, Site32, Symbol32, Table31, Item16:
		f.narrowSet(b, old, origin, v)
	case Jump20, Pair32, Branch12:
		f.riscvSet(b, old, origin, v)
	case Short16:
		f.shortSet(b, old, origin, v)
	case Load12:
		f.setLoadBits(b, uint32(v-origin-loadBase(f, origin)))
	case Page12:
		little.PutUint16(b, little.Uint16(b)&^4095|uint16(v-origin)&4095)
	default:
		little.PutUint32(b, uint32(v-origin))
	}
}

func (f Field) setPage(b, old []byte, origin, v uint64) {
	d := v - origin&^4095
	over := (d + 1<<33) >> overAt
	d -= over << overAt
	little.PutUint32(b, setPages(little.Uint32(b), int64(d)))
	if f.Aux > 0 {
		low := (over<<12 | d&4095) >> lowShift(little.Uint32(old[f.Aux:]))
		w := little.Uint32(b[f.Aux:])
		little.PutUint32(b[f.Aux:], w&0xFFC003FF|uint32(low)&4095<<10)
	}
}

// isDistance says whether fields of the kind hold a 32-bit distance that is
// counted from themselves, or from their end: the bulk of all fields.
func (k Kind) isDistance() bool {
	return (1<<Near32|1<<Data32|1<<Table32|1<<Frame32)>>k&1 != 0
}

// bias is how far behind the start of the field a distance is counted from.
func (k Kind) bias() uint32 {
	if k <= Data32 {
		return 4
	}
	return 0
}

// held is the value that the field has once v was set, which is v itself where
// the field can hold it. old has its bytes in old.
func (f Field) held(old []byte, origin, v uint64) uint64 {
	switch f.Kind {
	case Near32, Data32:
		origin += 4
		return origin + uint64(int64(int32(uint32(v-origin))))
	case Wide32, WideSite:
		return uint64(int64(int32(uint32(v))))
	case Word, ConstWord, Site, DebugWord, Symbol:
		return v
	case Branch26:
		return origin + uint64(branch(uint32(v-origin)>>2))
	case Table32, Switch32, Frame32, Base32:
		return origin + uint64(int64(int32(uint32(v-origin))))
	}
	var b [Margin]byte
	copy(b[:], old[:f.size()])
	f.set(b[:], old, origin, v)
	return f.value(b[:], old, origin)
}
