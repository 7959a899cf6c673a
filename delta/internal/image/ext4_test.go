package image

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestFeatures(t *testing.T) {
	for _, tt := range []struct{ name, size, options string }{
		{"the default", "12M", ""},
		{"blocks of 1 KiB", "12M", "-b 1024"},
		{"blocks of 2 KiB", "12M", "-b 2048"},
		{"blocks of 64 KiB", "64M", "-b 65536"},
		{"ext2", "12M", "-t ext2"},
		{"ext2 of blocks of 4 KiB", "12M", "-t ext2 -b 4096"},
		{"ext2 before features", "12M", "-t ext2 -r 0"},
		{"ext3", "12M", "-t ext3"},
		{"block maps in ext4", "12M", "-O ^extent,^64bit"},
		{"inodes of 128 bytes", "12M", "-I 128 -O ^metadata_csum"},
		{"inodes of 1024 bytes", "12M", "-I 1024"},
		{"no 64bit", "12M", "-O ^64bit"},
		{"no flex_bg, many groups", "12M", "-O ^flex_bg -b 1024 -g 1024 -N 300"},
		{"small flex_bg, many groups", "12M", "-G 2 -b 1024 -g 1024 -N 300"},
		{"no sums, many groups", "12M", "-O ^metadata_csum,^uninit_bg -b 1024 -g 1024 -N 300"},
		{"uninit_bg, many groups", "12M", "-O ^metadata_csum,uninit_bg -b 1024 -g 1024 -N 300"},
		{"no sparse_super, many groups", "12M", "-O ^sparse_super,^resize_inode -b 1024 -g 1024 -N 300"},
		{"descriptors in several blocks", "12M", "-b 1024 -g 256 -N 300"},
		{"meta_bg", "12M", "-O meta_bg,^resize_inode -b 1024 -g 512 -N 300"},
		{"meta_bg without 64bit", "12M", "-O meta_bg,^resize_inode,^64bit,^flex_bg -b 1024 -g 256 -N 300"},
		{"meta_bg and all superblocks", "12M", "-O meta_bg,^resize_inode,^sparse_super,^flex_bg -b 1024 -g 512 -N 300"},
		{"meta_bg and sparse_super2", "12M", "-O meta_bg,^resize_inode,sparse_super2,^flex_bg -b 1024 -g 512 -N 300"},
		{"meta_bg and a superblock before descriptors", "8493K", "-O meta_bg,^resize_inode,sparse_super2,^flex_bg,^has_journal -b 1024 -g 512 -N 272"},
		{"meta_bg and larger blocks", "24M", "-O meta_bg,^resize_inode -b 2048 -g 256 -N 300"},
		{"sparse_super2", "12M", "-O sparse_super2,^resize_inode -b 1024 -g 1024 -N 300"},
		{"no journal", "12M", "-O ^has_journal"},
		{"verity, encrypt, casefold, quota", "12M", "-O verity,encrypt,casefold,quota,project"},
		{"inline data", "12M", "-O inline_data"},
		{"attributes in inodes", "12M", "-O ea_inode,large_dir,orphan_file,mmp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisk(t)
			for i, size := range []int{200, 1024, 4096, 4097, 12 << 10, 13<<10 + 5, 64 << 10, 300<<10 + 1, 2<<20 - 1} {
				d.add(fmt.Sprint("file", i), size)
			}
			for i := range 245 { // so that of small groups the seventeenth is in use
				d.add(fmt.Sprint("small", i), 161+i)
			}
			d.file("empty", nil)
			d.file("tiny", []byte("less than is looked for"))
			d.format(tt.size, strings.Fields(tt.options)...)
			image := d.image()
			d.verify(image, 160)
			d.verify(image, 1025)
		})
	}
}

func TestBigallocYieldsNothing(t *testing.T) {
	d := newDisk(t)
	d.add("file", 300<<10)
	d.format("12M", "-O", "bigalloc", "-C", "16384")
	clear(d.want)
	d.verify(d.image(), 1)
}

func TestFragments(t *testing.T) {
	for _, tt := range []struct {
		name, options string
		gaps, size    int // of what is put in the way
		extents       int // at least, of the file of 700 KiB
	}{
		{"the extents of an inode", "-b 1024", 10, 290 << 10, 3},
		{"a level of the tree", "-b 1024", 200, 32 << 10, 20},
		{"two levels of the tree", "-b 1024", 6200, 1 << 10, 600},
		{"blocks of 4 KiB", "-b 4096", 1600, 4 << 10, 150},
		{"a block map", "-b 1024 -O ^extent,^64bit", 6200, 1 << 10, 600},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisk(t)
			d.add("before", 400_000)
			d.format("8M", append([]string{"-m", "0", "-N", "8192", "-I", "128", "-O", "^has_journal,^metadata_csum,^resize_inode"}, strings.Fields(tt.options)...)...)
			d.scatter(tt.gaps, tt.size)
			d.write("scattered", 700<<10+77)
			if got := d.verify(d.image(), 300<<10)["scattered"]; got < tt.extents {
				t.Errorf("%d extents, want %d at least: nothing is tested", got, tt.extents)
			}
		})
	}
}

func TestTripleIndirection(t *testing.T) {
	if testing.Short() {
		t.Skip("makes an image of 100 MB")
	}
	d := newDisk(t)
	d.add("large", 70<<20)
	d.format("100M", "-t", "ext2", "-b", "1024")
	if n := d.verify(d.image(), 1)["large"]; n < 3 {
		t.Errorf("%d extents, want more: the blocks of pointers lie between", n)
	}
}

func TestLeftOut(t *testing.T) {
	for _, tt := range []struct {
		name, options string
		spoil         func(d *disk)
		sparse        int // files that Sparse yields beside those of Find
	}{
		{"a hole", "", func(d *disk) {
			b := noise(1000, 256<<10)
			clear(b[64<<10 : 128<<10])
			d.edit("write " + d.file("spoilt", b) + " spoilt")
		}, 1},
		{"a hole in a block map", "-O ^extent,^64bit", func(d *disk) {
			b := noise(1000, 256<<10)
			clear(b[64<<10 : 128<<10])
			d.edit("write " + d.file("spoilt", b) + " spoilt")
		}, 1},
		{"a hole at the end", "", func(d *disk) {
			d.edit("write "+d.file("spoilt", noise(1000, 8192))+" spoilt", "set_inode_field spoilt size 100000")
		}, 1},
		{"nothing but a hole", "", func(d *disk) {
			d.edit("write "+d.file("spoilt", nil)+" spoilt", "set_inode_field spoilt size 100000")
		}, 0},
		{"space never written", "", func(d *disk) {
			d.edit("write "+d.file("spoilt", nil)+" spoilt", "fallocate spoilt 0 31", "set_inode_field spoilt size 131072")
		}, 0},
		{"inline data", "-O inline_data -I 256", func(d *disk) {
			d.edit("write " + d.file("spoilt", noise(1000, 40)) + " spoilt")
		}, 0},
		{"encryption", "-O encrypt", func(d *disk) {
			d.edit("write "+d.file("spoilt", noise(1000, 8192))+" spoilt", "set_inode_field spoilt flags 0x80800")
		}, 0},
		{"compression", "", func(d *disk) {
			d.edit("write "+d.file("spoilt", noise(1000, 8192))+" spoilt", "set_inode_field spoilt flags 0x80200")
		}, 0},
		{"the value of an attribute", "-O ea_inode -I 256", func(d *disk) {
			d.edit("ea_set -f " + d.file("spoilt", noise(1000, 20_000)) + " first user.large")
		}, 0},
		{"no regular file", "", func(d *disk) {
			d.edit("write "+d.file("spoilt", noise(1000, 8192))+" spoilt", "set_inode_field spoilt mode 0120644")
		}, 0},
		{"deleted", "", func(d *disk) {
			d.edit("write "+d.file("spoilt", noise(1000, 8192))+" spoilt", "rm spoilt")
		}, 0},
		{"larger than the image", "", func(d *disk) {
			d.edit("write "+d.file("spoilt", noise(1000, 8192))+" spoilt", "set_inode_field spoilt size 0x7fffffffffffffff")
		}, 0},
		{"a negative size", "", func(d *disk) {
			d.edit("write "+d.file("spoilt", noise(1000, 8192))+" spoilt", "set_inode_field spoilt size 0xffffffffffffffff")
		}, 0},
		{"a block outside", "-O ^extent,^64bit", func(d *disk) {
			d.edit("write "+d.file("spoilt", noise(1000, 8192))+" spoilt", "set_inode_field spoilt block[1] 0xfffffff0")
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisk(t)
			d.add("first", 100_000)
			d.add("second", 1234)
			d.format("8M", append([]string{"-b", "4096"}, strings.Fields(tt.options)...)...)
			tt.spoil(d)
			image := d.image()
			d.verify(image, 1)
			sparse := slices.Collect(Sparse(image, 1))
			checkAll(t, image, 1, sparse)
			if len(sparse) != 2+tt.sparse {
				t.Errorf("%d files, want %d", len(sparse), 2+tt.sparse)
			}
		})
	}
}

func TestHoles(t *testing.T) {
	for _, options := range []string{"-b 4096", "-b 1024", "-b 1024 -O ^extent,^64bit", "-t ext2 -b 4096"} {
		t.Run(options, func(t *testing.T) {
			d := newDisk(t)
			for i, holes := range [][][2]int{{{0, 8192}}, {{8192, 80_000}}, {{100_000, 500_000}}, {{4096, 8192}, {12288, 16384}, {24576, 700_000}}, {{12 << 10, 268 << 10}}} {
				b := noise(uint64(i), 700_000)
				for _, h := range holes {
					clear(b[h[0]:h[1]])
				}
				d.file(fmt.Sprint(i), b)
				d.want[sha256.Sum256(b)] = wanted{fmt.Sprint(i), int64(len(b))}
			}
			d.format("12M", strings.Fields(options)...)
			image := d.image()
			for file := range Sparse(image, 1) {
				if b := read(image, file); d.want[sha256.Sum256(b)].size == 0 {
					t.Errorf("%d bytes that no file has, at %v", len(b), file)
				} else if len(file) < 2 {
					t.Errorf("a file at %v: there is no hole, so that nothing is tested", file)
				} else {
					delete(d.want, sha256.Sum256(b))
				}
			}
			for _, f := range d.want {
				t.Errorf("%s is missing", f.name)
			}
		})
	}
}

func TestSpaceBehindTheEndOfAFile(t *testing.T) {
	d := newDisk(t)
	d.format("8M", "-b", "4096")
	d.write("file", 100_000)
	d.edit("fallocate file 40 200")
	if out := tool(t, "debugfs", "-R", "stat file", d.path); !strings.Contains(out, "(40-200[u])") {
		t.Fatalf("no space was added:\n%s", out)
	}
	d.verify(d.image(), 1)
}

func TestCutImage(t *testing.T) {
	d := newDisk(t)
	for i := range 20 {
		d.add(fmt.Sprint("file", i), 100_000+i)
	}
	d.format("8M", "-b", "1024", "-g", "1024")
	image := d.image()
	whole := 0
	for file := range Ext4(image, 1) {
		whole += len(read(image, file))
	}
	for size := 0; size < len(image); size += 99_999 {
		files := [][]Extent{}
		for file := range Ext4(image[:size], 1) {
			files = append(files, file)
			if b := read(image, file); !bytes.Equal(b, noise(uint64(len(b)-100_000+1), len(b))) {
				t.Errorf("cut at %d: a file has %d bytes that are not its own", size, len(b))
			}
		}
		checkAll(t, image[:size], 1, files)
		if len(files) > 20 || size < 100_000 && len(files) > 0 {
			t.Errorf("cut at %d: %d files", size, len(files))
		}
	}
	if whole != 20*100_000+19*20/2 {
		t.Errorf("%d bytes in all files", whole)
	}
}

func TestStopsWhenAsked(t *testing.T) {
	image := tiny(4)
	for range Ext4(image, 1) {
		break // a second call of yield would panic
	}
	n := 0
	files := Ext4(image, 1)
	for range 2 {
		for range files {
			n++
		}
	}
	if n != 8 {
		t.Errorf("two rounds over four files gave %d", n)
	}
}
