package reference

import "iter"

// Gain says what forecasts are worth.
type Gain struct {
	Fields   int64 // references in copies, without those of kinds that are left alone
	Plain    int64 // of these, where the bytes of old are right
	Forecast int64 // of these, where the map's forecast is right
}

// Gains is a [Gain] for each [Kind].
type Gains [kinds]Gain

// Sum is the gain of all kinds together.
func (g *Gains) Sum() Gain {
	var sum Gain
	for _, x := range g {
		sum.Fields += x.Fields
		sum.Plain += x.Plain
		sum.Forecast += x.Forecast
	}
	return sum
}

// Measure compares, for all references in copies, the bytes of old and the
// forecast with what new holds. old and new are all of the element. Copies
// that do not lie inside of both are passed over. It takes as long as a
// [Copier] does, and changes nothing: any number of calls may run at once.
func Measure(e *Element, l *Layout, m *Map, old, new []byte, copies iter.Seq[Copy]) Gain {
	g := MeasureKinds(e, l, m, old, new, copies)
	return g.Sum()
}

// MeasureKinds is [Measure] by kind, so that an encoder can tell
// [AppendLayout] which kinds to leave alone.
func MeasureKinds(e *Element, l *Layout, m *Map, old, new []byte, copies iter.Seq[Copy]) *Gains {
	gains := &Gains{}
	g := &guide{e: e, l: l, m: m}
	var fields []Field
	for c := range copies {
		if c.Old < 0 || c.New < 0 || c.Length < 0 || c.Old > int64(len(old)) || c.New > int64(len(new)) ||
			c.Length > min(int64(len(old))-c.Old, int64(len(new))-c.New) {
			continue
		}
		end := c.Old + c.Length
		for at := c.Old; at < end; at += pieceSize {
			fields = e.Scan(fields[:0], old, 0, at, min(at+pieceSize, end))
			for _, f := range fields {
				if f.Off+f.size() <= end && !l.off[f.Kind] {
					g.measure(f, old[f.Off:], new[f.Off-c.Old+c.New:], c, &gains[f.Kind])
				}
			}
		}
	}
	return gains
}

// measure counts one field, whose bytes in old and new are given.
func (g *guide) measure(f Field, old, new []byte, in Copy, sum *Gain) {
	from, ok := g.from(f)
	to, more := g.to(f, in)
	if !ok || !more {
		return
	}
	actual := f.value(new, old, to)
	plain := f.value(old, old, to)
	moved := plain
	if v, ok := g.move(f.Kind, f.value(old, old, from), in); ok {
		var b [Margin]byte
		copy(b[:], old[:f.size()])
		f.set(b[:], old, to, v)
		moved = f.value(b[:], old, to)
	}
	sum.Fields++
	sum.Plain += int64(one(plain == actual))
	sum.Forecast += int64(one(moved == actual))
}
