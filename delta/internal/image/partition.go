package image

import (
	"cmp"
	"slices"
)

// Tables of partitions: the MBR with its chain of extended partitions, and the
// GPT of the UEFI specification (chapter 5).
const (
	sector        = 512
	mbrEntries    = 446
	mbrEntry      = 16
	mbrMagicAt    = 510
	mbrMagic      = 0xAA55
	typeGPT       = 0xEE
	gptMagic      = "EFI PART"
	gptHeader     = 92
	gptEntry      = 128 // bytes at least
	maxPartitions = 1024
)

// partitions lists the partitions of a disk, cut at its end, in order. No two
// overlap. Beyond the first 1024 of the table there is no looking.
func partitions(disk []byte) []Extent {
	found, protective := mbr(disk)
	if protective {
		// The table itself does not say how large a sector is.
		for _, size := range []uint64{sector, 8 * sector} {
			if all := gpt(disk, size); len(all) > 0 {
				found = all
				break
			}
		}
	}
	slices.SortFunc(found, func(a, b Extent) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Length, b.Length))
	})
	end := int64(0)
	return slices.DeleteFunc(found, func(x Extent) bool {
		if x.At < end {
			return true
		}
		end = x.end()
		return false
	})
}

// stretch gives n sectors from the one at first on, as far as the disk has
// them, or nothing. Sector 0 is never part of it.
func stretch(disk []byte, first, n, size uint64) (x Extent, ok bool) {
	have := uint64(len(disk)) / size
	if first == 0 || first >= have || n == 0 {
		return Extent{}, false
	}
	return Extent{int64(first * size), int64(min(n, have-first) * size)}, true
}

// mbrPartition is an entry of a table, in sectors.
type mbrPartition struct {
	kind     byte
	first, n uint64
}

// extended tells that the partition is a chain of further ones.
func (p mbrPartition) extended() bool { return p.kind == 0x05 || p.kind == 0x0F || p.kind == 0x85 }

// mbrTable reads the table in a sector. Without one, all entries are empty.
func mbrTable(disk []byte, at uint64) (all [4]mbrPartition) {
	if at >= uint64(len(disk))/sector {
		return all
	}
	s := disk[at*sector:][:sector]
	if little.Uint16(s[mbrMagicAt:]) != mbrMagic {
		return all
	}
	for i := range all {
		e := s[mbrEntries+mbrEntry*i:]
		all[i] = mbrPartition{e[4], uint64(little.Uint32(e[8:])), uint64(little.Uint32(e[12:]))}
	}
	return all
}

// mbr lists the partitions of an MBR, and tells whether it only protects a GPT.
func mbr(disk []byte) (found []Extent, protective bool) {
	for _, p := range mbrTable(disk, 0) {
		if p.kind == typeGPT {
			protective = true // and covers whatever it protects
		} else if p.extended() {
			found = append(found, logical(disk, p.first)...)
		} else if x, ok := stretch(disk, p.first, p.n, sector); ok && p.kind != 0 {
			found = append(found, x)
		}
	}
	return found, protective
}

// logical lists the partitions of the chain that begins at a sector: each of
// its tables has a partition, relative to the table, and the place of the next
// table, relative to the chain.
func logical(disk []byte, chain uint64) (found []Extent) {
	at := chain
	for range maxPartitions {
		next := uint64(0)
		for _, p := range mbrTable(disk, at) {
			if p.extended() {
				next = chain + p.first
			} else if x, ok := stretch(disk, at+p.first, p.n, sector); ok && p.kind != 0 {
				found = append(found, x)
			}
		}
		if next == 0 {
			break
		}
		at = next
	}
	return found
}

// gpt lists the partitions of the table after the first sector of size bytes.
func gpt(disk []byte, size uint64) (found []Extent) {
	if uint64(len(disk)) < size+gptHeader || string(disk[size:][:len(gptMagic)]) != gptMagic {
		return nil
	}
	h := disk[size:][:gptHeader]
	first, n, step := little.Uint64(h[72:]), uint64(little.Uint32(h[80:])), uint64(little.Uint32(h[84:]))
	if first >= uint64(len(disk))/size || step < gptEntry {
		return nil
	}
	table := disk[first*size:]
	for i := range min(n, maxPartitions) {
		if i*step+gptEntry > uint64(len(table)) {
			break
		}
		e := table[i*step:][:gptEntry]
		from, last := little.Uint64(e[32:]), little.Uint64(e[40:])
		if little.Uint64(e)|little.Uint64(e[8:]) == 0 || last < from {
			continue // the type is zero: no partition
		}
		if x, ok := stretch(disk, from, min(last-from, maxBlocks)+1, size); ok {
			found = append(found, x)
		}
	}
	return found
}
