package image

import "iter"

// The format is described in the kernel's Documentation/filesystems/ext4
// (super.rst, group_descr.rst, inodes.rst, ifork.rst, blockmap.rst), whose
// names are given here in comments.
const (
	superAt    = 1024 // place of the superblock
	superSize  = 1024
	superMagic = 0xEF53

	minDescriptor = 32
	maxDescriptor = 512 // a block has two at least
	minInode      = 128
	oldFirstInode = 11
	maxBlockLog   = 6       // blocks of 64 KiB
	maxBlocks     = 1 << 48 // that an extent can name
)

// Features (s_feature_compat, _incompat and _ro_compat) that say where things
// are.
const (
	compatSparseSuper2 = 0x200
	incompatMetaBG     = 0x10
	incompat64bit      = 0x80
	roSparseSuper      = 0x1
	roGroupSum         = 0x10
	roBigalloc         = 0x200
	roMetadataSum      = 0x400

	// incompatKnown is filetype, recover, meta_bg, extents, 64bit, mmp,
	// flex_bg, ea_inode, dirdata, csum_seed, largedir, inline_data, encrypt
	// and casefold. Whatever else is there may move anything.
	incompatKnown = 0x2 | 0x4 | incompatMetaBG | 0x40 | incompat64bit | 0x100 | 0x200 |
		0x400 | 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000
)

// inodeUninit of bg_flags says that a group has no inode in use.
const inodeUninit = 0x1

// Ext4 yields the extents of each regular file of an ext2, ext3 or ext4 image
// that is at least least bytes long, in the order of the file's bytes, cut at
// the file's size. Extents that touch are one. The file system begins at byte 0
// of image and may go on beyond its end.
//
// Left out are empty files, files with holes, inline data or extents that were
// never written, encrypted files, and files that have a block outside of image
// or one that an earlier file has (as with the feature shared_blocks). A file
// system with bigalloc, or a feature that is not known, yields nothing. A
// journal that was not played back is ignored.
func Ext4(image []byte, least int64) iter.Seq[[]Extent] {
	return whole(func(yield func([]Extent) bool) {
		if v, ok := openVolume(image); ok {
			v.files(least)(yield)
		}
	})
}

// volume is a file system. Numbers of blocks are below 2^48 and sizes of blocks
// at most 2^16, so that their products fit.
type volume struct {
	image     []byte
	super     []byte
	blockSize uint64
	blocks    uint64 // that image has whole
	used      []uint64
	groups    uint64

	firstBlock     uint64 // s_first_data_block
	groupBlocks    uint64 // s_blocks_per_group
	groupInodes    uint64 // s_inodes_per_group
	firstInode     uint64 // that is not reserved
	inodeSize      uint64
	descriptorSize uint64

	compat, incompat, readOnly uint32
}

func openVolume(image []byte) (*volume, bool) {
	if len(image) < superAt+superSize {
		return nil, false
	}
	s := image[superAt:][:superSize]
	blockLog := little.Uint32(s[0x18:])
	if little.Uint16(s[0x38:]) != superMagic || blockLog > maxBlockLog {
		return nil, false
	}
	v := &volume{
		image: image, super: s,
		blockSize:      1024 << blockLog,
		firstBlock:     uint64(little.Uint32(s[0x14:])),
		groupBlocks:    uint64(little.Uint32(s[0x20:])),
		groupInodes:    uint64(little.Uint32(s[0x28:])),
		firstInode:     oldFirstInode,
		inodeSize:      minInode,
		descriptorSize: minDescriptor,
	}
	count := uint64(little.Uint32(s[0x4:]))
	if little.Uint32(s[0x4C:]) > 0 { // s_rev_level: the fields from 0x54 on are there
		v.firstInode = uint64(little.Uint32(s[0x54:]))
		v.inodeSize = uint64(little.Uint16(s[0x58:]))
		v.compat, v.incompat, v.readOnly = little.Uint32(s[0x5C:]), little.Uint32(s[0x60:]), little.Uint32(s[0x64:])
	}
	if v.incompat&incompat64bit != 0 {
		v.descriptorSize = uint64(little.Uint16(s[0xFE:]))
		count |= uint64(little.Uint32(s[0x150:])) << 32
	}
	if !v.sane() || v.firstBlock >= count || count > maxBlocks {
		return nil, false
	}
	v.groups = (count - v.firstBlock + v.groupBlocks - 1) / v.groupBlocks
	v.blocks = min(count, uint64(len(image))/v.blockSize)
	v.used = make([]uint64, (v.blocks+63)/64)
	return v, true
}

// sane tells whether the superblock is one that can be read here.
func (v *volume) sane() bool {
	bits := 8 * v.blockSize // of the block that is the map of a group
	return v.incompat&^incompatKnown == 0 && v.readOnly&roBigalloc == 0 &&
		0 < v.groupBlocks && v.groupBlocks <= bits &&
		0 < v.groupInodes && v.groupInodes <= bits &&
		powerWithin(v.inodeSize, minInode, v.blockSize) &&
		powerWithin(v.descriptorSize, minDescriptor, maxDescriptor)
}

func powerWithin(n, low, high uint64) bool { return low <= n && n <= high && n&(n-1) == 0 }

// take claims blocks for one use. It fails if one of them is outside of the
// image, or claimed already. All work but reading inodes begins with it, and
// so does reading a table of them: that is what bounds the whole.
func (v *volume) take(block, n uint64) bool {
	if block == 0 || block >= v.blocks || n > v.blocks-block {
		return false
	}
	for b := block; b < block+n; b++ {
		if v.used[b/64]>>(b%64)&1 != 0 {
			return false
		}
		v.used[b/64] |= 1 << (b % 64)
	}
	return true
}

// bytes gives the bytes of blocks that take has claimed.
func (v *volume) bytes(block, n uint64) []byte {
	return v.image[block*v.blockSize : (block+n)*v.blockSize]
}

// files yields files with and without holes. It can be used once.
func (v *volume) files(least int64) iter.Seq[[]Extent] {
	return func(yield func([]Extent) bool) {
		for group := range v.groups {
			descriptor, ok := v.descriptor(group)
			if !ok {
				return // and so are all that follow
			}
			for inode := range v.inodes(group, descriptor) {
				if file := v.file(inode, least); file != nil && !yield(file) {
					return
				}
			}
		}
	}
}

// descriptor gives the descriptor of a group, if it is in the image.
func (v *volume) descriptor(group uint64) ([]byte, bool) {
	perBlock := v.blockSize / v.descriptorSize
	block := group / perBlock // of descriptors
	first := uint64(little.Uint32(v.super[0x104:]))
	if v.incompat&incompatMetaBG != 0 && block >= first {
		// The groups that share a block of descriptors have it in the first of them.
		leader := block * perBlock
		block = v.firstBlock + leader*v.groupBlocks
		if v.hasSuper(leader) {
			block++
		}
		if leader == 0 && v.blockSize == 1024 && v.firstBlock == 0 {
			block++ // the superblock is in block 1 then
		}
	} else {
		block += superAt/v.blockSize + 1
	}
	if block >= v.blocks {
		return nil, false
	}
	return v.bytes(block, 1)[group%perBlock*v.descriptorSize:][:v.descriptorSize], true
}

// hasSuper tells whether a group of an even number begins with a copy of the
// superblock. With sparse_super, the groups that do are powers of 3, 5 and 7.
func (v *volume) hasSuper(group uint64) bool {
	if group == 0 {
		return true
	}
	if v.compat&compatSparseSuper2 != 0 { // s_backup_bgs
		return group == uint64(little.Uint32(v.super[0x24C:])) || group == uint64(little.Uint32(v.super[0x250:]))
	}
	return v.readOnly&roSparseSuper == 0
}

// inodes yields the inodes of a group that may be in use.
func (v *volume) inodes(group uint64, descriptor []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		table := uint64(little.Uint32(descriptor[0x8:]))
		unused := uint64(little.Uint16(descriptor[0x1C:])) // bg_itable_unused
		if v.descriptorSize >= 0x40 {
			table |= uint64(little.Uint32(descriptor[0x28:])) << 32
			unused |= uint64(little.Uint16(descriptor[0x32:])) << 16
		}
		count := v.groupInodes
		if v.readOnly&(roGroupSum|roMetadataSum) != 0 { // else these two say nothing
			if little.Uint16(descriptor[0x12:])&inodeUninit != 0 {
				return
			}
			count -= min(unused, count)
		}
		blocks := (count*v.inodeSize + v.blockSize - 1) / v.blockSize
		if !v.take(table, blocks) {
			return
		}
		all := v.bytes(table, blocks)
		for i := range count {
			if !v.reserved(group*v.groupInodes+i+1) && !yield(all[i*v.inodeSize:][:v.inodeSize]) {
				return
			}
		}
	}
}

// reserved tells whether an inode is the file system's own: the journal and
// others of fixed numbers, quotas of projects, the list of orphans.
func (v *volume) reserved(number uint64) bool {
	return number < v.firstInode ||
		number == uint64(little.Uint32(v.super[0x26C:])) || // s_prj_quota_inum
		number == uint64(little.Uint32(v.super[0x280:])) // s_orphan_file_inum
}
