package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"
)

func TestXXH32(t *testing.T) {
	// The sums that the xxhsum program gives.
	for text, want := range map[string]uint32{
		"":    0x02cc5d05,
		"a":   0x550d7456,
		"abc": 0x32d153ff,
		"Nobody inspects the spammish repetition": 0xe2293b2f,
	} {
		if got := sumXXH32([]byte(text)); got != want {
			t.Errorf("%q: %08x, want %08x", text, got, want)
		}
	}
	b := content(300)
	for cut := range len(b) + 1 {
		var h xxh32
		h.reset()
		h.add(b[:cut])
		h.add(b[cut:])
		if got, want := h.sum(), sumXXH32(b); got != want {
			t.Errorf("in parts of %d and %d bytes: %08x, want %08x", cut, len(b)-cut, got, want)
		}
	}
}

// frameOf makes a frame with a right checksum of its head.
func frameOf(flags, blocks byte, fields string, rest ...string) []byte {
	head := string([]byte{flags, blocks}) + fields
	return []byte(lz4Magic + head + string([]byte{byte(sumXXH32([]byte(head)) >> 8)}) + strings.Join(rest, ""))
}

// blockOf is a block with its size.
func blockOf(bits uint32, data string) string {
	return string(binary.LittleEndian.AppendUint32(nil, bits|uint32(len(data)))) + data
}

const (
	lz4End   = "\x00\x00\x00\x00"
	lz4Plain = 1<<6 | lz4Independent
)

func TestLZ4Frames(t *testing.T) {
	size := func(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
	abc := blockOf(lz4Stored, "abc")
	again := blockOf(0, "\x10x\x03\x00\x30def") // x, then 4 bytes from 3 back, then def
	large := blockOf(lz4Stored, strings.Repeat("a", 64<<10+1))
	for _, tt := range []struct {
		name string
		file []byte
		want string
		err  error
		says string
	}{
		{"stored", frameOf(lz4Plain, 4<<4, "", abc, lz4End), "abc", nil, ""},
		{"no blocks", frameOf(lz4Plain, 4<<4, "", lz4End), "", nil, ""},
		{"a block that gives nothing", frameOf(lz4Plain, 4<<4, "", blockOf(0, "\x00"), abc, lz4End), "abc", nil, ""},
		{"linked", frameOf(1<<6, 4<<4, "", abc, again, lz4End), "abcxbcxbdef", nil, ""},
		{"linked, marked as independent", frameOf(lz4Plain, 4<<4, "", abc, again, lz4End), "", ErrCorrupt, "3 bytes back"},
		{"linked to the frame before", append(frameOf(1<<6, 4<<4, "", abc, lz4End), frameOf(1<<6, 4<<4, "", again, lz4End)...), "", ErrCorrupt, "3 bytes back"},
		{"right size", frameOf(lz4Plain|lz4Size, 4<<4, size(3), abc, lz4End), "abc", nil, ""},
		{"too small a size", frameOf(lz4Plain|lz4Size, 4<<4, size(2), abc, lz4End), "", ErrCorrupt, "more than the 2 bytes that the frame declares"},
		{"too large a size", frameOf(lz4Plain|lz4Size, 4<<4, size(4), abc, lz4End), "", ErrCorrupt, "3 bytes come out, the frame declares 4"},
		{"a negative size", frameOf(lz4Plain|lz4Size, 4<<4, size(1<<63), abc, lz4End), "", ErrCorrupt, "declares a content of"},
		{"wrong sum of a block", frameOf(lz4Plain|lz4BlockSum, 4<<4, "", abc, "0000", lz4End), "", ErrCorrupt, "the block has the checksum 32d153ff"},
		{"wrong sum of the frame", frameOf(lz4Plain|lz4ContentSum, 4<<4, "", abc, lz4End, "0000"), "", ErrCorrupt, "the frame has the checksum 32d153ff"},
		{"too large a block", frameOf(lz4Plain, 4<<4, "", large, lz4End), "", ErrCorrupt, "a block of 65537 bytes in a frame whose blocks have 1 to 65536"},
		{"too much out of a block", frameOf(lz4Plain, 4<<4, "", blockOf(0, "\x1fa\x01\x00"+strings.Repeat("\xff", 300)+"\x00\x50aaaaa"), lz4End), "", ErrCorrupt, "a match of 76519 bytes"},
		{"an empty block", frameOf(lz4Plain, 4<<4, "", blockOf(lz4Stored, ""), lz4End), "", ErrCorrupt, "a block of 0 bytes"},
		{"no distance", frameOf(lz4Plain, 4<<4, "", blockOf(0, "\x10x\x00\x00\x50aaaaa"), lz4End), "", ErrCorrupt, "0 bytes back"},
		{"a block without its last sequence", frameOf(lz4Plain, 4<<4, "", blockOf(0, "\x10x\x01\x00"), lz4End), "", ErrCorrupt, "ends within a sequence"},
		{"a block that ends in a length", frameOf(lz4Plain, 4<<4, "", blockOf(0, "\xf0\xff"), lz4End), "", ErrCorrupt, "pass its end"},
		{"blocks of 16 KiB", frameOf(lz4Plain, 3<<4, "", lz4End), "", ErrCorrupt, "blocks 0x30"},
		{"reserved bits of the blocks", frameOf(lz4Plain, 4<<4|1, "", lz4End), "", ErrCorrupt, "blocks 0x41"},
		{"a reserved flag", frameOf(lz4Plain|lz4Reserved, 4<<4, "", lz4End), "", ErrCorrupt, "flags 0x62"},
		{"another version", frameOf(2<<6, 4<<4, "", lz4End), "", ErrCorrupt, "flags 0x80"},
		{"a dictionary", frameOf(lz4Plain|lz4Dictionary, 4<<4, "name", lz4End), "", errors.ErrUnsupported, "needs a dictionary"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := unpack(t, "lz4", tt.file, Limits{Size: AnySize})
			if !errors.Is(err, tt.err) || tt.err == nil && string(got) != tt.want {
				t.Fatalf("%q, %v, want %q, %v", got, err, tt.want, tt.err)
			}
			if tt.err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q in it", err, tt.says)
			}
		})
	}
}

// TestLZ4History gives blocks that refer to as much as they may.
func TestLZ4History(t *testing.T) {
	first := content(64 << 10)
	far := "\x0f\xff\xff" + strings.Repeat("\xff", 10) + "\x00\x00" // 2,569 bytes from 65,535 back
	file := frameOf(1<<6, 4<<4, "", blockOf(lz4Stored, string(first)), strings.Repeat(blockOf(0, far), 30), lz4End)
	want := bytes.Clone(first)
	for range 30 * 2569 {
		want = append(want, want[len(want)-65535])
	}
	got, err := unpack(t, "lz4", file, Limits{Size: int64(len(want))})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(want))
	}
}

// FuzzLZ4Block holds the decoder of blocks to another one, which also takes
// blocks that end with a match.
func FuzzLZ4Block(f *testing.F) {
	for _, b := range [][]byte{[]byte("x"), []byte(fox), content(3000), words(7000), make([]byte, 5000)} {
		packed := make([]byte, lz4.CompressBlockBound(len(b)))
		n, err := lz4.CompressBlock(b, packed, nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed[:n], 0)
		f.Add(packed[:n], 1000)
	}
	const room = 8 << 10
	before := content(room)
	f.Fuzz(func(t *testing.T, src []byte, start int) {
		if len(src) == 0 {
			return // no frame has such a block
		}
		start = min(max(start, 0), room)
		history := before[:start]
		got := append(bytes.Clone(history), make([]byte, room)...)
		n, err := unpackLZ4(got, start, src)
		want := make([]byte, room)
		m, wantErr := lz4.UncompressBlockWithDict(src, want, history)
		switch {
		case err == nil && (wantErr != nil || !bytes.Equal(got[start:n], want[:m])):
			t.Errorf("gave %d bytes, %v; the other gave %d, %v", n-start, err, m, wantErr)
		case err != nil && !errors.As(err, new(*fault)):
			t.Errorf("error %v", err)
		case !bytes.Equal(got[:start], history):
			t.Error("the history was changed")
		}
	})
}
