// Package image finds where files lie inside the image of a file system or of
// a whole disk, so that whoever makes a patch can follow a file that is in
// several pieces.
//
// [Find] takes any bytes, and [Ext4] the image of one file system; [Sparse] is
// Find for those who can do with files that are not in the image as a whole:
//
//	for file := range image.Find(disk, 64<<10) {
//		for _, x := range file {
//			hash.Write(disk[x.At : x.At+x.Length])
//		}
//	}
//
// Both only read the bytes they are given, and hold one bit for each block of
// the file system and the extents of one file. They are meant for images that
// nobody vouches for: what is broken or hostile gives fewer files, and never
// takes more time than a small multiple of the image's length. No byte is ever
// given twice, neither by two files nor by one.
//
// Files in tar and cpio archives are in one piece each, and need nothing of
// this.
package image

import (
	"encoding/binary"
	"iter"
	"slices"
)

// Extent is a stretch of the image, in bytes.
type Extent struct{ At, Length int64 }

// Hole is At of a stretch of zeros that is not in the image.
const Hole = -1

func (x Extent) end() int64 { return x.At + x.Length }

// little is the order of bytes of everything that is read here.
var little = binary.LittleEndian

// Find yields the extents of files, as [Ext4] does, of an ext2, ext3 or ext4
// file system that begins at byte 0 or, if none does, of all that begin at
// partitions of an MBR or GPT table. Extents are relative to the whole of
// image. Of partitions that overlap, the one that begins first counts.
func Find(image []byte, least int64) iter.Seq[[]Extent] { return whole(Sparse(image, least)) }

// Sparse is like Find, and yields files with holes as well: a part of a file
// that reads as zeros without being in the image is an Extent at [Hole]. What
// was reserved but never written is such a part. At least one byte of a file
// is in the image, and its size is not above that of the image.
//
// The tools that make images from a folder leave blocks of zeros out, so that
// many executables have holes between their segments.
func Sparse(image []byte, least int64) iter.Seq[[]Extent] {
	return func(yield func([]Extent) bool) {
		if v, ok := openVolume(image); ok {
			v.files(least)(yield)
			return
		}
		for _, p := range partitions(image) {
			v, ok := openVolume(image[p.At:p.end()])
			if !ok {
				continue
			}
			for file := range v.files(least) {
				for i := range file {
					if file[i].At != Hole {
						file[i].At += p.At
					}
				}
				if !yield(file) {
					return
				}
			}
		}
	}
}

// whole leaves out files with holes.
func whole(files iter.Seq[[]Extent]) iter.Seq[[]Extent] {
	return func(yield func([]Extent) bool) {
		for file := range files {
			hole := slices.ContainsFunc(file, func(x Extent) bool { return x.At == Hole })
			if !hole && !yield(file) {
				return
			}
		}
	}
}
