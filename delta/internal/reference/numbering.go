package reference

import "bytes"

// Numbering says which types and names of new's BTF type information those of
// old became. Only an encoder can know, since it has both; what a decoder needs
// of it, it learns field by field.
type Numbering struct {
	ids   []uint32          // by number in old
	names map[uint32]uint32 // by place among old's names
}

// typeKey tells types apart: by kind and name, or by kind and the type that
// they refer to.
type typeKey struct {
	kind uint32
	name string
	ref  uint32
}

// typed is one type record.
type typed struct {
	kind, name, ref uint32
}

// NewNumbering compares the type information in two images by what it says.
// It is nil if either has none, or one that goes on where another file's ends.
func NewNumbering(old *Element, oldImage []byte, new *Element, newImage []byte) *Numbering {
	from, fromNames := old.typesIn(oldImage)
	to, toNames := new.typesIn(newImage)
	if from == nil || to == nil {
		return nil
	}
	n := &Numbering{ids: make([]uint32, len(from)), names: map[uint32]uint32{}}
	n.matchNames(old, oldImage, fromNames, new, newImage, toNames)
	named := map[typeKey][]uint32{}
	refs := map[typeKey]uint32{}
	for id, t := range to {
		if t.name != 0 {
			k := typeKey{kind: t.kind, name: nameIn(toNames, t.name)}
			named[k] = append(named[k], uint32(id))
		} else if _, ok := refs[typeKey{kind: t.kind, ref: t.ref}]; !ok && t.ref != 0 {
			refs[typeKey{kind: t.kind, ref: t.ref}] = uint32(id)
		}
	}
	shift := uint32(0)
	for id, t := range from {
		if t.name != 0 {
			k := typeKey{kind: t.kind, name: nameIn(fromNames, t.name)}
			if list := named[k]; len(list) > 0 {
				shift = list[0] - uint32(id)
				named[k] = list[1:]
			}
		}
		n.ids[id] = uint32(id) + shift
	}
	for range 3 { // a pointer to a constant pointer to a structure takes three
		for id, t := range from {
			if t.name == 0 && t.ref != 0 && int(t.ref) < len(from) {
				if x, ok := refs[typeKey{kind: t.kind, ref: n.ids[t.ref]}]; ok {
					n.ids[id] = x
				}
			}
		}
	}
	return n
}

// typesIn lists the types of image by number, of which 0 is none, and gives
// the names. It is nil if there are none, or if they refer to more.
func (e *Element) typesIn(image []byte) (list []typed, names []byte) {
	for i := range e.regions {
		g := &e.regions[i]
		if g.form != formTypes || g.base+g.target > int64(len(image)) || g.hi > int64(len(image)) {
			continue
		}
		list = append(list, typed{})
		for at := g.lo; at+12 <= g.hi; {
			info := little.Uint32(image[at+4:])
			t, n := typeTail(info)
			x := typed{kind: info >> 24 & 31, name: little.Uint32(image[at:])}
			if t.ref && t.width == 0 {
				x.ref = little.Uint32(image[at+8:])
			}
			list = append(list, x)
			at += 12 + n
		}
		for _, x := range list {
			if int64(x.name) >= g.target || int64(x.ref) >= int64(len(list)) {
				return nil, nil
			}
		}
		return list, image[g.base : g.base+g.target]
	}
	return nil, nil
}

// matchNames notes for each name that the fields of old mention where the same
// one is in new.
func (n *Numbering) matchNames(old *Element, oldImage, oldNames []byte, new *Element, newImage, newNames []byte) {
	places := map[string]uint32{}
	new.eachName(newImage, func(v uint32) { places[nameIn(newNames, v)] = v })
	old.eachName(oldImage, func(v uint32) {
		if x, ok := places[nameIn(oldNames, v)]; ok {
			n.names[v] = x
		}
	})
}

// eachName calls do with what each TypeName field of image holds.
func (e *Element) eachName(image []byte, do func(v uint32)) {
	for i := range e.regions {
		g := &e.regions[i]
		if g.form != formTypes {
			continue
		}
		var fields []Field
		for at := g.lo; at < g.hi; at += pieceSize {
			fields = e.Scan(fields[:0], image, 0, at, min(at+pieceSize, g.hi))
			for _, f := range fields {
				if f.Kind == TypeName {
					do(little.Uint32(image[f.Off:]))
				}
			}
		}
	}
}

// nameIn is the string at off, which is shorter than names.
func nameIn(names []byte, off uint32) string {
	if uint64(off) >= uint64(len(names)) {
		return ""
	}
	b := names[off:]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// apply writes what field f of old, whose number is v, holds in new.
func (n *Numbering) apply(f Field, dst []byte, v uint32) {
	switch {
	case n == nil:
	case f.Kind == TypeID && uint64(v) < uint64(len(n.ids)):
		little.PutUint32(dst, n.ids[v])
	case f.Kind == TypeName:
		if x, ok := n.names[v]; ok {
			little.PutUint32(dst, x)
		}
	}
}
