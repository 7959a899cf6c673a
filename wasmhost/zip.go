package wasmhost

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"math"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// A zip as APPNOTE.TXT 6.3 of PKWARE has it: files one behind the other, each
// behind a head of its own, then a directory of them, then the end, which
// says where the directory is. Only the directory counts here. It is read
// from the start to its end, never held, so that a hostile one costs time alone.
// Files are stored or deflated; encryption and other methods are unsupported.

var errZip = errors.New("damaged zip")

const (
	zipFileHead  = "PK\x03\x04"
	zipEntryHead = "PK\x01\x02"
	zipEnd       = "PK\x05\x06"
	zip64End     = "PK\x06\x06"
	zip64Finder  = "PK\x06\x07"
	zipEndSize   = 22
	zipStored    = 0
	zipDeflated  = 8
)

func isZip(head []byte) bool {
	return bytes.HasPrefix(head, []byte(zipFileHead)) || bytes.HasPrefix(head, []byte(zipEnd))
}

// placed reads anywhere in what a reading reads.
type placed struct{ *reading }

func (p *placed) ReadAt(b []byte, off int64) (int, error) {
	p.at = off
	return io.ReadFull(p.reading, b)
}

// directory is where a zip's directory lies.
type directory struct{ at, size, entries int64 }

// walkZip gives the files of a zip of size bytes in the order of its directory.
func walkZip(r io.ReaderAt, size int64) (func() (found, error), error) {
	d, err := findDirectory(r, size)
	if err != nil {
		return nil, err
	}
	if d.at < 0 || d.size < 0 || d.entries < 0 || d.at > size || d.size > size-d.at || d.entries > d.size/46 {
		return nil, fmt.Errorf("%w: the directory does not fit", errZip)
	}
	if d.entries > maxMembers {
		return nil, abi.EQUOTA
	}
	list := bufio.NewReaderSize(io.NewSectionReader(r, d.at, d.size), 16<<10)
	left := d.entries
	return func() (found, error) {
		if left == 0 {
			return found{}, io.EOF
		}
		left--
		return nextZip(list, r, d.at)
	}, nil
}

// findDirectory looks for the end, behind which there may be a remark.
func findDirectory(r io.ReaderAt, size int64) (directory, error) {
	tail := make([]byte, min(size, zipEndSize+math.MaxUint16))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil {
		return directory{}, err
	}
	for i := len(tail) - zipEndSize; i >= 0; i-- {
		e := tail[i:]
		if string(e[:4]) != zipEnd || int(binary.LittleEndian.Uint16(e[20:])) != len(e)-zipEndSize {
			continue
		}
		d := directory{
			entries: int64(binary.LittleEndian.Uint16(e[10:])),
			size:    int64(binary.LittleEndian.Uint32(e[12:])),
			at:      int64(binary.LittleEndian.Uint32(e[16:])),
		}
		if d.entries == math.MaxUint16 || d.size == math.MaxUint32 || d.at == math.MaxUint32 {
			return findLarge(r, size-int64(len(e)), d)
		}
		return d, nil
	}
	return directory{}, fmt.Errorf("%w: it has no end", errZip)
}

// findLarge reads the end with large numbers, whose finder stands before the
// ordinary end. Without one the ordinary numbers are meant.
func findLarge(r io.ReaderAt, end int64, d directory) (directory, error) {
	finder := make([]byte, 20)
	if end < int64(len(finder)) {
		return d, nil
	}
	if _, err := r.ReadAt(finder, end-int64(len(finder))); err != nil {
		return d, err
	}
	if string(finder[:4]) != zip64Finder {
		return d, nil
	}
	e, at := make([]byte, 56), int64(binary.LittleEndian.Uint64(finder[8:]))
	if at < 0 || at > end-int64(len(e)) {
		return d, fmt.Errorf("%w: its end does not fit", errZip)
	}
	if _, err := r.ReadAt(e, at); err != nil {
		return d, err
	}
	if string(e[:4]) != zip64End {
		return d, fmt.Errorf("%w: it has no large end", errZip)
	}
	return directory{
		entries: int64(binary.LittleEndian.Uint64(e[32:])),
		size:    int64(binary.LittleEndian.Uint64(e[40:])),
		at:      int64(binary.LittleEndian.Uint64(e[48:])),
	}, nil
}

// zipFile is a file as the directory lists it.
type zipFile struct {
	flags, method  uint16
	crc            uint32
	packed, size   int64
	at             int64 // of its head
	system         byte  // that it was made on
	mode, modeRest uint32
}

// nextZip reads one entry of the directory; files lie before end.
func nextZip(list io.Reader, r io.ReaderAt, end int64) (found, error) {
	h := make([]byte, 46)
	if _, err := io.ReadFull(list, h); err != nil {
		return found{}, err
	}
	if string(h[:4]) != zipEntryHead {
		return found{}, fmt.Errorf("%w: no entry of the directory", errZip)
	}
	z := zipFile{
		system: h[5], flags: binary.LittleEndian.Uint16(h[8:]), method: binary.LittleEndian.Uint16(h[10:]),
		crc: binary.LittleEndian.Uint32(h[16:]), packed: int64(binary.LittleEndian.Uint32(h[20:])),
		size: int64(binary.LittleEndian.Uint32(h[24:])), modeRest: uint32(h[38]), mode: binary.LittleEndian.Uint32(h[38:]) >> 16,
		at: int64(binary.LittleEndian.Uint32(h[42:])),
	}
	name, extra := int(binary.LittleEndian.Uint16(h[28:])), int(binary.LittleEndian.Uint16(h[30:]))
	text := make([]byte, name+extra+int(binary.LittleEndian.Uint16(h[32:])))
	if _, err := io.ReadFull(list, text); err != nil {
		return found{}, err
	}
	if err := z.large(text[name : name+extra]); err != nil {
		return found{}, err
	}
	if z.at < 0 || z.packed < 0 || z.size < 0 || z.at > end || z.packed > end-z.at {
		return found{}, fmt.Errorf("%w: a file does not fit", errZip)
	}
	f := found{raw: string(text[:name]), size: z.size, body: func() (io.Reader, error) { return z.open(r, end) }}
	f.kind, f.perm, f.odd = z.kind(f.raw)
	return f, nil
}

// large takes the numbers that do not fit into 32 bits from the extra fields.
func (z *zipFile) large(extra []byte) error {
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			break
		}
		field := extra[:n]
		extra = extra[n:]
		if id != 1 {
			continue
		}
		for _, v := range []*int64{&z.size, &z.packed, &z.at} {
			if *v != math.MaxUint32 {
				continue
			}
			if len(field) < 8 {
				return fmt.Errorf("%w: a large number is cut off", errZip)
			}
			*v, field = int64(binary.LittleEndian.Uint64(field)), field[8:]
		}
		return nil
	}
	return nil
}

// kind reads what a file is from the mode of the system that it was made on.
func (z *zipFile) kind(name string) (kind, fs.FileMode, bool) {
	const unix, mac, format, plain, dir = 3, 19, 0o170000, 0o100000, 0o040000
	slash := name != "" && name[len(name)-1] == '/'
	if z.system != unix && z.system != mac || z.mode == 0 {
		if slash || z.modeRest&0x10 != 0 {
			return folder, 0o755, false
		}
		return regular, 0o644, false
	}
	perm, odd := fs.FileMode(z.mode)&fs.ModePerm, z.mode&0o6000 != 0
	switch t := z.mode & format; {
	case t == dir || t == 0 && slash:
		return folder, perm, odd
	case (t == plain || t == 0) && !slash:
		return regular, perm, odd
	}
	return special, perm, odd
}

// open gives the content, checked against size and CRC at its end.
func (z *zipFile) open(r io.ReaderAt, end int64) (io.Reader, error) {
	if z.flags&1 != 0 || z.method != zipStored && z.method != zipDeflated {
		return nil, fmt.Errorf("zip method %d, flags %#x: %w", z.method, z.flags, errors.ErrUnsupported)
	}
	h := make([]byte, 30)
	if _, err := r.ReadAt(h, z.at); err != nil {
		return nil, err
	}
	at := z.at + 30 + int64(binary.LittleEndian.Uint16(h[26:])) + int64(binary.LittleEndian.Uint16(h[28:]))
	if string(h[:4]) != zipFileHead || at > end || z.packed > end-at {
		return nil, fmt.Errorf("%w: a file does not fit", errZip)
	}
	packed := io.Reader(io.NewSectionReader(r, at, z.packed))
	if z.method == zipDeflated {
		packed = flate.NewReader(bufio.NewReaderSize(packed, 16<<10))
	}
	return &zipContent{r: packed, left: z.size, crc: z.crc, hash: crc32.NewIEEE()}, nil
}

// zipContent is a file of a zip. It has exactly the bytes that were declared.
type zipContent struct {
	r    io.Reader
	left int64
	crc  uint32
	hash hash.Hash32
}

func (z *zipContent) Read(b []byte) (int, error) {
	n, err := z.r.Read(b)
	if int64(n) > z.left {
		return 0, fmt.Errorf("%w: a file is longer than declared", errZip)
	}
	z.left -= int64(n)
	z.hash.Write(b[:n])
	if err == io.EOF && (z.left > 0 || z.hash.Sum32() != z.crc) {
		err = fmt.Errorf("%w: a file is shorter than declared, or its checksum is wrong", errZip)
	}
	return n, err
}
