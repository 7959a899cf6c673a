package reference

import "io"

// addTypes takes the type information of a kernel apart (Linux,
// Documentation/bpf/btf.rst): records of 12 bytes and a tail that depends on
// the kind, then strings.
func (e *Element) addTypes(r io.ReaderAt, g region) {
	var h [24]byte
	if g.hi-g.lo < 24 || !readAt(r, h[:], g.lo, e.size) || little.Uint16(h[:]) != 0xEB9F {
		return
	}
	head := int64(little.Uint32(h[4:]))
	types, length := head+int64(little.Uint32(h[8:])), int64(little.Uint32(h[12:]))
	strings, width := head+int64(little.Uint32(h[16:])), int64(little.Uint32(h[20:]))
	if types > g.hi-g.lo || length > g.hi-g.lo-types || strings > g.hi-g.lo || width > g.hi-g.lo-strings {
		return
	}
	whole := g
	g.form, g.base, g.target = formTypes, whole.lo+strings, width
	g.lo, g.hi = whole.lo+types, whole.lo+types+length
	g.addr = whole.addr + uint64(types)
	t := &tape{r: r, size: g.hi}
	at := g.lo
	for at+12 <= g.hi {
		info, ok := t.uint32(at + 4)
		if !ok {
			break
		}
		_, n := typeTail(info)
		if n > g.hi-at-12 {
			break
		}
		g.mark(at)
		at += 12 + n
	}
	g.closeAt(at)
	e.anchors = append(e.anchors, anchor{"btf strings", g.base})
	e.regions = append(e.regions, g)
}

// tail describes what follows a type's first 12 bytes: count items of width
// bytes, in which names and ids are at the given places (or none, if negative).
type tail struct {
	width    int64
	name, id int64
	ref      bool // the third word of the type is another type's number
}

// typeTail is the tail by the kind in info, and its length in bytes.
func typeTail(info uint32) (tail, int64) {
	count := int64(info & 0xFFFF)
	t := tail{name: -1, id: -1}
	switch info >> 24 & 31 {
	case 1: // int
		t.width, count = 4, 1
	case 2, 7, 8, 9, 10, 11, 12, 18: // pointer, forward, typedef, const and the like, function
		t.ref, count = true, 0
	case 3: // array: element, index, count
		t.width, t.id, count = 4, 0, 3
	case 4, 5: // struct, union
		t.width, t.name, t.id = 12, 0, 4
	case 6: // enum
		t.width, t.name = 8, 0
	case 13: // function's parameters
		t.width, t.name, t.id, t.ref = 8, 0, 4, true
	case 14, 17: // variable, tag
		t.width, t.ref, count = 4, true, 1
	case 15: // section
		t.width, t.id = 12, 0
	case 19: // enum of 64 bits
		t.width, t.name = 12, 0
	default:
		count = 0
	}
	return t, count * t.width
}

func (s *scanner) types() {
	for p := s.g.record(s.lo); p < s.hi; {
		info, ok := s.uint32(p + 4)
		if !ok {
			return
		}
		t, n := typeTail(info)
		if n > reach-12 {
			p += 12 + n
			continue
		}
		s.typeName(p)
		if t.ref {
			s.typeID(p + 8)
		}
		end := p + 12 + n
		stop := end
		if info>>24&31 == 3 {
			stop = p + 20 // the third word of an array is a count
		}
		if t.width > 0 {
			for q := p + 12; q < stop; q += t.width {
				if t.name >= 0 {
					s.typeName(q + t.name)
				}
				if t.id >= 0 {
					s.typeID(q + t.id)
				}
			}
		}
		p = end
	}
}

func (s *scanner) typeName(p int64) {
	switch v, ok := s.uint32(p); {
	case !ok || v == 0:
	case int64(v) < s.g.target:
		s.add(p, TypeName, s.g.base)
	default:
		s.add(p, OuterName, 0)
	}
}

func (s *scanner) typeID(p int64) {
	if v, ok := s.uint32(p); ok && v != 0 {
		s.add(p, TypeID, 0)
	}
}
