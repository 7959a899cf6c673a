package reference

// Forecast is what an encoder knows about new before it looks for copies a
// second time.
type Forecast struct {
	Layout *Layout
	Map    *Map
	Types  *Numbering // nil where there is no type information
}

// Absolute writes to dst[lo:hi] the bytes of image, all of the element, with
// each reference that begins there replaced by what it refers to in new. For
// old, to is what is known of new; for new itself it is nil. In two images of
// this form, code and tables that mean the same have the same bytes, wherever
// they lie, so that a second look for copies finds longer and less ambiguous
// ones.
//
// dst has the size of image and is not image. Calls for ranges that do not
// overlap may run at once; a reference that lies across hi is left as it is.
func Absolute(e *Element, dst, image []byte, lo, hi int64, to *Forecast) {
	hi = min(hi, e.size, int64(len(image)), int64(len(dst)))
	lo = max(lo, 0)
	if lo >= hi {
		return
	}
	copy(dst[lo:hi], image[lo:hi])
	g := &guide{e: e}
	if to != nil {
		g.l, g.m = to.Layout, to.Map
	}
	var fields []Field
	for at := lo; at < hi; at += pieceSize {
		fields = e.Scan(fields[:0], image, 0, at, min(at+pieceSize, hi))
		for _, f := range fields {
			switch d, src := dst[f.Off:hi], image[f.Off:]; {
			case f.size() > int64(len(d)) || f.Kind == Back32 || f.Kind.isLocal() ||
				f.Kind == Listed24: // a wrong one would break a copy that equal bytes make
			case f.Kind.space() == numbers || f.Kind == TypeName:
				if to != nil {
					to.Types.apply(f, d, little.Uint32(src))
				}
			case to == nil && f.Kind.space() == places:
			default:
				g.absolute(f, d, src)
			}
		}
	}
}

func (g *guide) absolute(f Field, dst, image []byte) {
	from, ok := g.from(f)
	if !ok {
		return
	}
	v, to := f.value(image, image, from), uint64(0)
	if g.m != nil {
		if v, ok = g.move(f.Kind, v, Copy{}); !ok {
			return
		}
		if f.Kind.space() == places {
			to = uint64(g.base(int64(f.Aux)))
		}
	}
	f.set(dst, image, to, v)
}
