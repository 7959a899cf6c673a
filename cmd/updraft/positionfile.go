package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/updraft-ota/updraft/internal/disk"
)

// The file of patch --resume has three pages: the note of its lock, and two
// slots that are written in turn, so that a power cut while one is written
// leaves the other. A slot is
//
//	8 bytes magic, u32 length, JSON, u32 CRC-32C of all before
//
// with numbers in little-endian.
const (
	positionPage  = 4096
	positionPages = 3
	positionMagic = "updraftP"
	lockNote      = "process " // how the note of a lock begins
)

// position is how far the making of a new file is.
type position struct {
	Seq    uint64 `json:"seq"` // the highest one counts
	Format string `json:"format"`
	Patch  wanted `json:"patch"`
	New    string `json:"new"`    // base name of the new file
	Output int64  `json:"output"` // bytes that are made and durable
	CRC    uint32 `json:"crc"`    // CRC-32C of them
	// At, Map, MapLength and State are a [delta.Position] there.
	At        int64  `json:"at"`
	Map       int64  `json:"map,omitempty"`
	MapLength int64  `json:"mapLength,omitempty"`
	State     []byte `json:"state"`
	Done      bool   `json:"done"` // all is made and checked, only the name is missing
}

// wanted tells one patch from another.
type wanted struct {
	Head string `json:"head"` // SHA-256 of its first [patchHead] bytes
	Size int64  `json:"size"` // of a file; 0 if the patch came from standard input
}

// same tells whether two patches are one, as far as both are known.
func (w wanted) same(o wanted) bool {
	return w.Head == o.Head && (w.Size == o.Size || w.Size == 0 || o.Size == 0)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// slot gives the bytes of p in its slot.
func (p position) slot() ([]byte, error) { return appendSlot(positionMagic, p) }

// parseSlot reads a slot.
func parseSlot(b []byte) (p position, ok bool) {
	ok = readSlot(b, positionMagic, &p)
	return p, ok && p.Output >= 0 && p.At >= 0 && p.Map >= 0 && p.MapLength >= 0
}

// appendSlot gives a page with v in it.
func appendSlot(magic string, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	b := append(binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(text))), text...)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if len(b) > positionPage {
		return nil, fmt.Errorf("a note of %d bytes, %d have room", len(b), positionPage)
	}
	return append(b, make([]byte, positionPage-len(b))...), nil
}

// readSlot reads into v what appendSlot wrote, if it is whole.
func readSlot(b []byte, magic string, v any) (ok bool) {
	head := len(magic) + 4
	if len(b) < positionPage || !bytes.HasPrefix(b, []byte(magic)) {
		return false
	}
	n := int64(binary.LittleEndian.Uint32(b[len(magic):]))
	if n > int64(positionPage-head-4) {
		return false
	}
	end := head + int(n)
	return binary.LittleEndian.Uint32(b[end:]) == crc32.Checksum(b[:end], castagnoli) && json.Unmarshal(b[head:end], v) == nil
}

// positionFile is that file, open. Not to be shared.
type positionFile struct {
	fs   disk.FS
	name string
	file disk.File
	seq  uint64 // of the last position
	page int64  // where the next one goes
}

// foreignFile reports whether name is a file that this program did not write
// for --resume: such a one is never written to.
func foreignFile(fsys disk.FS, name string) (bool, error) {
	info, err := fsys.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() || info.Size() > positionPage*positionPages {
		return true, nil
	}
	b, err := disk.ReadFile(fsys, name, positionPage*positionPages)
	if err != nil {
		return false, err
	}
	head := b[:min(len(b), len(lockNote))]
	empty := len(bytes.Trim(head, "\x00")) == 0 // a power cut may have taken what was not synced
	return !empty && string(head) != lockNote, nil
}

// openPositions opens the file, or makes it. It gives the last position in it
// that is whole, if there is any, and whether there is one that is damaged.
func openPositions(fsys disk.FS, name string) (f *positionFile, last *position, damaged bool, err error) {
	file, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, false, inputError(fmt.Errorf("open %s: %w", name, err))
	}
	f = &positionFile{fs: fsys, name: name, file: file, page: 1}
	b, err := disk.ReadFile(fsys, name, positionPage*positionPages)
	if err != nil {
		return nil, nil, false, errors.Join(err, file.Close())
	}
	for page := int64(1); page < positionPages; page++ {
		slot := b[min(int64(len(b)), page*positionPage):]
		slot = slot[:min(len(slot), positionPage)]
		p, ok := parseSlot(slot)
		if !ok {
			damaged = damaged || len(bytes.Trim(slot, "\x00")) > 0
			continue
		}
		if last == nil || p.Seq > last.Seq {
			last, f.seq, f.page = &p, p.Seq, positionPages-page
		}
	}
	return f, last, damaged, nil
}

// put makes p durable, over the position before the last one.
func (f *positionFile) put(p position) error {
	p.Seq = f.seq + 1
	b, err := p.slot()
	if err == nil {
		_, err = f.file.WriteAt(b, f.page*positionPage)
	}
	if err == nil {
		err = f.file.Sync()
	}
	if err == nil && f.seq == 0 {
		err = f.fs.SyncDir(filepath.Dir(f.name))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", f.name, err)
	}
	f.seq, f.page = p.Seq, positionPages-f.page
	return nil
}

// close closes the file, which stays. A second call does nothing.
func (f *positionFile) close() error {
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file = nil
	return file.Close()
}

// remove removes the file, which is of no use any more.
func (f *positionFile) remove() error {
	if err := errors.Join(f.close(), f.fs.Remove(f.name)); err != nil {
		return fmt.Errorf("remove %s: %w", f.name, err)
	}
	return f.fs.SyncDir(filepath.Dir(f.name))
}
