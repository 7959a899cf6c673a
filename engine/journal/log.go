package journal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strconv"
)

// Badger's write-ahead log, as its memtable.go and structs.go write it: a
// header of 20 bytes (key number, random bytes), then records: meta, user
// meta, three varints (length of key and value, expiry), key with an 8-byte
// transaction number, value, CRC-32C of all this. The records of a transaction
// carry metaTxn; one with metaEnd and the number in decimal ends it.
const (
	logHeader = 20
	metaTxn   = 1 << 6
	metaEnd   = 1 << 7
	endKey    = "!badger!txn"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// walked is what can be read of a log.
type walked struct {
	key         uint64 // number of the encryption key
	batches     int
	first, last uint64 // transaction numbers
	end         int64  // behind the last whole transaction
	beyond      uint64 // largest number of a transaction that ends behind end
}

// walk reads as far as Badger would. Since each transaction is durable before
// the next one is written, a later one behind a damaged one is proof that an
// acknowledged one is lost.
func walk(data []byte) walked {
	var w walked
	if len(data) < logHeader {
		return w
	}
	w.key = binary.BigEndian.Uint64(data)
	at, open := logHeader, uint64(0) // open is the number of a transaction not yet ended
	w.end = logHeader
scan:
	for {
		r, ok := readRecord(data[at:])
		if !ok {
			break
		}
		at += r.size
		switch {
		case r.meta&metaTxn != 0 && (open == 0 || open == r.number):
			open = r.number
			continue
		case r.meta&metaEnd != 0 && open == r.number && r.ends():
			if w.batches++; w.batches == 1 {
				w.first = r.number
			}
			w.last, w.end, open = r.number, int64(at), 0
			continue
		}
		break scan
	}
	w.beyond = ends(data[w.end:])
	return w
}

// ends gives the largest number of a whole end record anywhere in data.
func ends(data []byte) (largest uint64) {
	// An end record begins 5 bytes before its key: meta, user meta, lengths
	// of one byte each, no expiry.
	const before = 5
	for at := 0; ; {
		i := bytes.Index(data[at:], []byte(endKey))
		if i < 0 {
			return largest
		}
		if start := at + i - before; start >= 0 {
			if r, ok := readRecord(data[start:]); ok && r.meta&metaEnd != 0 && r.ends() {
				largest = max(largest, r.number)
			}
		}
		at += i + 1
	}
}

type record struct {
	meta   byte
	number uint64 // of the transaction
	value  []byte
	size   int
}

// ends says whether the value repeats the number.
func (r record) ends() bool { return string(r.value) == strconv.FormatUint(r.number, 10) }

// readRecord reads one whole record. Zeros are none.
func readRecord(data []byte) (record, bool) {
	const least, numberSize = 5, 8
	if len(data) < least || data[0] == 0 {
		return record{}, false
	}
	at := 2
	var n [3]uint64
	for i := range n {
		v, size := binary.Uvarint(data[at:])
		if size <= 0 {
			return record{}, false
		}
		n[i], at = v, at+size
	}
	key, value, left := n[0], n[1], uint64(len(data)-at)
	if key < numberSize || key > 1<<16 || value > left || key+value+crc32.Size > left {
		return record{}, false
	}
	end := at + int(key+value)
	if binary.BigEndian.Uint32(data[end:]) != crc32.Checksum(data[:end], castagnoli) {
		return record{}, false
	}
	keyEnd := at + int(key)
	// Badger stores the number inverted, so that newer ones sort first.
	number := ^binary.BigEndian.Uint64(data[keyEnd-numberSize:])
	return record{meta: data[0], number: number, value: data[keyEnd:end], size: end + crc32.Size}, true
}
