package reference

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"sort"
)

const (
	// MaxCopies is how many copies a map is made of at most.
	MaxCopies = 256 << 10
	// shortest is the length of the shortest copy that takes part in a map.
	shortest = 8
	pageBits = 12
)

// Map says where each byte of old is in new. Where copies of old overlap, the
// longest one decides; a byte that no copy has went with its neighbours. It is
// not changed once made, and may be shared.
type Map struct {
	parts []part
	pages []uint32 // for each 4 KiB of old the part that its first byte is in
	size  int64
}

// part begins at place old, which is place new in new, and ends where the
// next one begins.
type part struct{ old, new uint32 }

// NewMap makes the map of an element of size bytes in old, from copies in any
// order, which it goes through twice. [ErrCorrupt] says that there are more
// than [MaxCopies], or that one does not lie inside of what 32 bits count.
//
// With the result, it needs 20 bytes for each copy while it works, so 5 MiB for
// [MaxCopies], and 4 bytes for each 4 KiB of old.
func NewMap(copies iter.Seq[Copy], size int64) (*Map, error) {
	if size < 0 || size > maxSize {
		return nil, fmt.Errorf("%w: map of %d bytes, want at most %d", ErrCorrupt, size, int64(maxSize))
	}
	count, used := 0, 0
	for c := range copies {
		if c.Old < 0 || c.New < 0 || c.Length < 0 || c.Old > size || c.Length > size-c.Old || c.New > maxSize-c.Length {
			return nil, fmt.Errorf("%w: copy of %d bytes from %d to %d does not lie inside of %d bytes", ErrCorrupt, c.Length, c.Old, c.New, size)
		}
		if count++; count > MaxCopies {
			return nil, fmt.Errorf("%w: map of more than %d copies", ErrCorrupt, MaxCopies)
		}
		if c.Length >= shortest {
			used++
		}
	}
	list := make([]extent, 0, used)
	for c := range copies {
		if c.Length >= shortest && len(list) < used {
			list = append(list, extent{part{uint32(c.Old), uint32(c.New)}, uint32(c.Length)})
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].compare(list[j]) < 0 })
	m := &Map{size: size, parts: make([]part, 0, used)}
	m.flatten(list)
	if len(m.parts) < used/2 {
		m.parts = slices.Clone(m.parts)
	}
	m.index()
	return m, nil
}

// extent is a copy in less memory.
type extent struct {
	part
	length uint32
}

func (x extent) end() int64 { return int64(x.old) + int64(x.length) }

// compare orders extents by where they begin.
func (x extent) compare(y extent) int {
	return cmp.Or(cmp.Compare(x.old, y.old), cmp.Compare(x.new, y.new))
}

// flatten sweeps over old and notes which copy is the longest from where on.
// Those that have begun need no more room than they had in list.
func (m *Map) flatten(list []extent) {
	open := longest(list[:0])
	at, next := int64(0), 0
	for next < len(list) || len(open) > 0 {
		if len(open) == 0 {
			at = int64(list[next].old)
		}
		for ; next < len(list) && int64(list[next].old) <= at; next++ {
			open.push(list[next])
		}
		for len(open) > 0 && open[0].end() <= at {
			open.pop()
		}
		if len(open) == 0 {
			continue
		}
		top := open[0]
		m.add(at, at-int64(top.old)+int64(top.new))
		at = top.end()
		if next < len(list) {
			at = min(at, int64(list[next].old))
		}
	}
}

// longest is a heap of the copies that have begun, with the longest on top, and
// the first among those.
type longest []extent

func (x extent) before(y extent) bool {
	if x.length != y.length {
		return x.length > y.length
	}
	return x.compare(y) < 0
}

// push adds a copy that begins after all others. Those that it is longer than
// all of end before it does, and are not needed again; nor is it, if it ends
// before the longest does.
func (p *longest) push(x extent) {
	h := *p
	if len(h) > 0 {
		switch {
		case x.before(h[0]):
			h = h[:0]
		case x.end() <= h[0].end():
			return
		}
	}
	h = append(h, x)
	*p = h
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(h[up]) {
			return
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (p *longest) pop() {
	h := *p
	k := len(h) - 1
	h[0] = h[k]
	h = h[:k]
	*p = h
	for i := 0; ; {
		best := i
		for _, c := range [2]int{2*i + 1, 2*i + 2} {
			if c < k && h[c].before(h[best]) {
				best = c
			}
		}
		if best == i {
			return
		}
		h[i], h[best] = h[best], h[i]
		i = best
	}
}

// add begins a part, unless the one before it goes on there. There is at most
// one for each copy: a longer copy that hides one hides its start or its end,
// since it does not lie inside of it.
func (m *Map) add(old, new int64) {
	p := part{uint32(old), uint32(new)}
	if k := len(m.parts); k > 0 && p.new-p.old == m.parts[k-1].new-m.parts[k-1].old {
		return
	}
	m.parts = append(m.parts, p)
}

func (m *Map) index() {
	m.pages = make([]uint32, m.size>>pageBits+2)
	i := uint32(0)
	for p := range m.pages {
		for int(i)+1 < len(m.parts) && int64(m.parts[i+1].old) <= int64(p)<<pageBits {
			i++
		}
		m.pages[p] = i
	}
}

// at is where the byte at place off of old is in new.
func (m *Map) at(off int64) int64 {
	if len(m.parts) == 0 || off < 0 || off > m.size {
		return off
	}
	page := off >> pageBits
	lo, hi := m.pages[page], m.pages[page+1]
	for lo < hi { // the last part that begins at or before off
		if mid := (lo + hi + 1) / 2; int64(m.parts[mid].old) <= off {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	p := m.parts[lo]
	return off - int64(p.old) + int64(p.new)
}

// Parts is how many parts the map has, each of which takes 8 bytes.
func (m *Map) Parts() int { return len(m.parts) }
