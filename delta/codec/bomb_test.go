package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"runtime"
	"testing"

	"github.com/ulikunitz/xz"
)

// allocated is how many bytes were ever allocated.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}

// TestBombs gives files of some kilobytes that unpack to far more than the
// caller wants, or declare to.
func TestBombs(t *testing.T) {
	zeros := make([]byte, 32<<20)
	var run []byte // a frame of 128 KiB from each four bytes, 1 GiB in all
	run = append(run, "\x28\xb5\x2f\xfd\x00\x38"...)
	for range 8 << 10 {
		run = append(run, 1<<1, 0, 0x10, 0)
	}
	xzHead := pack(t, "xz", []byte(fox))
	for _, tt := range []struct {
		name, codec string
		file        []byte
	}{
		{"a run", "zstd", run},
		{"32 MiB of zeros", "zstd", pack(t, "zstd", zeros)},
		{"32 MiB of zeros", "gzip", pack(t, "gzip", zeros)},
		{"1 GiB of zeros in members", "gzip", bytes.Repeat(pack(t, "gzip", zeros), 32)},
		{"32 MiB of zeros", "xz", pack(t, "xz", zeros)},
		{"32 MiB of zeros", "lz4", pack(t, "lz4", zeros)},
		{"1.4 GiB of zeros in streams", "bzip2", bytes.Repeat(unhex(t, bzip2Zeros), 32)},
	} {
		for _, limits := range []Limits{{Size: AnySize, Ratio: 20}, {Size: AnySize, Max: 2 << 20}, {Size: 2 << 20}} {
			before := allocated()
			r, err := lookup(t, tt.codec).NewReader(t.Context(), bytes.NewReader(tt.file), limits)
			var n int64
			if err == nil {
				n, err = io.Copy(io.Discard, r)
				r.Close()
			}
			got := allocated() - before
			t.Logf("%s, %s: file of %d bytes, limits %+v: %d bytes came out, %d were allocated, %v", tt.codec, tt.name, len(tt.file), limits, n, got, err)
			want := ErrTooLarge
			if limits.Size != AnySize {
				want = ErrCorrupt
			}
			if !errors.Is(err, want) || n > 4<<20+20*int64(len(tt.file)) || got > 20<<20 {
				t.Errorf("%s, %s with %+v: %d bytes came out, %d were allocated, %v, want %v", tt.codec, tt.name, limits, n, got, err, want)
			}
		}
	}
	// Heads that declare much.
	dictionary := bytes.Clone(xzHead)
	blockHead := dictionary[12 : 12+4*(int(dictionary[12])+1)]
	i := bytes.IndexByte(blockHead, xzLZMA2)
	blockHead[i+2] = 40
	putCRC(blockHead)
	for _, tt := range []struct {
		name, codec string
		file        []byte
	}{
		{"a window of 512 MiB", "zstd", []byte("\x28\xb5\x2f\xfd\x00\x98\x01\x00\x00")},
		{"a window of 3.75 TiB", "zstd", []byte("\x28\xb5\x2f\xfd\x00\xff\x01\x00\x00")},
		{"one segment of 1 EiB", "zstd", []byte("\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x00\x00\x00\x10\x01\x00\x00")},
		{"the same behind a small frame", "zstd", append(pack(t, "zstd", []byte(fox)), "\x28\xb5\x2f\xfd\x00\x98\x01\x00\x00"...)},
		{"a dictionary of 4 GiB", "xz", dictionary},
	} {
		before := allocated()
		_, err := unpack(t, tt.codec, tt.file, Limits{Size: AnySize})
		got := allocated() - before
		t.Logf("%s, %s: %d bytes were allocated, %v", tt.codec, tt.name, got, err)
		if !errors.Is(err, ErrTooLarge) || got > 4<<20 {
			t.Errorf("%s, %s: %d bytes were allocated, %v, want ErrTooLarge", tt.codec, tt.name, got, err)
		}
	}
	// A dictionary is not larger than what may come out of it.
	before := allocated()
	got, err := unpack(t, "xz", dictionary, Limits{Size: int64(len(fox))})
	if n := allocated() - before; err != nil || string(got) != fox || n > 1<<20 {
		t.Errorf("a dictionary of 4 GiB for %d bytes: %q, %v, %d bytes were allocated", len(fox), got, err, n)
	}
}

// TestTinyBlocks gives blocks that each want a dictionary of 8 MiB for a few
// bytes: clearing them would take longer than anything else.
func TestTinyBlocks(t *testing.T) {
	var b bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 8 << 20, BlockSize: 1}.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := unpack(t, "xz", b.Bytes(), Limits{Size: AnySize}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("100 dictionaries: %v, want ErrTooLarge", err)
	}
	if got, err := unpack(t, "xz", b.Bytes(), Limits{Size: 100}); err != nil || len(got) != 100 {
		t.Errorf("with the size known: %d bytes, %v", len(got), err)
	}
}

// TestDamageBehindTheEnd gives a file in which a byte too many comes out
// together with the error about it.
func TestDamageBehindTheEnd(t *testing.T) {
	for name, file := range map[string]string{
		"gzip":  "\x1f\x8b\b\x000000000)\x00\xd6\xff000000000000000000000000000000000000000000)\x00\xd6\xff0",
		"bzip2": "BZh11AY&SY0000\x00\x00\x111 \x00   7770 \x00a18\x00\x03aA0100000000002",
	} {
		for size := range int64(45) {
			got, err := unpack(t, name, []byte(file), Limits{Size: size})
			if !errors.Is(err, ErrCorrupt) || int64(len(got)) > size {
				t.Errorf("%s, size %d: %d bytes, %v, want ErrCorrupt", name, size, len(got), err)
			}
		}
	}
}

// putCRC renews the checksum at the end of the head of a block.
func putCRC(head []byte) {
	body := head[:len(head)-4]
	binary.LittleEndian.PutUint32(head[len(body):], crc32.ChecksumIEEE(body))
}

// TestMemory holds what decoding allocates to what the package says that it
// needs: in all, garbage included, but for xz, whose library leaves garbage
// behind at each chunk; there it is what is alive half-way.
func TestMemory(t *testing.T) {
	want := content(6 << 20)
	for _, tt := range []struct {
		codec string
		need  int64
	}{
		{"gzip", gzipMemory},
		{"zstd", zstdOverhead + 8<<20},
		{"xz", xzOverhead + 1<<20},
		{"lz4", lz4Overhead + 8<<20},
	} {
		file := pack(t, tt.codec, want)
		c := lookup(t, tt.codec)
		limits := Limits{Size: int64(len(want)), Memory: tt.need}
		buf := make([]byte, 32<<10)
		alive() // the second time, pools of the library are empty too
		aliveBefore, before := alive(), allocated()
		r, err := c.NewReader(t.Context(), bytes.NewReader(file), limits)
		if err != nil {
			t.Fatal(err)
		}
		var n, held int64
		for n < int64(len(want)) {
			m, err := r.Read(buf)
			if n += int64(m); err != nil {
				t.Fatal(err)
			}
			if tt.codec == "xz" && held == 0 && n > int64(len(want))/2 {
				held = alive() - aliveBefore
			}
		}
		if tt.codec != "xz" {
			held = allocated() - before
		}
		t.Logf("%s: %d to %d bytes, held %d, needs %d", tt.codec, len(file), n, held, tt.need)
		if held > tt.need {
			t.Errorf("%s: held %d bytes, want %d at most", tt.codec, held, tt.need)
		}
		r.Close()
		limits.Memory--
		if _, err := c.NewReader(t.Context(), bytes.NewReader(file), limits); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: with one byte less: %v, want ErrTooLarge", tt.codec, err)
		}
	}
}

// alive is how many bytes of the heap are in use.
func alive() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
