package foreign

import "io"

// instruction is one half of a code: what to do, with which size, and for a
// copy the mode of its address.
type instruction struct {
	what byte
	size byte // 0: the size follows as a number
	mode byte
}

const (
	doNothing = iota
	doAdd
	doRun
	doCopy
)

// The address modes of a copy: its address itself, how far it is back, four
// that count from recent addresses, three that name one of them.
const (
	selfMode = 0
	hereMode = 1
	nears    = 4
	sames    = 3
	sameMode = 2 + nears
	modes    = sameMode + sames
)

// codeTable is the default code table of RFC 3284, section 5.6.
var codeTable = makeCodeTable()

func makeCodeTable() (table [256][2]instruction) {
	i := 0
	put := func(first, second instruction) {
		table[i] = [2]instruction{first, second}
		i++
	}
	put(instruction{what: doRun}, instruction{})
	for size := range byte(18) {
		put(instruction{what: doAdd, size: size}, instruction{})
	}
	for mode := range byte(modes) {
		put(instruction{doCopy, 0, mode}, instruction{})
		for size := byte(4); size <= 18; size++ {
			put(instruction{doCopy, size, mode}, instruction{})
		}
	}
	for mode := range byte(modes) {
		longest := byte(6)
		if mode >= sameMode {
			longest = 4
		}
		for add := byte(1); add <= 4; add++ {
			for size := byte(4); size <= longest; size++ {
				put(instruction{what: doAdd, size: add}, instruction{doCopy, size, mode})
			}
		}
	}
	for mode := range byte(modes) {
		put(instruction{doCopy, 4, mode}, instruction{what: doAdd, size: 1})
	}
	return table
}

// addressCache remembers addresses of copies, RFC 3284, section 5.1.
type addressCache struct {
	near [nears]int64
	next int
	same [sames * 256]int64
}

// next gives the next operation of the window. A code may stand for two, and a
// copy that begins in the source and ends in the window is two.
func (v *vcdiff) next(room int64) (op, error) {
	for len(v.pending) == 0 {
		if err := v.decode(); err != nil {
			return op{}, err
		}
	}
	o := v.pending[0]
	v.pending = v.pending[1:]
	return o, nil
}

// decode reads a code with the numbers that it needs.
func (v *vcdiff) decode() error {
	code, err := v.codes.ReadByte()
	if err != nil {
		return corruptf("a window ends after %d of its %d bytes", v.made, v.size)
	}
	v.pending = v.room[:0]
	for _, in := range codeTable[code] {
		if in.what == doNothing {
			continue
		}
		length := int64(in.size)
		if length == 0 {
			if length, err = vcdiffNumber(v.codes); err != nil {
				return v.short(err)
			}
		}
		if length < 1 || !inside(v.made, length, v.size) {
			return corruptf("an operation of %d bytes at %d of a window of %d", length, v.made, v.size)
		}
		if err := v.plan(in, length); err != nil {
			return v.short(err)
		}
		v.made += length
	}
	return nil
}

// short says which end was met where a part of the window is too small.
func (v *vcdiff) short(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return corruptf("a part of a window ends early")
	}
	return err
}

// plan appends the operations of one instruction.
func (v *vcdiff) plan(in instruction, length int64) error {
	switch in.what {
	case doAdd:
		literal, err := v.data.take(length)
		if err != nil {
			return err
		}
		r := &v.literals[len(v.pending)]
		r.Reset(literal)
		v.pending = append(v.pending, op{kind: insert, length: length, data: r})
		return nil
	case doRun:
		fill, err := v.data.ReadByte()
		if err != nil {
			return err
		}
		v.pending = append(v.pending, op{kind: run, length: length, fill: fill})
		return nil
	}
	address, err := v.address(in.mode)
	if err != nil {
		return err
	}
	if address < v.sourceSize {
		n := min(length, v.sourceSize-address)
		v.pending = append(v.pending, op{kind: copyOld, length: n, from: v.source + address})
		if length == n {
			return nil
		}
		length -= n
		address += n
	}
	v.pending = append(v.pending, op{kind: repeat, length: length, from: address - v.sourceSize})
	return nil
}

// address reads the address of a copy, in the source and what the window has
// behind it.
func (v *vcdiff) address(mode byte) (int64, error) {
	here := v.sourceSize + v.made
	var a int64
	if mode >= sameMode {
		b, err := v.addrs.ReadByte()
		if err != nil {
			return 0, err
		}
		a = v.cache.same[int(mode-sameMode)*256+int(b)]
	} else {
		n, err := vcdiffNumber(v.addrs)
		if err != nil {
			return 0, err
		}
		switch mode {
		case selfMode:
			a = n
		case hereMode:
			a = here - n
		default:
			a = sum(v.cache.near[mode-2], n)
		}
	}
	if !inside(a, 1, here) {
		return 0, corruptf("a copy from %d, where %d bytes are there", a, here)
	}
	v.cache.near[v.cache.next] = a
	v.cache.next = (v.cache.next + 1) % nears
	v.cache.same[a%int64(len(v.cache.same))] = a
	return a, nil
}

// cursor is a part of a window that is yet to be read.
type cursor struct{ left []byte }

// ReadByte implements io.ByteReader.
func (c *cursor) ReadByte() (byte, error) {
	if len(c.left) == 0 {
		return 0, io.EOF
	}
	b := c.left[0]
	c.left = c.left[1:]
	return b, nil
}

// take gives the next n bytes.
func (c *cursor) take(n int64) ([]byte, error) {
	if !inside(0, n, int64(len(c.left))) {
		return nil, io.EOF
	}
	b := c.left[:n]
	c.left = c.left[n:]
	return b, nil
}
