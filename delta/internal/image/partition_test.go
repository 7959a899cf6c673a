package image

import (
	"slices"
	"testing"
)

func mbrEntryAt(b []byte, table, i int, kind byte, first, n uint32) {
	s := b[table*sector:][:sector]
	little.PutUint16(s[mbrMagicAt:], mbrMagic)
	e := s[mbrEntries+mbrEntry*i:]
	e[4] = kind
	little.PutUint32(e[8:], first)
	little.PutUint32(e[12:], n)
}

// gptTable writes a GPT for sectors of size bytes, with its protective MBR.
func gptTable(b []byte, size int64, parts ...Extent) {
	mbrEntryAt(b, 0, 0, typeGPT, 1, 1<<32-1)
	h := b[size:]
	copy(h, gptMagic)
	little.PutUint64(h[72:], 2)
	little.PutUint32(h[80:], uint32(len(parts)))
	little.PutUint32(h[84:], gptEntry)
	for i, p := range parts {
		e := b[2*size+int64(i)*gptEntry:]
		e[0] = 1 // any type will do
		little.PutUint64(e[32:], uint64(p.At/size))
		little.PutUint64(e[40:], uint64(p.end()/size-1))
	}
}

func TestPartitions(t *testing.T) {
	const k = 1 << 10
	for _, tt := range []struct {
		name string
		make func(b []byte)
		want []Extent
	}{
		{"no table", func(b []byte) {}, nil},
		{"an MBR", func(b []byte) {
			mbrEntryAt(b, 0, 2, 0x83, 16, 128)
			mbrEntryAt(b, 0, 0, 0x0C, 144, 20)
		}, []Extent{{8 * k, 64 * k}, {72 * k, 10 * k}}},
		{"empty entries", func(b []byte) {
			mbrEntryAt(b, 0, 0, 0, 16, 128)
			mbrEntryAt(b, 0, 1, 0x83, 0, 128)
			mbrEntryAt(b, 0, 2, 0x83, 16, 0)
		}, nil},
		{"beyond the end", func(b []byte) {
			mbrEntryAt(b, 0, 0, 0x83, 512, 128)
			mbrEntryAt(b, 0, 1, 0x83, 500, 1<<32-1)
			mbrEntryAt(b, 0, 2, 0x83, 1<<32-1, 1<<32-1)
		}, []Extent{{250 * k, 6 * k}}},
		{"overlapping", func(b []byte) {
			mbrEntryAt(b, 0, 0, 0x83, 20, 10)
			mbrEntryAt(b, 0, 1, 0x83, 16, 8)
			mbrEntryAt(b, 0, 2, 0x83, 24, 8)
		}, []Extent{{8 * k, 4 * k}, {12 * k, 4 * k}}},
		{"logical ones", func(b []byte) {
			mbrEntryAt(b, 0, 0, 0x83, 2, 8)
			mbrEntryAt(b, 0, 3, 0x0F, 100, 300)
			mbrEntryAt(b, 100, 0, 0x83, 10, 20)
			mbrEntryAt(b, 100, 1, 0x05, 100, 50) // relative to the first table
			mbrEntryAt(b, 200, 0, 0x83, 10, 20)  // relative to its own
			mbrEntryAt(b, 200, 1, 0x05, 200, 50)
			mbrEntryAt(b, 300, 0, 0x83, 10, 20)
		}, []Extent{{1 * k, 4 * k}, {55 * k, 10 * k}, {105 * k, 10 * k}, {155 * k, 10 * k}}},
		{"a chain that leads nowhere", func(b []byte) {
			mbrEntryAt(b, 0, 0, 0x05, 100, 300)
			mbrEntryAt(b, 100, 0, 0x83, 10, 20)
			mbrEntryAt(b, 100, 1, 0x05, 1<<32-1, 50)
		}, []Extent{{55 * k, 10 * k}}},
		{"a GPT", func(b []byte) { gptTable(b, 512, Extent{100 * k, 20 * k}, Extent{40 * k, 4 * k}) },
			[]Extent{{40 * k, 4 * k}, {100 * k, 20 * k}}},
		{"a GPT of large sectors", func(b []byte) { gptTable(b, 4096, Extent{100 * k, 20 * k}) }, []Extent{{100 * k, 20 * k}}},
		{"a GPT beside an MBR", func(b []byte) {
			gptTable(b, 512, Extent{100 * k, 20 * k})
			mbrEntryAt(b, 0, 1, 0x83, 300, 20)
		}, []Extent{{100 * k, 20 * k}}},
		{"a GPT that is gone", func(b []byte) {
			gptTable(b, 512, Extent{100 * k, 20 * k})
			mbrEntryAt(b, 0, 1, 0x83, 300, 20)
			b[512]++
		}, []Extent{{150 * k, 10 * k}}},
		{"a GPT with unused entries", func(b []byte) {
			gptTable(b, 512, Extent{100 * k, 20 * k}, Extent{40 * k, 4 * k}, Extent{60 * k, 4 * k})
			b[1024] = 0
			little.PutUint64(b[1024+128+40:], 79) // ends before it begins
		}, []Extent{{60 * k, 4 * k}}},
		{"a GPT with entries of no size", func(b []byte) {
			gptTable(b, 512, Extent{100 * k, 20 * k})
			little.PutUint32(b[512+84:], 0)
		}, nil},
		{"a GPT far away", func(b []byte) {
			gptTable(b, 512, Extent{100 * k, 20 * k})
			little.PutUint64(b[512+72:], 1<<63)
		}, nil},
		{"a GPT with a partition of all sectors", func(b []byte) {
			gptTable(b, 512, Extent{100 * k, 20 * k})
			little.PutUint64(b[1024+40:], 1<<64-1)
		}, []Extent{{100 * k, 156 * k}}},
		{"a GPT with entries without end", func(b []byte) {
			gptTable(b, 512, Extent{100 * k, 20 * k})
			little.PutUint32(b[512+80:], 1<<32-1)
			little.PutUint32(b[512+84:], 1<<32-1)
		}, []Extent{{100 * k, 20 * k}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := make([]byte, 256*k)
			tt.make(b)
			if got := partitions(b); !slices.Equal(got, tt.want) {
				t.Errorf("partitions = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestFindInPartitions(t *testing.T) {
	b := make([]byte, 256<<10)
	gptTable(b, 512, Extent{160 << 10, 64 << 10}, Extent{64 << 10, 64 << 10}, Extent{32 << 10, 32 << 10})
	copy(b[64<<10:], tiny(1))
	copy(b[160<<10:], tiny(2))
	want := [][]Extent{{{84 << 10, 1500}}, {{180 << 10, 1500}}, {{182 << 10, 1500}}}
	if got := slices.Collect(Find(b, 1)); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("files = %v, want %v", got, want)
	}
	if got := slices.Collect(Ext4(b, 1)); len(got) != 0 {
		t.Errorf("Ext4 of a disk = %v, want nothing", got)
	}
	for range Find(b, 1) {
		break // a second call of yield would panic
	}
}

func TestFindInPartitionsOfRealFileSystems(t *testing.T) {
	d := newDisk(t)
	d.add("file", 300<<10)
	d.format("4M")
	disk := make([]byte, 16<<20)
	copy(disk[1<<20:], d.image())
	d.add("file of the second", 200<<10)
	d.file("file", nil)
	d.format("4M", "-t", "ext2")
	copy(disk[8<<20:], d.image())
	gptTable(disk, 512, Extent{1 << 20, 4 << 20}, Extent{8 << 20, 4 << 20})
	d.verify(disk, 64<<10)
}
