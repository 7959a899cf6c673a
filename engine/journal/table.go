package journal

import (
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// checkTable holds a table of Badger's to its checksums and gives the newest
// transaction number in it. Badger ends the process when a length at the end
// of a table is wrong, and opens tables in goroutines of its own, where no
// panic can be caught.
//
// As its table/builder.go writes it: blocks; index; length of the index;
// checksum of the index; length of the checksum. A block ends with its
// checksum and the length of that. Lengths have 4 bytes, big-endian.
func checkTable(path string) (newest uint64, err error) {
	data, err := readAll(path)
	if err != nil {
		return 0, err
	}
	err = guarded(func() error { newest, err = readTable(data); return err })
	if err != nil {
		return 0, damaged("%s: %v", path, err)
	}
	return newest, nil
}

func readTable(data []byte) (uint64, error) {
	rest, sum, err := cutLast(data)
	if err != nil {
		return 0, fmt.Errorf("checksum of the index: %w", err)
	}
	blocks, index, err := cutLast(rest)
	if err != nil {
		return 0, fmt.Errorf("index: %w", err)
	}
	if err := compare(index, sum); err != nil {
		return 0, fmt.Errorf("index: %w", err)
	}
	table := fb.GetRootAsTableIndex(index, 0)
	if table.OffsetsLength() == 0 {
		return 0, fmt.Errorf("no blocks in the index")
	}
	var at uint64
	for i := range table.OffsetsLength() {
		var b fb.BlockOffset
		if !table.Offsets(&b, i) || uint64(b.Offset()) != at || at+uint64(b.Len()) > uint64(len(blocks)) {
			return 0, fmt.Errorf("block %d is not at byte %d", i, at)
		}
		body, sum, err := cutLast(blocks[at : at+uint64(b.Len())])
		if err == nil {
			err = compare(body, sum)
		}
		if err != nil {
			return 0, fmt.Errorf("block %d at byte %d: %w", i, at, err)
		}
		at += uint64(b.Len())
	}
	if at != uint64(len(blocks)) {
		return 0, fmt.Errorf("%d bytes before the index, expected %d", len(blocks), at)
	}
	return table.MaxVersion(), nil
}

// cutLast splits off a last part that is followed by its length.
func cutLast(data []byte) (before, last []byte, err error) {
	const size = 4
	if len(data) < size {
		return nil, nil, fmt.Errorf("%d bytes, expected at least %d", len(data), size)
	}
	end := len(data) - size
	n := binary.BigEndian.Uint32(data[end:])
	if uint64(n) > uint64(end) {
		return nil, nil, fmt.Errorf("a length of %d in %d bytes", n, end)
	}
	return data[:end-int(n)], data[end-int(n) : end], nil
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
