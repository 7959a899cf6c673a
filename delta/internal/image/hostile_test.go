package image

import (
	"slices"
	"testing"
)

// A small file system made by hand: blocks of 1 KiB, superblock in 1,
// descriptors in 2, inodes from 3 on, file i in block 20+2i and 21+2i.
const (
	tinyInodes = 3
	tinyData   = 20
)

func tiny(files int) []byte {
	b := make([]byte, 64<<10)
	super(b, 64, 8192, 128)
	little.PutUint32(b[2048+8:], tinyInodes)
	for i := range files {
		inode := tinyInode(b, i)
		regular(inode, 1500)
		treeNode(inode[0x28:], 0, [3]uint64{0, 2, uint64(tinyData + 2*i)})
	}
	return b
}

func super(b []byte, blocks, groupBlocks, groupInodes uint32) {
	s := b[superAt:]
	for at, v := range map[int]uint32{0x4: blocks, 0x14: 1, 0x20: groupBlocks, 0x28: groupInodes, 0x4C: 1, 0x54: 11, 0x58: 128, 0x60: 0x42, 0x64: roSparseSuper} {
		little.PutUint32(s[at:], v)
	}
	little.PutUint16(s[0x38:], superMagic)
}

func tinyInode(b []byte, i int) []byte { return b[tinyInodes*1024+(10+i)*128:][:128] }

func regular(inode []byte, size uint64) {
	little.PutUint16(inode, modeRegular|0o644)
	little.PutUint32(inode[0x4:], uint32(size))
	little.PutUint32(inode[0x6C:], uint32(size>>32))
	little.PutUint16(inode[0x1A:], 1)
	little.PutUint32(inode[0x20:], flagExtents)
}

// treeNode writes a node; an entry is the block of the file, the number of
// blocks, and the place.
func treeNode(b []byte, depth uint16, entries ...[3]uint64) {
	for i, v := range []uint16{treeMagic, uint16(len(entries)), uint16(len(entries)), depth} {
		little.PutUint16(b[2*i:], v)
	}
	for i, e := range entries {
		at := b[treeEntry*(i+1):]
		little.PutUint32(at, uint32(e[0]))
		if depth > 0 {
			little.PutUint32(at[4:], uint32(e[2]))
			little.PutUint16(at[8:], uint16(e[2]>>32))
			continue
		}
		little.PutUint16(at[4:], uint16(e[1]))
		little.PutUint16(at[6:], uint16(e[2]>>32))
		little.PutUint32(at[8:], uint32(e[2]))
	}
}

func TestTree(t *testing.T) {
	at := func(block, length int64) Extent { return Extent{block << 10, length} }
	hole := func(length int64) Extent { return Extent{Hole, length} }
	for _, tt := range []struct {
		name string
		make func(b, root []byte)
		want []Extent // with a hole: of Sparse alone
	}{
		{"one extent", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 3, 40}) }, []Extent{at(40, 2500)}},
		{"longer than the file", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 9, 40}) }, []Extent{at(40, 2500)}},
		{"longer than the file and the image", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 32768, 61}) }, []Extent{at(61, 2500)}},
		{"neighbours", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 1, 40}, [3]uint64{1, 2, 41}) }, []Extent{at(40, 2500)}},
		{"backwards", func(b, root []byte) {
			treeNode(root, 0, [3]uint64{0, 1, 42}, [3]uint64{1, 1, 41}, [3]uint64{2, 1, 40})
		}, []Extent{at(42, 1024), at(41, 1024), at(40, 452)}},
		{"five levels", func(b, root []byte) {
			for depth := range uint16(5) {
				treeNode(b[(50+int(depth))<<10:], depth, [3]uint64{0, 3, 49 + uint64(depth)})
			}
			treeNode(b[50<<10:], 0, [3]uint64{0, 3, 40})
			treeNode(root, 5, [3]uint64{0, 0, 54})
		}, []Extent{at(40, 2500)}},
		{"six levels", func(b, root []byte) {
			for depth := range uint16(6) {
				treeNode(b[(50+int(depth))<<10:], depth, [3]uint64{0, 3, 49 + uint64(depth)})
			}
			treeNode(b[50<<10:], 0, [3]uint64{0, 3, 40})
			treeNode(root, 6, [3]uint64{0, 0, 55})
		}, nil},
		{"a level left out", func(b, root []byte) {
			treeNode(b[50<<10:], 0, [3]uint64{0, 3, 40})
			treeNode(root, 2, [3]uint64{0, 0, 50})
		}, nil},
		{"a node that is its own child", func(b, root []byte) {
			treeNode(b[50<<10:], 1, [3]uint64{0, 0, 50})
			treeNode(root, 2, [3]uint64{0, 0, 50})
		}, nil},
		{"no magic number", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 3, 40}); root[0]++ }, nil},
		{"more entries than fit", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 1, 40}); root[2] = 5 }, nil},
		{"no entries", func(b, root []byte) { treeNode(root, 0) }, nil},
		{"a gap", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 1, 40}, [3]uint64{2, 1, 42}) }, []Extent{at(40, 1024), hole(1024), at(42, 452)}},
		{"a gap at the beginning", func(b, root []byte) { treeNode(root, 0, [3]uint64{1, 3, 40}) }, []Extent{hole(1024), at(40, 1476)}},
		{"a gap before the next block of the image", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 1, 40}, [3]uint64{2, 1, 41}) }, []Extent{at(40, 1024), hole(1024), at(41, 452)}},
		{"a gap to beyond the end", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 1, 40}, [3]uint64{9, 1, 40}) }, []Extent{at(40, 1024), hole(1476)}},
		{"back to the beginning", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 2, 40}, [3]uint64{0, 3, 43}) }, nil},
		{"too short", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 2, 40}) }, []Extent{at(40, 2048), hole(452)}},
		{"an extent of nothing", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 0, 40}, [3]uint64{0, 3, 40}) }, nil},
		{"never written", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 32768 + 3, 40}) }, nil},
		{"never written in part", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 1, 40}, [3]uint64{1, 32768 + 2, 41}) }, []Extent{at(40, 1024), hole(1476)}},
		{"a gap before what was never written", func(b, root []byte) {
			treeNode(root, 0, [3]uint64{1, 32768 + 1, 41}, [3]uint64{2, 1, 40})
		}, []Extent{hole(2048), at(40, 452)}},
		{"block 0", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 3, 0}) }, nil},
		{"beyond the image", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 3, 62}) }, nil},
		{"far beyond the image", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 3, 1<<48 - 1}) }, nil},
		{"a block twice", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 2, 40}, [3]uint64{2, 1, 40}) }, nil},
		{"a block of another file", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 3, 21}) }, nil},
		{"the inodes", func(b, root []byte) { treeNode(root, 0, [3]uint64{0, 3, tinyInodes}) }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tiny(2)
			regular(tinyInode(b, 1), 2500)
			tt.make(b, tinyInode(b, 1)[0x28:])
			check := func(got [][]Extent, with bool) {
				t.Helper()
				want := [][]Extent{{at(20, 1500)}}
				if with {
					want = append(want, tt.want)
				}
				if !slices.EqualFunc(got, want, slices.Equal) {
					t.Errorf("files = %v, want %v", got, want)
				}
				checkAll(t, b, 1, got)
			}
			isHole := func(x Extent) bool { return x.At == Hole }
			check(slices.Collect(Ext4(b, 1)), tt.want != nil && !slices.ContainsFunc(tt.want, isHole))
			check(slices.Collect(Sparse(b, 1)), tt.want != nil)
		})
	}
}

func TestSuperblock(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   int
		to   uint32
		want int
	}{
		{"as it is", 0x28, 128, 4},
		{"no magic number", 0x38, 0xEF54, 0},
		{"blocks of 128 KiB", 0x18, 7, 0},
		{"blocks of 2^34 bytes", 0x18, 24, 0},
		{"no blocks", 0x4, 0, 0},
		{"no blocks but the first", 0x4, 1, 0},
		{"more blocks than there are", 0x4, 1<<32 - 1, 4},
		{"no blocks in a group", 0x20, 0, 0},
		{"too many blocks in a group", 0x20, 8193, 0},
		{"no inodes in a group", 0x28, 0, 0},
		{"too many inodes in a group", 0x28, 8193, 0},
		{"inodes that do not fit", 0x28, 8192, 0},
		{"no size of inodes", 0x58, 0, 0},
		{"inodes of 64 bytes", 0x58, 64, 0},
		{"inodes of 192 bytes", 0x58, 192, 0},
		{"inodes larger than blocks", 0x58, 2048, 0},
		{"descriptors of no bytes", 0x60, 0xC2, 0},
		{"a feature that is not known", 0x60, 0x80000042, 0},
		{"the journal of another file system", 0x60, 0x4A, 0},
		{"compressed files", 0x60, 0x43, 0},
		{"bigalloc", 0x64, roBigalloc, 0},
		{"first inode far away", 0x54, 1 << 31, 0},
		{"first block far away", 0x14, 1<<32 - 1, 0},
		{"before features", 0x4C, 0, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tiny(4)
			little.PutUint32(b[superAt+tt.at:], tt.to)
			got := slices.Collect(Ext4(b, 1))
			if len(got) != tt.want {
				t.Errorf("%d files, want %d", len(got), tt.want)
			}
		})
	}
}

func TestUnusedInodes(t *testing.T) {
	for _, tt := range []struct {
		name          string
		sums          uint32 // feature
		flags, unused uint16
		want          int
	}{
		{"the last two", roMetadataSum, 0, 128 - 12, 2},
		{"the last two, old sums", roGroupSum, 0, 128 - 12, 2},
		{"all", roMetadataSum, 0, 128, 0},
		{"more than all", roMetadataSum, 0, 1<<16 - 1, 0},
		{"a group without inodes", roMetadataSum, inodeUninit, 0, 0},
		{"nothing is said without sums", 0, inodeUninit, 128, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tiny(4)
			little.PutUint32(b[superAt+0x64:], tt.sums)
			little.PutUint16(b[2048+0x12:], tt.flags)
			little.PutUint16(b[2048+0x1C:], tt.unused)
			if got := slices.Collect(Ext4(b, 1)); len(got) != tt.want {
				t.Errorf("%d files, want %d", len(got), tt.want)
			}
		})
	}
}

// TestManyUses has images whose parts are used so often that following all of
// them would take years.
func TestManyUses(t *testing.T) {
	const blocks = 16 << 10
	t.Run("one tree in all inodes", func(t *testing.T) {
		b := make([]byte, blocks<<10)
		super(b, blocks, 8192, 8192)
		for group := range 2 {
			table := 100 + 1024*group
			little.PutUint32(b[2048+32*group+8:], uint32(table))
			for i := range 8192 {
				inode := b[table<<10+128*i:][:128]
				regular(inode, blocks<<9)
				treeNode(inode[0x28:], 3, [3]uint64{0, 0, 9000}, [3]uint64{0, 0, 9000}, [3]uint64{0, 0, 9000}, [3]uint64{0, 0, 9000})
			}
		}
		var down, leaf [84][3]uint64
		for i := range down {
			down[i] = [3]uint64{0, 0, 9001}
			leaf[i] = [3]uint64{uint64(i), 1, uint64(10000 + i)}
		}
		treeNode(b[9000<<10:], 2, down[:]...)
		for i := range down {
			down[i][2] = 9002
		}
		treeNode(b[9001<<10:], 1, down[:]...)
		treeNode(b[9002<<10:], 0, leaf[:]...)
		if got := slices.Collect(Ext4(b, 1)); len(got) != 0 {
			t.Errorf("%d files", len(got))
		}
	})
	t.Run("one table in all groups", func(t *testing.T) {
		b := make([]byte, blocks<<10)
		super(b, blocks, 1, 8192) // 16,383 groups
		for group := range blocks - 1 {
			little.PutUint32(b[2048+32*group+8:], 9000)
		}
		for i := range 8192 {
			regular(b[9000<<10+128*i:], 2000)
			treeNode(b[9000<<10+128*i+0x28:], 0, [3]uint64{0, 2, uint64(600 + 2*(i%4000))})
		}
		got := slices.Collect(Ext4(b, 1))
		if len(got) != 4000 { // inodes from 11 on, and each of the places once
			t.Errorf("%d files, want 4000", len(got))
		}
		checkAll(t, b, 1, got)
	})
	t.Run("groups without end", func(t *testing.T) {
		b := tiny(4)
		little.PutUint32(b[superAt+0x4:], 1<<32-1)
		little.PutUint32(b[superAt+0x20:], 1)
		little.PutUint32(b[superAt+0x60:], 0x42|incompat64bit|incompatMetaBG)
		little.PutUint16(b[superAt+0xFE:], 32)
		little.PutUint32(b[superAt+0x150:], 1<<15)
		if got := slices.Collect(Ext4(b, 1)); len(got) > 4 {
			t.Errorf("%d files", len(got))
		}
	})
	t.Run("one partition in all entries", func(t *testing.T) {
		b := make([]byte, 1<<20)
		gptTable(b, 512, slices.Repeat([]Extent{{512 << 10, 64 << 10}}, maxPartitions)...)
		copy(b[512<<10:], tiny(4))
		if got := slices.Collect(Find(b, 1)); len(got) != 4 {
			t.Errorf("%d files, want 4", len(got))
		}
	})
	t.Run("a chain of partitions in a circle", func(t *testing.T) {
		b := make([]byte, 1<<20)
		mbrEntryAt(b, 0, 0, 0x05, 100, 1900)
		mbrEntryAt(b, 100, 0, 0x83, 924, 128)
		mbrEntryAt(b, 100, 1, 0x05, 0, 128)
		copy(b[512<<10:], tiny(4))
		if got := slices.Collect(Find(b, 1)); len(got) != 4 {
			t.Errorf("%d files, want 4", len(got))
		}
	})
}

// seeds are images with all that can be met in one.
func seeds() [][]byte {
	files := tiny(3)
	for depth := range uint16(5) {
		treeNode(files[(50+int(depth))<<10:], depth, [3]uint64{0, 3, 49 + uint64(depth)})
	}
	treeNode(files[50<<10:], 0, [3]uint64{0, 1, 40}, [3]uint64{1, 1, 42})
	treeNode(tinyInode(files, 1)[0x28:], 5, [3]uint64{0, 0, 54})
	mapped := tinyInode(files, 2)
	regular(mapped, 14<<10)
	little.PutUint32(mapped[0x20:], 0)
	for i := range 13 {
		little.PutUint32(mapped[0x28+4*i:], uint32(25+i))
	}
	little.PutUint32(files[37<<10:], 45)
	little.PutUint32(files[37<<10+4:], 46)

	meta := tiny(4)
	little.PutUint32(meta[superAt+0x20:], 16) // blocks of a group
	little.PutUint32(meta[superAt+0x60:], 0x42|incompatMetaBG|incompat64bit)
	little.PutUint16(meta[superAt+0xFE:], 64)

	table := make([]byte, 80<<10)
	gptTable(table, 512, Extent{8 << 10, 64 << 10})
	copy(table[8<<10:], tiny(2))

	chain := make([]byte, 80<<10)
	mbrEntryAt(chain, 0, 0, 0x83, 16, 128)
	mbrEntryAt(chain, 0, 1, 0x05, 8, 150)
	mbrEntryAt(chain, 8, 0, 0x83, 8, 128)
	mbrEntryAt(chain, 8, 1, 0x05, 150, 2)
	copy(chain[8<<10:], tiny(2))
	return [][]byte{files, meta, table, chain}
}

func TestSeeds(t *testing.T) {
	for i, want := range []int{3, 4, 2, 2} {
		if got := slices.Collect(Sparse(seeds()[i], 1)); len(got) != want {
			t.Errorf("image %d has files %v, want %d", i, got, want)
		}
	}
}

func checkAny(t *testing.T, image []byte) {
	for _, least := range []int64{-1, 2000} {
		files := slices.Collect(Sparse(image, least))
		checkAll(t, image, least, files)
		files = slices.DeleteFunc(files, func(file []Extent) bool {
			return slices.ContainsFunc(file, func(x Extent) bool { return x.At == Hole })
		})
		if got := slices.Collect(Find(image, least)); !slices.EqualFunc(got, files, slices.Equal) {
			t.Fatalf("Find gives %v, and Sparse %v without holes", got, files)
		}
	}
}

func FuzzFind(f *testing.F) {
	for _, b := range seeds() {
		f.Add(b)
	}
	f.Fuzz(checkAny)
}

// FuzzDamage changes words of the tables and leaves the rest alone.
func FuzzDamage(f *testing.F) {
	f.Add(byte(0), []byte{0, 8, 6, 0, 0, 0})
	f.Add(byte(1), []byte{1, 0, 50, 0, 255, 255, 2, 0, 20, 1, 0, 0})
	f.Add(byte(3), []byte{0, 0, 1, 2, 3, 4})
	images := seeds()
	tables := [][]int{ // places that have anything in them
		{1 << 10, 2 << 10, 4 << 10, 37 << 10, 50 << 10, 51 << 10, 52 << 10, 53 << 10, 54 << 10},
		{1 << 10, 2 << 10, 3 << 10, 4 << 10, 17 << 10, 33 << 10},
		{0, 512, 1 << 10, 9 << 10, 10 << 10, 12 << 10},
		{0, 256, 4<<10 + 256, 9 << 10, 10 << 10, 12 << 10},
	}
	f.Fuzz(func(t *testing.T, which byte, changes []byte) {
		i := int(which) % len(images)
		image := slices.Clone(images[i])
		for ; len(changes) >= 4; changes = changes[4:] {
			at := tables[i][int(changes[0])%len(tables[i])] + 2*int(changes[1])
			copy(image[at:], changes[2:4])
		}
		checkAny(t, image)
	})
}
