package aws

import (
	"fmt"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// The service's limits on streams.
const (
	minBlock      = 256
	maxBlock      = 128 << 10 // bytes
	maxAsked      = 128 << 10 // bytes of the blocks that one request is answered with
	maxBlocks     = 98304     // offset and number of blocks of a request
	maxFile       = 255       // number of a file
	maxStreamed   = 24 << 20  // bytes of a file
	streamVersion = 1         // of every stream
)

// stream is the file of a job that comes in blocks. Its id is the job's.
type stream struct {
	Software cloudsim.Software `json:"software"`
	Size     int64             `json:"size"`               // bytes of the file, whatever the software says
	File     int64             `json:"file"`               // its number
	LoseEach int64             `json:"loseEach,omitempty"` // each so many blocks one is lost
}

// streamAsk is a request about a stream, in JSON or CBOR.
type streamAsk struct {
	token              string
	version            *int64
	file, size, offset *int64
	count              *int64
	bitmap             []byte // nil: all
	etag               string
}

// streamRefusal is a no of the stream service.
type streamRefusal struct{ code, text string }

func (r *streamRefusal) Error() string { return r.code + ": " + r.text }

// describe is the list of files.
func (s *stream) describe() map[string]any {
	return map[string]any{"s": int64(streamVersion), "d": s.Software.File, "r": []any{map[string]any{"f": s.File, "z": s.Size}}}
}

// choose gives the numbers of the blocks that a request is answered with.
func (s *stream) choose(a streamAsk) ([]int64, *streamRefusal) {
	refuse := func(code, format string, args ...any) ([]int64, *streamRefusal) {
		return nil, &streamRefusal{code, fmt.Sprintf(format, args...)}
	}
	offset, count := int64(0), int64(maxBlocks)
	if a.offset != nil {
		offset = *a.offset
	}
	if a.count != nil {
		count = *a.count
	}
	switch {
	case a.file == nil || a.size == nil:
		return refuse("InvalidRequest", "f and l are needed")
	case *a.file != s.File:
		return refuse("ResourceNotFound", "the stream has no file %d", *a.file)
	case a.version != nil && *a.version != streamVersion:
		return refuse("VersionMismatch", "the stream has version %d", streamVersion)
	case a.etag != "" && a.etag != s.Software.MD5:
		return refuse("ETagMismatch", "the file has another ETag")
	case *a.size < minBlock || *a.size > maxBlock:
		return refuse("BlockSizeOutOfBounds", "blocks of %d bytes, want %d to %d", *a.size, minBlock, maxBlock)
	case count < 0 || count > maxBlocks:
		return refuse("BlockCountLimitExceeded", "%d blocks, want at most %d", count, maxBlocks)
	}
	total := (s.Size + *a.size - 1) / *a.size
	if offset < 0 || offset > maxBlocks || offset >= total {
		return refuse("OffsetOutOfBounds", "block %d, the file has %d", offset, total)
	}
	if a.bitmap != nil {
		count = min(count, int64(len(a.bitmap))*8)
	}
	var blocks []int64
	for i := range min(count, total-offset) {
		if a.bitmap != nil && a.bitmap[i/8]>>(i%8)&1 == 0 {
			continue
		}
		if blocks = append(blocks, offset+i); int64(len(blocks)) >= max(1, maxAsked / *a.size) {
			break // the rest is for the next request
		}
	}
	return blocks, nil
}
