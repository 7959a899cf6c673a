package awsjobs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// StreamScheme is that of the URLs by which commands name the file of a stream.
const StreamScheme = "aws-stream"

// The service's limits on files and requests.
const (
	minBlock    = 256            // bytes
	maxBlock    = 128 << 10      // bytes
	maxRequest  = 128 << 10      // bytes of all blocks that one request asks for
	maxBlocks   = 98304          // of a file
	maxFile     = 24 << 20       // bytes
	maxFileID   = 255            // number of a file in its stream
	plainBlock  = int64(4 << 10) // bytes, the default
	streamToken = 64             // bytes of a version
)

// Times of waiting for blocks.
const (
	closely    = 2 * time.Second // after the block before
	streamWait = time.Minute     // the longest pause between two requests
)

// Errors of a stream. [StreamError] wraps ErrStream.
var (
	// ErrStream means that the stream cannot give the file, however often it is asked.
	ErrStream = errors.New("stream cannot be read")
	// ErrMore means that no more bytes are here yet: they are asked for, and
	// come with further messages.
	ErrMore = errors.New("more of the stream is to come")
)

// StreamError is the service's own word against a request. It wraps [ErrStream].
type StreamError struct{ Code, Text string }

func (e *StreamError) Error() string { return fmt.Sprintf("%v: %s %s", ErrStream, e.Code, e.Text) }

// Unwrap gives [ErrStream].
func (e *StreamError) Unwrap() error { return ErrStream }

// StreamConfig says which file is wanted. Sizes are in bytes.
type StreamConfig struct {
	Device string // the name of the thing
	Stream string // letters, digits and _- up to 128
	File   int    // 0 to 255
	Size   int64  // of the file, at most 24 MiB; 0: the service is asked
	Block  int64  // 256 to 131072; the default is 4096
	From   int64  // where reading begins, such as after a restart
}

// StreamURL names a file of a stream, as the input url of a command does.
func StreamURL(stream string, file int64) string {
	return StreamScheme + ":" + stream + "/" + strconv.FormatInt(file, 10)
}

// ParseStreamURL reads what [StreamURL] writes. Errors wrap [ErrMessage].
func ParseStreamURL(text string) (stream string, file int, err error) {
	rest, ours := strings.CutPrefix(text, StreamScheme+":")
	stream, number, _ := strings.Cut(rest, "/")
	file, err = strconv.Atoi(number)
	if !ours || err != nil || file < 0 || file > maxFileID || checkName(stream, 128, "_-") != nil || StreamURL(stream, int64(file)) != text {
		return "", 0, fmt.Errorf("%w: want %s:STREAM/FILE with a file from 0 to %d", ErrMessage, StreamScheme, maxFileID)
	}
	return stream, file, nil
}

// Stream is one reading of a file that the service sends in blocks over MQTT: a
// machine without sockets or clock, as a dialect is. Its owner subscribes to
// [Stream.Topics], publishes what [Stream.Poll] says, hands each message to
// [Stream.Message], and takes the bytes in their order from [Stream.Read].
//
// Blocks may come in any order, twice or not at all. Those that are missing are
// asked for again. At most 128 KiB are held: further blocks are asked for once
// those before have been read. It must not be shared.
//
// Nothing here proves that the bytes are right; their digest does.
type Stream struct {
	c       StreamConfig
	topic   string
	version string // of the stream, "" before it is known
	size    int64  // -1 before it is known
	at      int64  // offset of the next byte of Read
	first   int64  // number of the first block of the window
	blocks  [][]byte

	count   int       // of requests, for their token
	tokens  []string  // of the last requests, the newest last
	fresh   bool      // there is something to ask for that was not asked for
	arrived bool      // something has come since the last Poll
	came    bool      // the last request has brought something
	since   time.Time // when that was, or when it was made
	misses  int       // requests in a row that brought nothing
	err     error
}

// NewStream makes a stream. Errors wrap [ErrConfig].
func NewStream(c StreamConfig) (*Stream, error) {
	if c.Block == 0 {
		c.Block = plainBlock
	}
	var wrong []error
	add := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	if err := checkName(c.Device, 128, ":_-"); err != nil {
		add("device %.140q: %w", c.Device, err)
	}
	if err := checkName(c.Stream, 128, "_-"); err != nil {
		add("stream %.140q: %w", c.Stream, err)
	}
	if c.File < 0 || c.File > maxFileID {
		add("file %d: want 0 to %d", c.File, maxFileID)
	}
	if c.Block < minBlock || c.Block > maxBlock {
		add("blocks of %d bytes: want %d to %d", c.Block, minBlock, maxBlock)
	}
	if c.Size < 0 || c.From < 0 || c.Size > 0 && c.From > c.Size {
		add("%d bytes from %d: want a size, and a beginning within it", c.Size, c.From)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	s := &Stream{c: c, topic: "$aws/things/" + c.Device + "/streams/" + c.Stream, size: -1, at: c.From, first: c.From / c.Block, fresh: true}
	if c.Size > 0 {
		if err := s.sized(c.Size); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	return s, nil
}

// sized takes the size of the file.
func (s *Stream) sized(size int64) error {
	if size > maxFile || (size+s.c.Block-1)/s.c.Block > maxBlocks {
		return fmt.Errorf("%w: the file has %d bytes, want at most %d, in at most %d blocks", ErrStream, size, int64(maxFile), maxBlocks)
	}
	if s.at > size {
		return fmt.Errorf("%w: the file has %d bytes, reading was to begin at %d", ErrStream, size, s.at)
	}
	s.size = size
	s.window()
	return nil
}

// window makes room for the next blocks.
func (s *Stream) window() {
	n := min(max(1, maxRequest/s.c.Block), s.total()-s.first)
	s.blocks = make([][]byte, max(0, n))
	s.fresh, s.misses = true, 0
}

// total is the number of blocks of the file.
func (s *Stream) total() int64 { return (s.size + s.c.Block - 1) / s.c.Block }

// Topics are those to subscribe to, at QoS 0 or 1.
func (s *Stream) Topics() []string {
	return []string{s.topic + "/description/json", s.topic + "/data/json", s.topic + "/rejected/json"}
}

// Size is the number of bytes of the file, or -1 before it is known.
func (s *Stream) Size() int64 { return s.size }

// Offset is where the next byte of [Stream.Read] stands in the file: a stream made
// with it as From goes on there.
func (s *Stream) Offset() int64 { return s.at }

// Poll says what is to be published now, with Kind "" for nothing, and after how
// long to ask again; 0 is when a message has come or bytes have been read. It
// is to be called after each message too. Each attempt without an
// answer makes the next pause longer; only its owner gives a stream up.
func (s *Stream) Poll(now time.Time) (out control.Out, again time.Duration) {
	if s.arrived {
		s.arrived, s.came, s.since = false, true, now
	}
	if s.err != nil || s.size >= 0 && !slices.ContainsFunc(s.blocks, func(b []byte) bool { return b == nil }) {
		return control.Out{}, 0
	}
	if !s.fresh {
		wait := s.pause()
		if rest := wait - now.Sub(s.since); rest > 0 && rest <= wait { // a clock that goes back is not waited for
			return control.Out{}, rest
		}
		if s.misses++; s.came {
			s.misses = 0
		}
	}
	s.fresh, s.came, s.since = false, false, now
	return s.request(now), s.pause()
}

// pause is how long to wait for the next block: those of one request follow each other closely.
func (s *Stream) pause() time.Duration {
	if s.came {
		return closely
	}
	return min(streamWait, firstWait<<min(s.misses, 3))
}

// Lost is to be called when the connection is lost: what was asked for is asked for again.
func (s *Stream) Lost() { s.fresh, s.misses = true, 0 }

// request asks for the description, or for the missing blocks of the window.
func (s *Stream) request(now time.Time) control.Out {
	s.count++
	token := strconv.FormatInt(now.Unix(), 10) + "-" + strconv.Itoa(s.count)
	s.tokens = append(s.tokens[max(0, len(s.tokens)-3):], token)
	body, verb := map[string]any{"c": token}, "describe"
	if s.size >= 0 {
		verb = "get"
		body["f"], body["l"], body["o"], body["n"], body["b"] = s.c.File, s.c.Block, s.first, len(s.blocks), s.bitmap()
		if n, err := strconv.Atoi(s.version); err == nil {
			body["s"] = n
		}
	}
	return control.Out{Kind: control.OutPublish, Topic: s.topic + "/" + verb + "/json", Payload: marshal(body)}
}

// bitmap has a bit for each missing block of the window: the lowest bit of the
// first byte is that of the first block.
func (s *Stream) bitmap() string {
	bits := make([]byte, (len(s.blocks)+7)/8)
	for i, b := range s.blocks {
		if b == nil {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return hex.EncodeToString(bits)
}

// Read gives the bytes that are here, in order. It returns [ErrMore] if the
// next ones are not, io.EOF after the last one of the file, and an error that
// wraps [ErrStream] if there will be none.
func (s *Stream) Read(p []byte) (int, error) {
	switch {
	case s.err != nil:
		return 0, s.err
	case s.size >= 0 && s.at == s.size:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	n := 0
	for n < len(p) && s.at < s.size {
		i := s.at/s.c.Block - s.first
		if i >= int64(len(s.blocks)) || s.blocks[i] == nil {
			break
		}
		copied := copy(p[n:], s.blocks[i][s.at%s.c.Block:])
		n, s.at = n+copied, s.at+int64(copied)
		if s.at/s.c.Block == s.first+int64(len(s.blocks)) && s.at < s.size {
			s.first += int64(len(s.blocks))
			s.window()
		}
	}
	if n == 0 {
		return 0, ErrMore
	}
	return n, nil
}
