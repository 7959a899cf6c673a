package reference

// goType says whether the 8 bytes at p are part of Go's type information
// (internal/abi/type.go) that refers to something, and adds its fields.
func (s *scanner) goType(p int64) bool {
	t := &s.e.golang
	switch {
	case s.isMethod(p - 8): // where its code is
		s.codeOffset(p)
		s.codeOffset(p + 4)
	case s.isType(p) || s.isMethod(p):
		s.add(p, GoName, t.types)
		s.nonzero(p+4, GoType, t.types)
	case s.isPackage(p):
		s.add(p, GoName, t.types)
	default:
		return false
	}
	return true
}

// goWord is goType for the 4 bytes at p in a program with addresses of 4 bytes,
// whose records may begin at any multiple of 4.
func (s *scanner) goWord(p int64) bool {
	t := &s.e.golang
	switch {
	case s.isMethod(p-8) || s.isMethod(p-12):
		s.codeOffset(p)
	case s.isType(p-4) || s.isMethod(p-4):
		s.nonzero(p, GoType, t.types)
	case s.isType(p) || s.isMethod(p) || s.isPackage(p):
		s.add(p, GoName, t.types)
	default:
		return false
	}
	return true
}

// isType says whether name and type stand at p at the end of a description of
// a type, behind the addresses of a function and a mask.
func (s *scanner) isType(p int64) bool {
	w := s.e.word
	head, _ := s.uint32(p - 4 - 2*w)
	return typeHead(head) && s.isName(p) && s.isTypeOffset(p+4) && s.isNilOrAddress(p-2*w) && s.isNilOrAddress(p-w)
}

// isMethod says whether a method stands at p: name, type, two places of code.
func (s *scanner) isMethod(p int64) bool {
	t := &s.e.golang
	a, _ := s.uint32(p + 8)
	b, ok := s.uint32(p + 12)
	if !ok || !t.isFunc(a) || !t.isFunc(b) || !s.isName(p) || !s.isTypeOffset(p+4) {
		return false
	}
	typ, _ := s.uint32(p + 4)
	return typ != 0 || a != 0 && a%16 == 0
}

// isPackage says whether p begins what follows a type that has methods: its
// package, two counts, where the methods are, and a zero.
func (s *scanner) isPackage(p int64) bool {
	count, _ := s.uint32(p + 4)
	at, _ := s.uint32(p + 8)
	zero, ok := s.uint32(p + 12)
	return ok && zero == 0 && at >= 16 && at < 1<<16 && at%4 == 0 &&
		count != 0 && count>>16 <= count&0xFFFF && count&0xFFFF < 1<<10 && s.isName(p)
}

func (s *scanner) isName(p int64) bool {
	v, ok := s.uint32(p)
	return ok && v != 0 && uint64(v) < s.e.golang.typeSize
}

func (s *scanner) isTypeOffset(p int64) bool {
	v, ok := s.uint32(p)
	return ok && v%32 == 0 && uint64(v) < s.e.golang.typeSize
}

// typeHead says whether w may be the flags, alignment twice, and kind of a type.
func typeHead(w uint32) bool {
	align := w >> 8 & 255
	return w>>24 != 0 && w>>24&31 <= 26 && align != 0 && align&(align-1) == 0 && align <= 64 && w>>16&255 == align
}

// isFunc says whether a method may hold v as the place of its code: where a
// function may begin, or none.
func (t *goTables) isFunc(v uint32) bool {
	return v == 0 || v == 1<<32-1 || v%t.align == 0 && uint64(v) < t.textSize
}

func (s *scanner) codeOffset(p int64) {
	if v, _ := s.uint32(p); v != 0 && v != 1<<32-1 && s.e.golang.text > 0 {
		s.add(p, Base32, s.e.golang.text)
	}
}

func (s *scanner) isNilOrAddress(p int64) bool {
	if s.e.word == 4 {
		v, ok := s.uint32(p)
		return ok && (v == 0 || s.isAddress32(p))
	}
	v, ok := s.uint64(p)
	return ok && (v == 0 || s.isAddress(p))
}
