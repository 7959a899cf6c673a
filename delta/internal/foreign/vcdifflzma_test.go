package foreign

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"
)

// blocks is a text of which much comes again within 16 KiB.
func blocks() []byte {
	var b []byte
	for i := range 40 {
		b = append(b, "0123456789abcdefghijklmnopqrstuvwxyz"[i%20:i%20+9]...)
		b = append(b, byte(i))
		for range 25 {
			from := i * 7 % len(b)
			b = append(b, b[from:min(from+40, len(b))]...)
		}
	}
	return b
}

// threeWindows is what xdelta3 3.0.11 makes of blocks with -W 16384 -A and
// without an old file. Of each of its streams there are chunks in all windows,
// stored, compressed, and compressed with what the chunk before has left.
const threeWindows = "d6c3c4000102048231818000074b7c5f95e6c8512ffd377a585a000000ff12d941020021010c0000008f98419c01002e303132333435363738003901610262036304640535650666076708356809690a6a0b6b0c336c0d6d0e6e0f33346f1069fd377a585a000000ff12d941020021010c0000008f98419ce00068005c5d00058561082acff6bd9dfc1e2ecbe7000d3d65e5b435a3cadae69517567f7aa44bf396dc81e49b974b22c439f298a32581e9f9e5c99159f00c1e8cfa7440782a194df8fefabf01fb03e76812fbc4bb03c9e34223aa4b5f763f4de8000043fd377a585a000000ff12d941020021010c0000008f98419c0100420001070a8737048742300187452d088748362a068741310287442e098747092b97558771876b0c8766901f98078771874a87718f658771ae877187728771a73c87718404816c81800007395e4a4bb4c7a1350200343637380030313233343568696a6b6c6d6e6f701171127213143915611662176318641935651a661b671c35681d3334691e6a1f6b207180007000570085735d845057aaff06a897b5a5376782ebdcc185e351e11a48bb602442259b57c9e4639b38fc82a1e7efd8880b6d711f0ec06272927f70b566f35216d0a02ea5192ce8442bbeaf0c1cfd10f13ac4feed0a113fc383220046020045000306855b0a856609820c07855f040487758210018565820d08856809820a0585618211028564820e8d5a87718567098771ea8771877387719f4a87719d408771b287719755048109bb1e07233626da3778ee20c0001f001b5d0098d83c5882e66358c58db993067900b512b15936575f479a5a5bd03c80003b002f008e0aabbb428e2995db6632b1492eb8b951a0d3daa8ea02a560ca22c415e57918da59c7b2f283e2ebf0932a49afb5bc2202002100090283780684008372038403836f0a840609836c07837f83730484028370018405"

// TestStreamsAcrossWindows goes on with a stream in each window, and damages
// the patch everywhere.
func TestStreamsAcrossWindows(t *testing.T) {
	patch, want := unhex(t, threeWindows), blocks()
	for _, size := range []int64{int64(len(want)), AnySize} {
		got, err := apply(t, Vcdiff, nil, stream(patch), Limits{Size: size})
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("size %d: got %d bytes, %v, want %d", size, len(got), err, len(want))
		}
	}
	damage(t, "three windows", Vcdiff, patch, nil, want, true)
}

// TestDamageTakesNoMemory holds what is allocated for patches that are damaged
// to the same bound as for one that is whole.
func TestDamageTakesNoMemory(t *testing.T) {
	patch := unhex(t, threeWindows)
	size := int64(len(blocks()))
	before := allocated()
	if _, err := apply(t, Vcdiff, nil, stream(patch), Limits{Size: size}); err != nil {
		t.Fatal(err)
	}
	whole, most := allocated()-before, int64(0)
	for i := range patch {
		for _, flip := range []byte{1, 0x80, 0xff} {
			bad := bytes.Clone(patch)
			bad[i] ^= flip
			before := allocated()
			_, _ = apply(t, Vcdiff, nil, stream(bad), Limits{Size: size, Memory: 1 << 20})
			most = max(most, allocated()-before)
		}
	}
	t.Logf("%d bytes were allocated for the whole patch, at most %d for one that is damaged", whole, most)
	if most > whole+1<<20 {
		t.Errorf("%d bytes were allocated for a patch that is damaged, %d for the whole one", most, whole)
	}
}

// xzHeadsOf are the heads of a stream with a dictionary of that size.
func xzHeadsOf(bits byte) []byte {
	block := append([]byte(xzBlockHead), bits, 0, 0, 0)
	return slices.Concat([]byte(xzStreamHead), block, binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(block)))
}

// lzmaWindow is a window that inserts its data, which stands there as given
// and is compressed by the flags.
func lzmaWindow(target int, data []byte) []byte {
	codes := append([]byte{1}, varint(uint64(target))...)
	body := slices.Concat(varint(uint64(target)), []byte{1}, varint(uint64(len(data))), varint(uint64(len(codes))), []byte{0}, data, codes)
	return slices.Concat([]byte{0}, varint(uint64(len(body))), body)
}

// storedChunks holds data as LZMA2 that is not compressed.
func storedChunks(data string, each int) []byte {
	var b []byte
	for i := 0; i < len(data); i += each {
		part := data[i:min(i+each, len(data))]
		kind := byte(2)
		if i == 0 {
			kind = 1
		}
		b = append(binary.BigEndian.AppendUint16(append(b, kind), uint16(len(part)-1)), part...)
	}
	return b
}

func TestHostileLZMA(t *testing.T) {
	head := []byte(vcdiffMagic + "\x00\x01\x02")
	one := func(target int, parts ...[]byte) []byte {
		return slices.Concat(head, lzmaWindow(target, slices.Concat(parts...)))
	}
	text := "some bytes"
	stored, n := storedChunks(text, 64), varint(uint64(len(text)))
	flipped := xzHeadsOf(12)
	flipped[16]++
	for _, tt := range []struct {
		name  string
		patch []byte
		want  error
		says  string
	}{
		{"stored", one(10, n, xzHeadsOf(12), stored), nil, ""},
		{"no size", one(10), ErrCorrupt, "a part of a window ends early"},
		{"half a size", one(10, []byte{0x81}), ErrCorrupt, "a part of a window ends early"},
		{"a size of nothing", one(10, []byte{0}), ErrCorrupt, "0 bytes of data for a window of 10"},
		{"more than the window can need", one(10, varint(21), xzHeadsOf(12), stored), ErrCorrupt, "21 bytes of data for a window of 10"},
		{"2^62 bytes", one(10, varint(1<<62), xzHeadsOf(12), stored), ErrCorrupt, "4611686018427387904 bytes of data"},
		{"half a head", one(10, n, xzHeadsOf(12)[:20]), ErrCorrupt, "a part of a window ends early"},
		{"another magic", one(10, n, make([]byte, 24), stored), ErrCorrupt, "not an xz stream without checksums"},
		{"a damaged head", one(10, n, flipped, stored), ErrCorrupt, "the head of an xz block does not have its checksum"},
		{"a dictionary of 4 GiB", one(10, n, xzHeadsOf(40), stored), ErrCorrupt, "an LZMA2 dictionary of size 40"},
		{"dictionaries of 1 GiB", one(10, n, xzHeadsOf(36), stored), ErrTooLarge, "with an LZMA dictionary of 1073741824 bytes for the data, need 1074"},
		{"dictionaries of 64 MiB", one(10, n, xzHeadsOf(28), stored), ErrTooLarge, "of 67108864 bytes for the data, need 67371068 bytes of memory, the limit is 67108864"},
		{"no chunk", one(10, n, xzHeadsOf(12)), ErrCorrupt, "chunks of 0 bytes, 10 are declared"},
		{"too little", one(10, varint(11), xzHeadsOf(12), stored), ErrCorrupt, "chunks of 10 bytes, 11 are declared"},
		{"too much", one(10, varint(9), xzHeadsOf(12), stored), ErrCorrupt, "chunks of 10 bytes, 9 are declared"},
		{"half a chunk", one(10, n, xzHeadsOf(12), stored[:8]), ErrCorrupt, "an LZMA2 chunk of 13 bytes, 8 are there"},
		{"half the head of a chunk", one(10, n, xzHeadsOf(12), stored[:2]), ErrCorrupt, "are there"},
		{"the end of a stream", one(10, n, xzHeadsOf(12), stored, []byte{0}), ErrCorrupt, "an LZMA2 chunk of kind 0x0"},
		{"a chunk of another kind", one(10, n, xzHeadsOf(12), []byte{3, 0, 0}), ErrCorrupt, "an LZMA2 chunk of kind 0x3"},
		{"properties of 6 MiB", one(10, n, xzHeadsOf(12), []byte{0xe0, 0, 9, 0, 4, 9*5 - 1, 0, 0, 0, 0, 0}), ErrCorrupt, "LZMA2 properties 0x2c"},
		{"properties beyond all", one(10, n, xzHeadsOf(12), []byte{0xe0, 0, 9, 0, 4, 225, 0, 0, 0, 0, 0}), ErrCorrupt, "LZMA2 properties 0xe1"},
		{"no reset at the beginning", one(10, n, xzHeadsOf(12), append([]byte{2}, stored[1:]...)), ErrCorrupt, "LZMA of the data: lzma: unexpected chunk type"},
		{"a chunk that ends early", one(200, varint(200), xzHeadsOf(12), []byte{0xe0, 0, 199, 0, 5, 0x5d, 0, 1, 2, 3, 4, 5}), ErrCorrupt, "LZMA of the data: unexpected EOF"},
		{"a chunk that goes on", one(10, n, xzHeadsOf(12), []byte{0xe0, 0, 9, 0, 30, 0x5d}, make([]byte, 31)), ErrCorrupt, "bytes of a chunk are left over"},
		{"tiny chunks", one(100_000, varint(100_000), xzHeadsOf(12), storedChunks(strings.Repeat("x", 100_000), 1)), ErrCorrupt, "too many LZMA2 chunks for 100000 bytes"},
	} {
		before := allocated()
		got, err := apply(t, Vcdiff, nil, stream(tt.patch), Limits{Size: AnySize})
		n := allocated() - before
		if tt.want == nil && (err != nil || string(got) != text) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
		if tt.want != nil && (!errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || len(got) > 0 || n > 2<<20) {
			t.Errorf("%s: %q came out, %d bytes were allocated, %v, want %v and %q", tt.name, got, n, err, tt.want, tt.says)
		}
	}
}

// TestDictionaryOfASmallFile takes a dictionary no larger than the new file
// can make use of, whatever is declared.
func TestDictionaryOfASmallFile(t *testing.T) {
	text := "some bytes"
	patch := slices.Concat([]byte(vcdiffMagic+"\x00\x01\x02"), lzmaWindow(10, slices.Concat(varint(10), xzHeadsOf(28), storedChunks(text, 64))))
	before := allocated()
	got, err := apply(t, Vcdiff, nil, stream(patch), Limits{Size: 10, Memory: 512 << 10})
	if n := allocated() - before; string(got) != text || err != nil || n > 1<<20 {
		t.Errorf("%q, %v, %d bytes were allocated", got, err, n)
	}
}

// TestRoomOfStreams refuses a part whose stream has no room beside the window.
func TestRoomOfStreams(t *testing.T) {
	text := strings.Repeat("x", 60_000)
	patch := slices.Concat([]byte(vcdiffMagic+"\x00\x01\x02"), lzmaWindow(60_000, slices.Concat(varint(60_000), xzHeadsOf(12), storedChunks(text, 60_000))))
	for _, tt := range []struct {
		memory int64
		want   error
	}{{VcdiffOverhead + 60_000 + 90_100 + lzmaOverhead, ErrTooLarge}, {VcdiffOverhead + 3*60_100 + lzmaOverhead + 256<<10, nil}} {
		r, err := Vcdiff(t.Context(), Files{bytes.NewReader(nil), 0, stream(patch)}, Limits{tt.memory, AnySize})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); !errors.Is(err, tt.want) || tt.want == nil && n != 60_000 {
			t.Errorf("with %d bytes of memory: %d bytes, %v, want %v", tt.memory, n, err, tt.want)
		}
	}
}
