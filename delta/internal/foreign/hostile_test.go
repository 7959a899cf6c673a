package foreign

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/adler32"
	"io"
	"slices"
	"strings"
	"testing"
)

// TestHostileBsdiff gives patches made by hand that other programs crash on,
// take all memory for, or apply.
func TestHostileBsdiff(t *testing.T) {
	old := []byte("0123456789")
	good := bsdiff40(12, []int64{10, 2, 0}, make([]byte, 10), []byte("ab"))
	if got, err := apply(t, Bsdiff, old, bytes.NewReader(good), Limits{Size: 12}); string(got) != "0123456789ab" || err != nil {
		t.Fatalf("a patch that is right: %q, %v", got, err)
	}
	declares := func(control, diff, size int64) []byte {
		return slices.Concat([]byte(bsdiffMagic), signed(control), signed(diff), signed(size), good[bsdiffHead:])
	}
	control, diff := number(good[8:]), number(good[16:])
	for _, tt := range []struct {
		name  string
		patch []byte
		want  error
		says  string
	}{
		{"new of 2^62 bytes", declares(control, diff, 1<<62), ErrCorrupt, "ends early"},
		{"new of 2^36 bytes", declares(control, diff, 1<<36), ErrCorrupt, "ends early"},
		{"new of less than nothing", declares(control, diff, -1), ErrCorrupt, "a new file of -1 bytes"},
		{"negative bytes to add", bsdiff40(12, []int64{-10, 22, 0}, nil, nil), ErrCorrupt, "-10 bytes to add"},
		{"negative bytes to insert", bsdiff40(12, []int64{10, -2, 0, 0, 4, 0}, make([]byte, 10), nil), ErrCorrupt, "-2 to insert"},
		{"a move past old", bsdiff40(12, []int64{5, 0, 1 << 62, 5, 2, 0}, make([]byte, 10), []byte("ab")), ErrCorrupt, "a move by 4611686018427387904"},
		{"a move before old", bsdiff40(12, []int64{5, 0, -6, 5, 2, 0}, make([]byte, 10), []byte("ab")), ErrCorrupt, "a move by -6 from 5"},
		{"the last move past old", bsdiff40(12, []int64{10, 2, 1}, make([]byte, 10), []byte("ab")), ErrCorrupt, "a move by 1 from 10"},
		{"cut short", good[:len(good)-20], ErrCorrupt, ""},
		{"control part of 2^62 bytes", declares(1<<62, diff, 12), nil, ""},
		{"difference of 2^62 bytes", declares(control, 1<<62, 12), nil, ""},
		{"both of 2^62 bytes", declares(1<<62, 1<<62, 12), nil, ""},
		{"control part of 30 MB that are not there", declares(30_000_000, 0, 12), ErrCorrupt, ""},
		{"control part of less than nothing", declares(-1, diff, 12), ErrCorrupt, "a control part of -1 bytes"},
		{"difference of less than nothing", declares(control, -1, 12), ErrCorrupt, "a difference of -1"},
		{"2^62 bytes to add", bsdiff40(12, []int64{1 << 62, 0, 0}, nil, nil), ErrCorrupt, "a triple with 4611686018427387904"},
		{"sizes whose sum is beyond 64 bits", bsdiff40(12, []int64{1<<63 - 1, 1<<63 - 1, 0}, nil, nil), ErrCorrupt, "a triple with"},
		{"more from old than there is", bsdiff40(12, []int64{11, 1, 0}, make([]byte, 11), []byte("a")), ErrCorrupt, "11 bytes from 0 of an old file of 10"},
		{"triples without bytes for ever", bsdiff40(12, make([]int64, 3*5000), nil, nil), ErrCorrupt, "17 triples without any bytes"},
		{"one triple too many", bsdiff40(12, []int64{10, 2, 0, 0, 0, 0}, make([]byte, 10), []byte("ab")), ErrCorrupt, "goes on after the last byte"},
		{"half a triple", bsdiff40(12, []int64{10, 2}, make([]byte, 10), []byte("ab")), ErrCorrupt, "ends early"},
		{"too much difference", bsdiff40(12, []int64{10, 2, 0}, make([]byte, 11), []byte("ab")), ErrCorrupt, "goes on after the last byte"},
		{"too much extra", bsdiff40(12, []int64{10, 2, 0}, make([]byte, 10), []byte("abc")), ErrCorrupt, "goes on after the last byte"},
		{"too little difference", bsdiff40(12, []int64{10, 2, 0}, make([]byte, 9), []byte("ab")), ErrCorrupt, "ends early"},
		{"no difference at all", bsdiff40(12, []int64{10, 2, 0}, nil, []byte("ab")), ErrCorrupt, "ends early"},
		{"no extra at all", bsdiff40(12, []int64{10, 2, 0}, make([]byte, 10), nil), ErrCorrupt, "ends early"},
		{"no control at all", bsdiff40(12, nil, make([]byte, 10), []byte("ab")), ErrCorrupt, "ends early"},
		{"43: no bytes at all", bsdiff43(12, signed(10), signed(2), signed(0)), ErrCorrupt, "ends early"},
		{"another magic", append([]byte("BSDIFF41"), good[8:]...), ErrCorrupt, "not a bsdiff patch"},
		{"43: new of 2^62 bytes", bsdiff43(1<<62, signed(10), signed(0), signed(0), make([]byte, 10)), ErrCorrupt, "ends early"},
		{"43: negative bytes to add", bsdiff43(12, signed(-1), signed(13), signed(0)), ErrCorrupt, "-1 bytes to add"},
		{"43: a move past old", bsdiff43(12, signed(10), signed(0), signed(1<<62), make([]byte, 10), signed(0), signed(2), signed(0)), ErrCorrupt, "a move by"},
		{"43: bytes behind it", bsdiff43(2, signed(0), signed(2), signed(0), []byte("abc")), ErrCorrupt, "goes on after the last byte"},
	} {
		for how, src := range map[string]io.Reader{"at random": bytes.NewReader(tt.patch), "as a stream": stream(tt.patch)} {
			before := allocated()
			got, err := apply(t, Bsdiff, old, src, Limits{Size: AnySize})
			n := allocated() - before
			t.Logf("%s, %s: %d bytes came out, %d were allocated, %v", tt.name, how, len(got), n, err)
			refused := errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTooLarge)
			if !refused || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || n > BsdiffMemory+100<<10 {
				t.Errorf("%s, %s: %d bytes came out, %d were allocated, %v, want %q", tt.name, how, len(got), n, err, tt.says)
			}
		}
	}
	if got, err := apply(t, Bsdiff, old, bytes.NewReader(declares(control, diff, 1<<62)), Limits{Size: 12}); !errors.Is(err, ErrCorrupt) || len(got) > 0 {
		t.Errorf("new of 2^62 bytes where 12 are expected: %d bytes, %v", len(got), err)
	}
}

// TestBsdiffByHand applies patches that no program here writes.
func TestBsdiffByHand(t *testing.T) {
	old := []byte("0123456789")
	for _, tt := range []struct {
		name  string
		patch []byte
		want  string
	}{
		{"nothing", bsdiff40(0, nil, nil, nil), ""},
		{"new begins elsewhere", bsdiff40(3, []int64{0, 0, 4, 3, 0, 0}, make([]byte, 3), nil), "456"},
		{"back and forth", bsdiff40(8, []int64{2, 1, 6, 2, 0, -10, 3, 0, 0}, []byte{1, 1, 0, 0, 0, 0, 255}, []byte("x")), "12x89011"},
		{"43", bsdiff43(5, signed(2), signed(1), signed(1), []byte{0, 1}, []byte("x"), signed(2), signed(0), signed(0), make([]byte, 2)), "02x34"},
		{"a long run", bsdiff40(300_000, []int64{0, 300_000, 0}, nil, bytes.Repeat([]byte("z"), 300_000)), strings.Repeat("z", 300_000)},
	} {
		got, err := apply(t, Bsdiff, old, stream(tt.patch), Limits{Size: int64(len(tt.want))})
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %.20q, %v", tt.name, got, err)
		}
	}
}

// varint is a number as VCDIFF has it.
func varint(n uint64) []byte {
	b := []byte{byte(n & 0x7f)}
	for n >>= 7; n > 0; n >>= 7 {
		b = append([]byte{byte(n) | 0x80}, b...)
	}
	return b
}

// vcdiffWindow puts a window together. want is what its checksum is of.
type vcdiffWindow struct {
	source, position   uint64
	target             uint64
	data, codes, addrs []byte
	want               string
}

func (w vcdiffWindow) bytes() []byte {
	body := slices.Concat(varint(w.target), []byte{0}, varint(uint64(len(w.data))), varint(uint64(len(w.codes))), varint(uint64(len(w.addrs))))
	if w.want != "" {
		body = binary.BigEndian.AppendUint32(body, adler32.Checksum([]byte(w.want)))
	}
	body = slices.Concat(body, w.data, w.codes, w.addrs)
	var head []byte
	flags := byte(0)
	if w.source > 0 {
		flags |= windowSource
		head = append(varint(w.source), varint(w.position)...)
	}
	if w.want != "" {
		flags |= windowChecksum
	}
	return slices.Concat([]byte{flags}, head, varint(uint64(len(body))), body)
}

func vcdiffOf(windows ...vcdiffWindow) []byte {
	patch := []byte(vcdiffMagic + "\x00\x00")
	for _, w := range windows {
		patch = append(patch, w.bytes()...)
	}
	return patch
}

// TestVcdiffByHand goes through codes and addresses that programs seldom use.
func TestVcdiffByHand(t *testing.T) {
	old := []byte("0123456789abcdef")
	for _, tt := range []struct {
		name  string
		patch []byte
		want  string
	}{
		{"no window", vcdiffOf(), ""},
		{"one empty window", vcdiffOf(vcdiffWindow{}), ""},
		{"the example of RFC 3284, section 3", vcdiffOf(vcdiffWindow{
			source: 16, target: 28, data: []byte("wxyzz"),
			// COPY 4, ADD 4, COPY 4, COPY 12 of what it makes, RUN 4
			codes: []byte{20, 5, 20, 28, 0, 4}, addrs: []byte{0, 4, 24}, want: "0123wxyz4567456745674567zzzz",
		}), "0123wxyz4567456745674567zzzz"},
		{"a copy out of the source into the window", vcdiffOf(vcdiffWindow{
			source: 4, position: 12, target: 9, data: []byte("A"), codes: []byte{2, 19, 8}, addrs: []byte{2}}), "AefAefAef"},
		{"here, near and same", vcdiffOf(vcdiffWindow{
			source: 16, target: 17,
			// COPY 4 self 2; COPY 4 here-4; near 0 +1; same of address 2
			codes: []byte{20, 36, 52, 19 + 16*6, 5}, addrs: []byte{2, 4, 1, 2}}), "2345" + "2345" + "3456" + "23456"},
		{"codes of two", vcdiffOf(vcdiffWindow{
			source: 16, target: 10,
			// ADD 1 + COPY 4, COPY 4 + ADD 1
			data: []byte("xy"), codes: []byte{163, 247}, addrs: []byte{3, 8}}), "x3456" + "89aby"},
		{"two windows", vcdiffOf(
			vcdiffWindow{target: 3, data: []byte("abc"), codes: []byte{4}},
			vcdiffWindow{source: 2, position: 14, target: 5, data: []byte("!"), codes: []byte{19, 2, 0, 3}, addrs: []byte{0}}), "abcef!!!"},
		{"a text in the head", slices.Concat([]byte(vcdiffMagic+"\x00\x04\x05hello"), vcdiffWindow{target: 1, data: []byte("a"), codes: []byte{2}}.bytes()), "a"},
	} {
		got, err := apply(t, Vcdiff, old, stream(tt.patch), Limits{Size: AnySize})
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

func TestHostileVcdiff(t *testing.T) {
	old := []byte("0123456789abcdef")
	head := func(s string) []byte { return []byte(vcdiffMagic + s) }
	// window is one whose numbers are put in by hand.
	window := func(flags byte, numbers ...uint64) []byte {
		patch := append(head("\x00\x00"), flags)
		for i, n := range numbers {
			if patch = append(patch, varint(n)...); i == len(numbers)-4 {
				patch = append(patch, 0)
			}
		}
		return patch
	}
	one := func(w vcdiffWindow) []byte { return vcdiffOf(w) }
	for _, tt := range []struct {
		name  string
		patch []byte
		want  error
		says  string
	}{
		{"nothing", nil, ErrCorrupt, "ends early"},
		{"another magic", []byte("BSDIFF40"), ErrCorrupt, "not a VCDIFF patch"},
		{"another version", head("\x01\x00"), errors.ErrUnsupported, "VCDIFF version 0x1"},
		{"another flag", head("\x00\x08"), ErrCorrupt, "unknown flags 0x8"},
		{"a code table", head("\x00\x02"), errors.ErrUnsupported, "code table"},
		{"a text of 1 TiB", slices.Concat(head("\x00\x04"), varint(1<<40)), ErrCorrupt, "a text of 1099511627776 bytes"},
		{"compressed with djw", append(head("\x00\x01\x01"), 0, 5, 1, 1, 0, 0, 0), errors.ErrUnsupported, "secondary compression djw: make the patch with xdelta3 -S lzma or -S none"},
		{"compressed with fgk", append(head("\x00\x01\x10"), 0, 5, 1, 1, 0, 0, 0), errors.ErrUnsupported, "secondary compression fgk: make the patch with xdelta3 -S lzma or -S none"},
		{"compressed with what", append(head("\x00\x01\x63"), 0, 5, 1, 1, 0, 0, 0), errors.ErrUnsupported, "of an unknown kind"},
		{"compressed with nothing", append(head("\x00\x00"), 0, 5, 1, 1, 0, 0, 0), errors.ErrUnsupported, "of an unknown kind"},
		{"a fourth part", append(head("\x00\x01\x02"), 0, 5, 1, 8, 0, 0, 0), ErrCorrupt, "unknown flags 0x8 of the parts"},
		{"a copy from an earlier window", append(head("\x00\x00"), 2), errors.ErrUnsupported, "earlier ones of the new file"},
		{"another flag of the window", append(head("\x00\x00"), 8), ErrCorrupt, "unknown flags 0x8 of a window"},
		{"a window of 2^62 bytes", window(0, 13, 1<<62, 0, 0, 0), ErrTooLarge, "need 46116860184"},
		{"a window of 2^36 bytes", window(0, 10, 1<<36, 0, 0, 0), ErrTooLarge, "the limit is 67108864"},
		{"data of 2^62 bytes", window(0, 1<<62+13, 1, 1<<62, 0, 0), ErrTooLarge, "need 6917529027641"},
		{"parts whose sum is beyond 64 bits", window(0, 1<<62, 1, 1<<62, 1<<62, 1<<62), ErrCorrupt, "with parts of"},
		{"data of 30 MB that are not there", window(0, 30_000_008, 1, 30_000_000, 0, 0), ErrCorrupt, "ends early"},
		{"a number of 70 bits", append(append(head("\x00\x00"), 0), bytes.Repeat([]byte{0xff}, 10)...), ErrCorrupt, "more than 63 bits"},
		{"a source past old", one(vcdiffWindow{source: 10, position: 7, target: 1}), ErrCorrupt, "a source of 10 bytes from 7"},
		{"a source at 2^62", one(vcdiffWindow{source: 1 << 62, position: 1 << 62, target: 1}), ErrCorrupt, "a source of"},
		{"a length that is wrong", window(0, 6, 1, 0, 0, 0), ErrCorrupt, "a window of 6 bytes of patch"},
		{"a run of no bytes", one(vcdiffWindow{target: 1, data: []byte("a"), codes: []byte{0, 0}}), ErrCorrupt, "an operation of 0 bytes"},
		{"an insert of no bytes", one(vcdiffWindow{target: 1, codes: []byte{1, 0}}), ErrCorrupt, "an operation of 0 bytes"},
		{"a run past the window", one(vcdiffWindow{target: 3, data: []byte("a"), codes: []byte{0, 4}}), ErrCorrupt, "an operation of 4 bytes at 0 of a window of 3"},
		{"an insert without its data", one(vcdiffWindow{target: 3, data: []byte("ab"), codes: []byte{4}}), ErrCorrupt, "a part of a window ends early"},
		{"a copy of what is not made", one(vcdiffWindow{target: 4, codes: []byte{20}, addrs: []byte{0}}), ErrCorrupt, "a copy from 0, where 0 bytes are there"},
		{"a copy from before the source", one(vcdiffWindow{source: 4, target: 4, codes: []byte{36}, addrs: []byte{5}}), ErrCorrupt, "a copy from -1"},
		{"a copy from 2^62", one(vcdiffWindow{source: 4, target: 4, codes: []byte{20}, addrs: varint(1 << 62)}), ErrCorrupt, "a copy from 4611686018427387904"},
		{"near beyond 64 bits", one(vcdiffWindow{source: 4, target: 8, codes: []byte{20, 52}, addrs: append([]byte{1}, varint(1<<63-1)...)}), ErrCorrupt, "a copy from 9223372036854775807"},
		{"too few codes", one(vcdiffWindow{target: 4, data: []byte("ab"), codes: []byte{3}}), ErrCorrupt, "ends after 2 of its 4 bytes"},
		{"too many codes", one(vcdiffWindow{target: 1, data: []byte("ab"), codes: []byte{2, 2}}), ErrCorrupt, "goes on after its 1 bytes"},
		{"too much data", one(vcdiffWindow{target: 1, data: []byte("ab"), codes: []byte{2}}), ErrCorrupt, "goes on after its 1 bytes"},
		{"too many addresses", one(vcdiffWindow{target: 1, data: []byte("a"), codes: []byte{2}, addrs: []byte{1}}), ErrCorrupt, "goes on after its 1 bytes"},
		{"a wrong checksum", one(vcdiffWindow{target: 1, data: []byte("a"), codes: []byte{2}, want: "b"}), ErrCorrupt, "does not have its checksum"},
		{"empty windows for ever", vcdiffOf(make([]vcdiffWindow, 100)...), ErrCorrupt, "2 windows without any bytes"},
	} {
		before := allocated()
		got, err := apply(t, Vcdiff, old, stream(tt.patch), Limits{Size: AnySize})
		n := allocated() - before
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || len(got) > 0 || n > 1<<20 {
			t.Errorf("%s: %q came out, %d bytes were allocated, %v, want %v and %q", tt.name, got, n, err, tt.want, tt.says)
		}
	}
}

// TestManyWindows holds the room that windows leave behind to the limit too.
func TestManyWindows(t *testing.T) {
	large := vcdiffWindow{target: 40 << 20, data: []byte("a"), codes: append([]byte{0}, varint(40<<20)...)}
	data := make([]byte, 18<<20)
	patch := vcdiffOf(large, vcdiffWindow{target: 18 << 20, data: data, codes: append([]byte{1}, varint(18<<20)...)})
	r, err := Vcdiff(t.Context(), Files{bytes.NewReader(nil), 0, stream(patch)}, Limits{memory, AnySize})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, struct{ io.Reader }{r}); n != 40<<20 || !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d bytes, %v, want ErrTooLarge at the second window", n, err)
	}
}
