package reference

// Memory is about how many bytes the element holds. It is the same on every
// machine, so that a patch can declare it.
func (e *Element) Memory() int64 {
	n := 64*len(e.segments) + 128*len(e.sections) + 128*len(e.regions) + 64*(len(e.anchors)+len(e.voids)) + 8*len(e.symbolStart)
	for i := range e.regions {
		n += 4 * len(e.regions[i].marks)
	}
	return int64(n)
}

// Memory is about how many bytes the map holds, on every machine.
func (m *Map) Memory() int64 { return int64(8*len(m.parts) + 4*len(m.pages)) }
