package journal

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// checkTable holds a table of Badger's to its checksums and gives the newest
// transaction number in it. Badger opens tables in goroutines of its own,
// where no panic can be caught, and most kinds of damage make it panic there.
//
// As its table/builder.go writes it: blocks; index; length of the index;
// checksum of the index; length of the checksum. A block ends with its
// checksum and the length of that. Lengths have 4 bytes, big-endian. Memory is
// needed for the index and one block.
func checkTable(path string) (newest uint64, err error) {
	in, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer in.Close() //nolint:errcheck // it was only read
	info, err := in.Stat()
	if err != nil {
		return 0, err
	}
	err = guarded(func() error { newest, err = readTable(in, info.Size()); return err })
	if err != nil {
		return 0, damaged("%s: %v", path, err)
	}
	return newest, nil
}

func readTable(in io.ReaderAt, size int64) (uint64, error) {
	sum, end, err := readLast(in, size)
	if err != nil {
		return 0, fmt.Errorf("checksum of the index: %w", err)
	}
	index, end, err := readLast(in, end)
	if err != nil {
		return 0, fmt.Errorf("index: %w", err)
	}
	if err := compare(index, sum); err != nil {
		return 0, fmt.Errorf("index: %w", err)
	}
	// The checksum was right, so what follows is as Badger wrote it.
	table := fb.GetRootAsTableIndex(index, 0)
	if table.OffsetsLength() == 0 {
		return 0, fmt.Errorf("no blocks in the index")
	}
	var at int64
	for i := range table.OffsetsLength() {
		var b fb.BlockOffset
		if !table.Offsets(&b, i) || int64(b.Offset()) != at || int64(b.Len()) > end-at {
			return 0, fmt.Errorf("block %d is not at byte %d", i, at)
		}
		if err := checkBlock(in, at, int(b.Len())); err != nil {
			return 0, fmt.Errorf("block %d at byte %d: %w", i, at, err)
		}
		at += int64(b.Len())
	}
	if at != end {
		return 0, fmt.Errorf("%d bytes before the index, expected %d", end, at)
	}
	return table.MaxVersion(), nil
}

func checkBlock(in io.ReaderAt, at int64, size int) error {
	section := io.NewSectionReader(in, at, int64(size))
	sum, end, err := readLast(section, int64(size))
	if err != nil {
		return err
	}
	body := make([]byte, end)
	if _, err := section.ReadAt(body, 0); err != nil {
		return err
	}
	return compare(body, sum)
}

// readLast reads a last part that is followed by its length, and gives where
// it begins.
func readLast(in io.ReaderAt, size int64) (last []byte, start int64, err error) {
	const width = 4
	end := size - width
	if end < 0 {
		return nil, 0, fmt.Errorf("%d bytes, expected at least %d", size, width)
	}
	var length [width]byte
	if _, err := in.ReadAt(length[:], end); err != nil {
		return nil, 0, err
	}
	n := int64(binary.BigEndian.Uint32(length[:]))
	if n > min(end, maxRead) {
		return nil, 0, fmt.Errorf("a length of %d in %d bytes, expected at most %d", n, size, maxRead)
	}
	last = make([]byte, n)
	_, err = in.ReadAt(last, end-n)
	if n == 0 {
		err = nil
	}
	return last, end - n, err
}

// compare is what Badger's own does, without its panic on an unknown kind.
func compare(data, sum []byte) error {
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return fmt.Errorf("checksum: %w", err)
	}
	if want.Algo != pb.Checksum_CRC32C && want.Algo != pb.Checksum_XXHash64 {
		return fmt.Errorf("unknown kind of checksum %d", want.Algo)
	}
	return y.VerifyChecksum(data, &want)
}
