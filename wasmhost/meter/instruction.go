package meter

// instruction reads one instruction.
func (s *scan) instruction() {
	at := s.at
	op := s.byte("an instruction")
	o := core[op]
	s.f.Instructions++
	s.instruct(op)
	switch {
	case s.err != nil:
	case op == opMisc:
		s.misc(at)
	case op == opVector:
		s.vector(at)
	case o.immediate == unknown:
		s.fail(at, "%s", disabled(op))
	case o.immediate == structure:
		s.structured(op, at)
	default:
		s.pay(1)
		if op == opMemoryGrow {
			s.measure(at, helperGrow)
		}
		s.immediate(o, at)
		s.stack(int(o.pop), int(o.push))
		if o.immediate != localIndex {
			s.values += int64(o.push)
		}
	}
}

// immediate reads what follows an opcode.
func (s *scan) immediate(o opcode, at int) {
	switch o.immediate {
	case localIndex:
		s.index("local", s.locals)
		s.steps += s.path
		s.sets += int(o.pop)
	case globalIndex:
		s.index("global", int(s.info.Globals))
		s.steps += s.path
	case address, addressLane:
		s.address(o, at)
	case lane:
		s.lane(o.limit)
	case bytes4:
		s.skip(4, "a constant")
	case bytes8:
		s.skip(8, "a constant")
	case bytes16:
		s.skip(16, "a constant")
	case shuffle:
		for range 16 {
			s.lane(o.limit)
		}
	case number32:
		s.signed(32, "a constant")
	case number64:
		s.signed(64, "a constant")
	case zero:
		s.memory(at)
	case dataIndex:
		s.index("data segment", s.data)
		if s.counted < 0 {
			s.fail(at, "a data segment is named, but there is no data count section")
		}
	case entryList:
		s.index("element segment", s.elements)
	}
}

// memory reads the index of the only memory, which must be written as one
// zero byte.
func (s *scan) memory(at int) {
	if s.memories() == 0 {
		s.fail(at, "an instruction for memory, but there is none")
	}
	from := s.at
	if b := s.byte("the index of a memory"); b != 0 {
		s.fail(from, "memory %#02x, there is one memory, written as 0", b)
	}
}

func (s *scan) address(o opcode, at int) {
	if s.memories() == 0 {
		s.fail(at, "an instruction for memory, but there is none")
	}
	s.work += effortAddress
	s.steps += 2 * s.path
	s.known++
	from := s.at
	if a := s.u32("an alignment"); a > uint32(o.limit) {
		s.fail(from, "alignment %d, at most %d", a, o.limit)
	}
	s.u32("an offset")
	if o.immediate == addressLane {
		s.lane(16 >> o.limit)
	}
}

func (s *scan) lane(have uint8) {
	from := s.at
	if l := s.byte("a lane"); l >= have {
		s.fail(from, "lane %d, there are %d", l, have)
	}
}

// measure has the length on the stack charged before the instruction at at.
func (s *scan) measure(at int, h helper) {
	s.edits = append(s.edits, bodyEdit{at: at, to: at, kind: measured, value: s.helpers[h], loop: -1})
}

// misc reads what follows the byte 0xfc.
func (s *scan) misc(at int) {
	from := s.at
	code := s.byte("an instruction")
	o := misc[code]
	switch {
	case s.err != nil:
		return
	case code >= 0x0f && code <= 0x11:
		s.fail(at, "instruction 0xfc %#02x belongs to reference types, which modules may not use", code)
		return
	case o.immediate == unknown:
		s.fail(from, "instruction 0xfc %#02x is not known, or its number is longer than it need be", code)
		return
	}
	s.pay(1)
	s.steps += 2 * s.path
	switch {
	case code == miscMemoryFill:
		s.work += effortFill
	case code >= miscMemoryInit:
		s.work += effortBulk
	default:
		s.work += effortSaturate
	}
	switch code {
	case miscMemoryInit, miscMemoryCopy, miscMemoryFill:
		s.measure(at, helperBytes)
	case miscTableInit, miscTableCopy:
		s.measure(at, helperEntries)
	}
	s.immediate(o, at)
	switch code {
	case miscMemoryInit, miscMemoryCopy:
		s.memory(at)
	case miscTableInit:
		s.index("table", s.tables)
	case miscTableCopy:
		s.index("table", s.tables)
		s.index("table", s.tables)
	}
	s.stack(int(o.pop), int(o.push))
	s.values += int64(o.push)
}

// vector reads what follows the byte 0xfd. The number is written in as many
// bytes as it needs and no more: some readers know the first byte alone.
func (s *scan) vector(at int) {
	s.vectors = true
	code := s.byte("an instruction")
	if code >= 0x80 {
		from := s.at
		high := s.byte("an instruction")
		if s.err == nil && high != 1 {
			s.fail(from, "instruction 0xfd %#02x %#02x is relaxed SIMD, not known, or its number is longer than it need be", code, high)
		}
	}
	o := vector[code]
	if o.immediate == unknown && s.err == nil {
		s.fail(at, "instruction 0xfd %#02x is not known", code)
	}
	if s.err != nil {
		return
	}
	s.pay(1)
	s.immediate(o, at)
	s.stack(int(o.pop), int(o.push))
	s.values += int64(o.push)
}
