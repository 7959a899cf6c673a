package foreign

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
)

// bzip2Of makes a bzip2 stream of one block, for patches that no program
// would write. data is small: rotations are sorted the slow way.
func bzip2Of(data []byte) []byte {
	w := &bitWriter{}
	w.bytes([]byte("BZh9"))
	crc := uint32(0)
	if len(data) > 0 {
		crc = bzip2Sum(data)
		w.bytes([]byte("\x31\x41\x59\x26\x53\x59"))
		w.bits(uint64(crc), 32)
		w.block(runs(data))
	}
	w.bytes([]byte("\x17\x72\x45\x38\x50\x90"))
	w.bits(uint64(crc), 32)
	if w.n%8 != 0 {
		w.bits(0, 8-w.n%8)
	}
	return w.out
}

type bitWriter struct {
	out []byte
	n   int
}

func (w *bitWriter) bits(v uint64, n int) {
	for i := n - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.out = append(w.out, 0)
		}
		w.out[len(w.out)-1] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
}

func (w *bitWriter) bytes(b []byte) {
	for _, c := range b {
		w.bits(uint64(c), 8)
	}
}

// runs writes four equal bytes as themselves and how many follow.
func runs(data []byte) (out []byte) {
	for i := 0; i < len(data); {
		n := 1
		for i+n < len(data) && n < 255 && data[i+n] == data[i] {
			n++
		}
		out = append(out, bytes.Repeat(data[i:i+1], min(n, 4))...)
		if n >= 4 {
			out = append(out, byte(n-4))
		}
		i += n
	}
	return out
}

func (w *bitWriter) block(data []byte) {
	order := make([]int, len(data))
	for i := range order {
		order[i] = i
	}
	twice := append(bytes.Clone(data), data...)
	slices.SortFunc(order, func(a, b int) int {
		return bytes.Compare(twice[a:a+len(data)], twice[b:b+len(data)])
	})
	w.bits(0, 1) // not randomised
	w.bits(uint64(slices.Index(order, 0)), 24)
	var used []byte
	for c := range 256 {
		if bytes.IndexByte(data, byte(c)) >= 0 {
			used = append(used, byte(c))
		}
	}
	for row := range 16 {
		w.bits(uint64(btoi(slices.ContainsFunc(used, func(c byte) bool { return int(c>>4) == row }))), 1)
	}
	for row := range 16 {
		if slices.ContainsFunc(used, func(c byte) bool { return int(c>>4) == row }) {
			for col := range 16 {
				w.bits(uint64(btoi(slices.Contains(used, byte(row<<4|col)))), 1)
			}
		}
	}
	symbols := moveToFront(order, data, used)
	w.huffman(symbols, len(used)+2)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// moveToFront codes the last column, zeros as binary numbers of digits 1 and 2.
func moveToFront(order []int, data, used []byte) (symbols []int) {
	list := bytes.Clone(used)
	zeros := 0
	flush := func() {
		for ; zeros > 0; zeros = (zeros - 1) / 2 {
			symbols = append(symbols, (zeros-1)%2)
		}
	}
	for _, o := range order {
		c := data[(o+len(data)-1)%len(data)]
		i := bytes.IndexByte(list, c)
		copy(list[1:], list[:i])
		list[0] = c
		if i == 0 {
			zeros++
			continue
		}
		flush()
		symbols = append(symbols, i+1)
	}
	flush()
	return append(symbols, len(used)+1)
}

// huffman writes two equal tables of codes of about the same length.
func (w *bitWriter) huffman(symbols []int, n int) {
	short := bits.Len(uint(n)) - 1
	shorts := 1<<(short+1) - n
	w.bits(2, 3)
	groups := (len(symbols) + 49) / 50
	w.bits(uint64(groups), 15)
	w.bits(0, groups)
	for range 2 {
		w.bits(uint64(short), 5)
		for i := range n {
			if i == shorts {
				w.bits(2, 2) // one longer from here on
			}
			w.bits(0, 1)
		}
	}
	for _, s := range symbols {
		if s < shorts {
			w.bits(uint64(s), short)
		} else {
			w.bits(uint64(2*shorts+s-shorts), short+1)
		}
	}
}

// bzip2Sum is the CRC-32 that has the highest bit first.
func bzip2Sum(data []byte) uint32 {
	sum := ^uint32(0)
	for _, c := range data {
		sum ^= uint32(c) << 24
		for range 8 {
			top := sum >> 31
			sum = sum<<1 ^ top*0x04c11db7
		}
	}
	return ^sum
}

// signed is a number as patches have it: sign and magnitude.
func signed(n int64) []byte {
	u := uint64(n)
	if n < 0 {
		u = uint64(-n) | 1<<63
	}
	return binary.LittleEndian.AppendUint64(nil, u)
}

// bsdiff40 puts a patch together.
func bsdiff40(size int64, triples []int64, diff, extra []byte) []byte {
	var control []byte
	for _, n := range triples {
		control = append(control, signed(n)...)
	}
	parts := [][]byte{bzip2Of(control), bzip2Of(diff), bzip2Of(extra)}
	return slices.Concat([]byte(bsdiffMagic), signed(int64(len(parts[0]))), signed(int64(len(parts[1]))), signed(size), parts[0], parts[1], parts[2])
}

// bsdiff43 puts a patch together, from triples that each have their bytes
// behind them.
func bsdiff43(size int64, pieces ...[]byte) []byte {
	return slices.Concat([]byte(endsleyMagic), signed(size), bzip2Of(slices.Concat(pieces...)))
}
