package image

// An inode as far as it matters here (i_mode, i_flags).
const (
	modeType    = 0xF000
	modeRegular = 0x8000

	flagCompressed = 0x200      // EXT4_COMPRBLK_FL
	flagEncrypted  = 0x800      // EXT4_ENCRYPT_FL
	flagExtents    = 0x80000    // EXT4_EXTENTS_FL
	flagValue      = 0x200000   // EXT4_EA_INODE_FL: the value of an attribute
	flagInline     = 0x10000000 // EXT4_INLINE_DATA_FL
)

const (
	treeMagic    = 0xF30A
	treeEntry    = 12 // bytes, of the header as well
	maxTreeDepth = 5
	maxWritten   = 32768 // blocks; an extent said to have n more has n that were never written
)

// file gives the extents of an inode, or nil if it is to be left out.
func (v *volume) file(inode []byte, least int64) []Extent {
	size := uint64(little.Uint32(inode[0x4:])) | uint64(little.Uint32(inode[0x6C:]))<<32
	flags := little.Uint32(inode[0x20:])
	switch {
	case little.Uint16(inode)&modeType != modeRegular || little.Uint16(inode[0x1A:]) == 0: // i_links_count
		return nil
	case flags&(flagCompressed|flagEncrypted|flagValue|flagInline) != 0:
		return nil
	case size == 0 || size > uint64(len(v.image)) || int64(size) < least:
		return nil
	}
	w := walk{v: v, size: size, blocks: (size + v.blockSize - 1) / v.blockSize}
	root := inode[0x28:][:60] // i_block
	read := w.blockMap
	if flags&flagExtents != 0 {
		read = w.extentTree
	}
	if !read(root) {
		return nil
	}
	w.skip(w.blocks - w.next)
	if len(w.extents) == 1 && w.extents[0].At == Hole {
		return nil
	}
	return w.extents
}

// walk goes through the blocks of one file, from the first to the last. What
// follows the last, such as the hashes of fs-verity, is not looked at.
type walk struct {
	v       *volume
	size    uint64 // of the file
	blocks  uint64 // of the file
	next    uint64 // block of the file that comes next
	extents []Extent
}

func (w *walk) done() bool { return w.next == w.blocks }

// add says where the next n blocks of the file are.
func (w *walk) add(block, n uint64) bool {
	n = min(n, w.blocks-w.next)
	if !w.v.take(block, n) {
		return false
	}
	w.append(int64(block*w.v.blockSize), n)
	return true
}

// skip says that the next n blocks of the file are nowhere.
func (w *walk) skip(n uint64) {
	if n = min(n, w.blocks-w.next); n > 0 {
		w.append(Hole, n)
	}
}

func (w *walk) append(at int64, n uint64) {
	x := Extent{at, int64(min(n*w.v.blockSize, w.size-w.next*w.v.blockSize))}
	w.next += n
	if k := len(w.extents) - 1; k >= 0 && (w.extents[k].At == Hole) == (at == Hole) && (at == Hole || w.extents[k].end() == at) {
		w.extents[k].Length += x.Length
		return
	}
	w.extents = append(w.extents, x)
}

// extentTree reads the tree whose root is in the inode.
func (w *walk) extentTree(root []byte) bool {
	depth := little.Uint16(root[6:])
	return depth <= maxTreeDepth && w.tree(root, depth)
}

// tree reads a node that must be depth levels above the leaves, and what is
// below it, as far as the file goes. It is false if that makes no sense.
func (w *walk) tree(node []byte, depth uint16) bool {
	entries := int(little.Uint16(node[2:]))
	if little.Uint16(node) != treeMagic || little.Uint16(node[6:]) != depth || entries > len(node)/treeEntry-1 {
		return false
	}
	for i := 1; i <= entries && !w.done(); i++ {
		e := node[treeEntry*i:][:treeEntry]
		if depth == 0 {
			if !w.leaf(e) {
				return false
			}
			continue
		}
		child := uint64(little.Uint32(e[4:])) | uint64(little.Uint16(e[8:]))<<32
		if !w.v.take(child, 1) || !w.tree(w.v.bytes(child, 1), depth-1) {
			return false
		}
	}
	return true
}

// leaf reads an extent of the tree, which may begin further on in the file.
func (w *walk) leaf(e []byte) bool {
	first, n := uint64(little.Uint32(e)), uint64(little.Uint16(e[4:]))
	if first < w.next || n == 0 {
		return false
	}
	w.skip(first - w.next)
	if n > maxWritten {
		w.skip(n - maxWritten)
		return true
	}
	return w.done() || w.add(uint64(little.Uint32(e[8:]))|uint64(little.Uint16(e[6:]))<<32, n)
}

// blockMap reads the map of ext2 and ext3: twelve blocks, then a block of
// pointers to blocks, then two and three levels of these.
func (w *walk) blockMap(root []byte) bool {
	n := w.v.blockSize / 4 // pointers in a block
	return w.pointers(root[:48], 1) && w.pointers(root[48:52], n) &&
		w.pointers(root[52:56], n*n) && w.pointers(root[56:], n*n*n)
}

// pointers reads a table of blocks, each of which stands for reach blocks of
// the file.
func (w *walk) pointers(table []byte, reach uint64) bool {
	for ; len(table) > 0 && !w.done(); table = table[4:] {
		switch block := uint64(little.Uint32(table)); {
		case block == 0:
			w.skip(reach)
		case reach == 1:
			if !w.add(block, 1) {
				return false
			}
		default:
			if !w.v.take(block, 1) || !w.pointers(w.v.bytes(block, 1), reach/(w.v.blockSize/4)) {
				return false
			}
		}
	}
	return true
}
