package inplace

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// Journal is the redo log of an update. It has two areas, which batches use in
// turn, so that one batch is whole while the other is written. A batch counts
// once its record is whole, which its checksums say:
//
//	record, 512 bytes:  magic, 8 bytes; id, 32 bytes; u64 number, the first is 1;
//	                    u64 length of the pieces; u32 CRC of the pieces;
//	                    u16 length of the state; the state; zeros;
//	                    u32 CRC of the 508 bytes before
//	pieces:             u64 place, u32 length, bytes
//
// Numbers are little-endian, CRC is CRC-32C. It is for one goroutine.
type Journal struct {
	file Region
	id   [32]byte
	area int64 // bytes of one
	done int64 // batches that were made

	foreign bool
}

const (
	journalMagic = "\x89inplac\n"
	recordSize   = 512
	// MaxState is how many bytes the state of a batch has at most.
	MaxState  = recordSize - 66
	pieceHead = 12

	// page is the least that is compared with what stands there already.
	page = 4 << 10
	// window is how much is read or written at once.
	window = 256 << 10
)

// castagnoli is no variable, so that a program which never updates in place
// carries nothing of this.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// JournalSize is how many bytes a journal takes for batches of batchSize bytes.
func JournalSize(batchSize int64) int64 { return 2 * areaSize(batchSize) }

func areaSize(batchSize int64) int64 {
	pages := (batchSize + page - 1) / page
	return (recordSize + pages*(page+pieceHead) + page - 1) / page * page
}

// OpenJournal opens the journal of the update that id tells from all others,
// whose batches have at most batchSize bytes. What stands in file counts only
// if it is of the same update. Nothing is read or written yet.
func OpenJournal(file Region, id [32]byte, batchSize int64) *Journal {
	return &Journal{file: file, id: id, area: areaSize(batchSize)}
}

// record is what stands at the start of an area.
type record struct {
	id     [32]byte
	number int64
	length int64 // of the pieces
	sum    uint32
	state  []byte
	at     int64 // place of the area
}

func (r *record) append(b []byte) []byte {
	start := len(b)
	b = append(append(b, journalMagic...), r.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.number))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.length))
	b = binary.LittleEndian.AppendUint32(b, r.sum)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.state)))
	b = append(b, r.state...)
	b = append(b, make([]byte, start+recordSize-4-len(b))...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli()))
}

// parseRecord reads a record, and says whether there is one.
func parseRecord(b []byte) (r record, ok bool) {
	body := b[:recordSize-4]
	if string(b[:8]) != journalMagic || binary.LittleEndian.Uint32(b[recordSize-4:]) != crc32.Checksum(body, castagnoli()) {
		return r, false
	}
	copy(r.id[:], b[8:])
	r.number = int64(binary.LittleEndian.Uint64(b[40:]))
	r.length = int64(binary.LittleEndian.Uint64(b[48:]))
	r.sum = binary.LittleEndian.Uint32(b[56:])
	n := int(binary.LittleEndian.Uint16(b[60:]))
	if n > MaxState || r.number < 1 || r.length < 0 {
		return r, false
	}
	r.state = bytes.Clone(b[62 : 62+n])
	return r, true
}

// records gives the records that there are, of all updates, newest first.
func (j *Journal) records() (all []record, err error) {
	for i := range int64(2) {
		b := make([]byte, recordSize)
		n, err := j.file.ReadAt(b, i*j.area)
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		if r, ok := parseRecord(b); ok && n == recordSize {
			r.at = i * j.area
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b record) int { return cmp.Compare(b.number, a.number) })
	return all, nil
}

// Recover writes the last batch that is whole in the journal to the region
// again, and gives its state. Without one it gives nil: then nothing of the
// update was written to the region, and Begin may follow after [Journal.Clear].
func (j *Journal) Recover(region Region) (state []byte, err error) {
	all, err := j.records()
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		j.foreign = j.foreign || r.id != j.id
		if r.id != j.id || r.length > j.area-recordSize {
			continue
		}
		whole, err := j.whole(r)
		if err != nil {
			return nil, err
		}
		if !whole {
			continue // it was never written to the region
		}
		if err := j.renew(r); err != nil {
			return nil, err
		}
		if err := j.redo(r, region); err != nil {
			return nil, err
		}
		j.done = r.number
		return append([]byte{}, r.state...), nil
	}
	return nil, nil
}

// renew makes r durable. A process that was killed may have left it in memory
// only; after a sync that failed, another one may succeed without doing
// anything. What is written again must be synced again.
func (j *Journal) renew(r record) error {
	in, room := j.pieces(r), make([]byte, window)
	for at := int64(0); at < r.length; at += window {
		b := room[:min(window, r.length-at)]
		if err := readAll(in, b, at); err != nil {
			return err
		}
		if _, err := j.file.WriteAt(b, r.at+recordSize+at); err != nil {
			return fmt.Errorf("write journal: %w", err)
		}
	}
	return j.seal(r)
}

// seal writes r itself, its pieces being there, and syncs all.
func (j *Journal) seal(r record) error {
	if _, err := j.file.WriteAt(r.append(nil), r.at); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("sync journal: %w", err)
	}
	return nil
}

// Foreign says whether Recover found a batch of another update.
func (j *Journal) Foreign() bool { return j.foreign }

// whole says whether all pieces of r are there.
func (j *Journal) whole(r record) (bool, error) {
	sum := crc32.New(castagnoli())
	_, err := io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{j.pieces(r)}, make([]byte, window))
	if err != nil {
		return false, fmt.Errorf("read journal: %w", err)
	}
	return sum.Sum32() == r.sum, nil
}

func (j *Journal) pieces(r record) *io.SectionReader {
	return io.NewSectionReader(j.file, r.at+recordSize, r.length)
}

// redo writes the pieces of r to the region, and syncs it.
func (j *Journal) redo(r record, region Region) error {
	in := j.pieces(r)
	room := make([]byte, window)
	for at := int64(0); at < r.length; {
		var head [pieceHead]byte
		if err := readAll(in, head[:], at); err != nil {
			return err
		}
		place, n := int64(binary.LittleEndian.Uint64(head[:])), int64(binary.LittleEndian.Uint32(head[8:]))
		if n > window {
			return fmt.Errorf("read journal: a piece of %d bytes", n)
		}
		if err := readAll(in, room[:n], at+pieceHead); err != nil {
			return err
		}
		if _, err := region.WriteAt(room[:n], place); err != nil {
			return fmt.Errorf("write %d bytes at %d of the region: %w", n, place, err)
		}
		at += pieceHead + n
	}
	if err := region.Sync(); err != nil {
		return fmt.Errorf("sync region: %w", err)
	}
	return nil
}

func readAll(in io.ReaderAt, b []byte, at int64) error {
	n, err := in.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read journal: %w", err)
}

// Clear removes all records, the oldest first, so that at no time an older one
// is taken for the last. It is called before the first batch, and once the
// region was found to be right in the end.
func (j *Journal) Clear() error {
	all, err := j.records()
	if err != nil {
		return err
	}
	slices.Reverse(all)
	for _, r := range all {
		if _, err := j.file.WriteAt(make([]byte, recordSize), r.at); err != nil {
			return fmt.Errorf("clear journal: %w", err)
		}
		if err := j.file.Sync(); err != nil {
			return fmt.Errorf("sync journal: %w", err)
		}
	}
	j.done = 0
	return nil
}
