package main

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/updraft-ota/updraft/delta"
)

// bsdiffParts are the parts of a BSDIFF40 patch, in their order there.
var bsdiffParts = []string{"control", "difference", "extra"}

// foreign fills in what the start of a patch of another format says.
func (i *inspected) foreign(head []byte) error {
	switch i.Format {
	case imageFormat:
		return i.fullImage(head)
	case "zstd":
		return i.zstd(head)
	case "bsdiff":
		return i.bsdiff(head)
	case "vcdiff":
		return i.vcdiff(head)
	}
	return nil
}

func (i *inspected) fullImage(head []byte) error {
	is, err := parseImage(head)
	if err != nil {
		return err
	}
	i.NewSize, i.NewSHA256, i.Memory = &is.size, hexOf(is.sum), imageMemory(head)
	i.Notes = []string{"the whole new file, compressed with zstd: no old file is needed"}
	return nil
}

func (i *inspected) zstd(head []byte) error {
	h, ok := parseZstd(head)
	if !ok {
		return cutShort(head)
	}
	if h.size >= 0 {
		i.NewSize = &h.size
	}
	i.Notes = []string{fmt.Sprintf("a window of %s; applying it holds the old and the new file in memory", count(h.window, "byte", "bytes"))}
	return nil
}

func (i *inspected) bsdiff(head []byte) error {
	const magic, number, endsley = 8, 8, 16
	if bytes.HasPrefix(head, []byte("ENDSLEY")) {
		if len(head) < endsley+number {
			return cutShort(head)
		}
		i.Version = "ENDSLEY/BSDIFF43"
		return i.declared(endsley, head[endsley:])
	}
	if len(head) < magic+3*number {
		return cutShort(head)
	}
	i.Version = "BSDIFF40"
	control, difference := int64(binary.LittleEndian.Uint64(head[magic:])), int64(binary.LittleEndian.Uint64(head[magic+number:]))
	if control < 0 || difference < 0 {
		return fmt.Errorf("%w: byte %d: a part of a negative length", delta.ErrCorrupt, magic)
	}
	i.Parts = map[string]int64{bsdiffParts[0]: control, bsdiffParts[1]: difference}
	if rest := i.PatchSize - magic - 3*number; i.PatchSize > 0 {
		if control > rest || difference > rest-control {
			return fmt.Errorf("%w: byte %d: parts of %d and %d bytes in a patch of %d", delta.ErrCorrupt, magic, control, difference, i.PatchSize)
		}
		i.Parts[bsdiffParts[2]] = rest - control - difference
	}
	return i.declared(magic+2*number, head[magic+2*number:])
}

// declared takes the size of the new file that stands at a place.
func (i *inspected) declared(at int, b []byte) error {
	size := int64(binary.LittleEndian.Uint64(b))
	if size < 0 {
		return fmt.Errorf("%w: byte %d: a new file of a negative length", delta.ErrCorrupt, at)
	}
	i.NewSize = &size
	i.Notes = []string{"nothing in it tells which old file it is for"}
	return nil
}

func (i *inspected) vcdiff(head []byte) error {
	const version, flags, lzma = 3, 4, 2
	if len(head) <= flags {
		return cutShort(head)
	}
	if head[version] == 'S' {
		i.Version = "of open-vcdiff"
	}
	i.Notes = []string{"the sizes stand in its windows, which are not read here"}
	if head[flags]&1 != 0 {
		if len(head) <= flags+1 {
			return cutShort(head)
		}
		if head[flags+1] != lzma {
			i.Notes = append(i.Notes, "it may use secondary compression other than LZMA, which cannot be applied: make it with xdelta3 -S lzma or -S none")
		}
	}
	if head[flags]&2 != 0 {
		i.Notes = append(i.Notes, "it has a code table of its own, which cannot be applied")
	}
	return nil
}

func cutShort(head []byte) error {
	return fmt.Errorf("%w: byte %d: the patch ends early", delta.ErrCorrupt, len(head))
}
