package mqtt

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Packet types of MQTT 3.1.1 that a broker may send to us.
const (
	typeConnack  = 2
	typePublish  = 3
	typePuback   = 4
	typeSuback   = 9
	typeUnsuback = 11
	typePingresp = 13
)

// wire is a connection that shows the library whole, well-formed packets of
// bounded size only. The library allocates what a length says and indexes by
// what a packet says; both are the broker's to choose.
//
// It is the watchdog as well: each read has a deadline that any packet
// renews, pings included, and each write has one of its own. The deadlines
// that the library sets are ignored.
type wire struct {
	net.Conn
	in       *bufio.Reader
	limit    int64         // bytes of a packet
	patience time.Duration // without a byte from the broker
	answer   time.Duration // for a write
	first    time.Time     // deadline of CONNACK
	log      func(string)

	packet  []byte    // what is left of the packet being read
	open    bool      // CONNACK was seen; of the reading goroutine
	refused *oversize // that is being skipped; of the reading goroutine
	period  time.Duration

	writing sync.Mutex
	mu      sync.Mutex
	fault   error
}

func newWire(conn net.Conn, first time.Time, c *Config, log func(string)) *wire {
	w := &wire{Conn: conn, limit: c.MaxMessage, answer: c.AnswerTimeout, first: first, log: log}
	// A ping is sent after one period, or up to half a period later.
	w.patience = c.KeepAlive*3/2 + c.AnswerTimeout
	w.period = c.KeepAlive
	w.in = bufio.NewReader(raw{w})
	return w
}

// raw reads below the packets, with the deadline of the moment.
type raw struct{ w *wire }

func (r raw) Read(p []byte) (int, error) {
	deadline := r.w.first
	if r.w.open {
		deadline = time.Now().Add(r.w.patience)
	}
	if err := r.w.Conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := r.w.Conn.Read(p)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && r.w.open:
		err = fmt.Errorf("%w: nothing came for %s", ErrSilent, r.w.patience)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%w: it took the connection and sent no CONNACK", ErrSilent)
	}
	return n, err
}

// SetDeadline does nothing, see [wire].
func (w *wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing, see [wire].
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing, see [wire].
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// Read gives the bytes of checked packets.
func (w *wire) Read(p []byte) (int, error) {
	for len(w.packet) == 0 {
		packet, err := w.next()
		if err != nil {
			return 0, w.fail(err)
		}
		w.packet = packet
	}
	n := copy(p, w.packet)
	w.packet = w.packet[n:]
	return n, nil
}

// Write sends one packet whole; the library and the refusal of large messages both write.
func (w *wire) Write(p []byte) (int, error) {
	w.writing.Lock()
	defer w.writing.Unlock()
	if err := w.Conn.SetWriteDeadline(time.Now().Add(w.answer)); err != nil {
		return 0, w.fail(err)
	}
	n, err := w.Conn.Write(p)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, w.fail(fmt.Errorf("%w: %d bytes could not be sent in %s", ErrSilent, len(p), w.answer))
	case err != nil:
		return n, w.fail(err)
	}
	return n, nil
}

// fail keeps the first error, which is the cause of the others.
func (w *wire) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault != nil {
		return w.fault
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: the broker closed it", ErrLost)
	}
	w.fault = err
	return err
}

// cause is the first error, if any.
func (w *wire) cause() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fault
}

// next reads one packet. It gives nil for one that was skipped.
func (w *wire) next() ([]byte, error) {
	if w.refused != nil {
		return w.skip()
	}
	head, length, err := w.header()
	if err != nil {
		return nil, err
	}
	kind := head[0] >> 4
	switch {
	case !w.open && kind != typeConnack:
		return nil, fmt.Errorf("%w: packet type %d before CONNACK", ErrProtocol, kind)
	case kind == typePublish:
		return w.publish(head, length)
	}
	if !w.open {
		w.open = true
		return w.connack(head, length)
	}
	// We subscribe to one topic at a time, so SUBACK has one code.
	want, ok := map[byte]int64{typePuback: 2, typeSuback: 3, typeUnsuback: 2, typePingresp: 0}[kind]
	if !ok || length != want {
		return nil, fmt.Errorf("%w: packet of type %d with %d bytes", ErrProtocol, kind, length)
	}
	return w.body(head, length)
}

// header reads type and length, and gives them as they came.
func (w *wire) header() (head []byte, length int64, err error) {
	b, err := w.in.ReadByte()
	if err != nil {
		return nil, 0, err
	}
	head = append(make([]byte, 0, 5), b)
	for shift := 0; ; shift += 7 {
		if b, err = w.in.ReadByte(); err != nil {
			return nil, 0, unexpected(err)
		}
		head = append(head, b)
		length |= int64(b&0x7f) << shift
		if b < 0x80 {
			return head, length, nil
		}
		if shift == 21 {
			return nil, 0, fmt.Errorf("%w: length of a packet has more than four bytes", ErrProtocol)
		}
	}
}

func (w *wire) body(head []byte, length int64) ([]byte, error) {
	packet := make([]byte, len(head)+int(length)) // at most the limit
	copy(packet, head)
	_, err := io.ReadFull(w.in, packet[len(head):])
	return packet, unexpected(err)
}

func (w *wire) connack(head []byte, length int64) ([]byte, error) {
	if length != 2 {
		return nil, fmt.Errorf("%w: CONNACK of %d bytes", ErrProtocol, length)
	}
	packet, err := w.body(head, length)
	if err == nil && packet[3] > 5 {
		return nil, fmt.Errorf("%w: CONNACK with the unknown code %d", ErrProtocol, packet[3])
	}
	return packet, err
}

func (w *wire) publish(head []byte, length int64) ([]byte, error) {
	qos := head[0] >> 1 & 3
	if qos > 1 {
		return nil, fmt.Errorf("%w: a message with QoS %d, at most 1 was asked for", ErrProtocol, qos)
	}
	if length > w.limit {
		return nil, w.tooLarge(qos, length)
	}
	packet, err := w.body(head, length)
	if err != nil {
		return nil, err
	}
	body := packet[len(head):]
	if len(body) < 2 {
		return nil, fmt.Errorf("%w: a message without a topic", ErrProtocol)
	}
	end := 2 + int(binary.BigEndian.Uint16(body))
	if need := end + 2*int(qos); need > len(body) {
		return nil, fmt.Errorf("%w: a topic of %d bytes in a message of %d", ErrProtocol, end-2, len(body))
	}
	number := body[end : end+2*int(qos)]
	if bytes.Equal(number, []byte{0, 0}) {
		return nil, fmt.Errorf("%w: a message with the number 0", ErrProtocol)
	}
	if topic := string(body[2:end]); !validTopic(topic) {
		w.log(fmt.Sprintf("refused a message on %s: no message can have this topic", shown(topic)))
		return nil, w.refuse(number)
	}
	return packet, nil
}

// refuse acknowledges a message that nobody gets to see, for otherwise it
// would come again with each connection. With QoS 0 it has no number.
func (w *wire) refuse(number []byte) error {
	if len(number) == 0 {
		return nil
	}
	_, err := w.Write([]byte{typePuback << 4, 2, number[0], number[1]})
	return err
}

// oversize is a message that is too large, of which left bytes are still to come.
type oversize struct {
	length, left int64 // bytes
	topic        string
	number       []byte
	deadline     time.Time
}

// leastRate is how fast a message that is too large must come, in bytes a
// second, or else the connection ends: nothing useful comes behind it meanwhile.
const leastRate = 64 << 10

// tooLarge begins to read past a message that is too large.
func (w *wire) tooLarge(qos byte, length int64) error {
	var size [2]byte
	if _, err := io.ReadFull(w.in, size[:]); err != nil {
		return unexpected(err)
	}
	topic := make([]byte, binary.BigEndian.Uint16(size[:]))
	left := length - 2 - int64(len(topic)) - 2*int64(qos)
	if left < 0 {
		return fmt.Errorf("%w: a topic of %d bytes in a message of %d", ErrProtocol, len(topic), length)
	}
	if _, err := io.ReadFull(w.in, topic); err != nil {
		return unexpected(err)
	}
	number := make([]byte, 2*int(qos))
	if _, err := io.ReadFull(w.in, number); err != nil {
		return unexpected(err)
	}
	allowed := w.patience + time.Duration(length/leastRate)*time.Second
	w.refused = &oversize{length: length, left: left, topic: string(topic), number: number, deadline: time.Now().Add(allowed)}
	return nil
}

// skip reads on past a message that is too large. No answer to a ping can come
// in the midst of it, so the library gets one from here: bytes that come
// are as much a sign of life.
func (w *wire) skip() ([]byte, error) {
	m, began := w.refused, time.Now()
	for m.left > 0 {
		n, err := w.in.Discard(int(min(m.left, 64<<10)))
		if m.left -= int64(n); err != nil {
			return nil, unexpected(err)
		}
		now := time.Now()
		if now.After(m.deadline) {
			return nil, fmt.Errorf("%w: a message of %d bytes on %s, which are too many anyway, comes too slowly", ErrSilent, m.length, shown(m.topic))
		}
		if now.Sub(began) >= w.period/2 {
			return []byte{typePingresp << 4, 0}, nil
		}
	}
	w.refused = nil
	w.log(fmt.Sprintf("refused a message of %d bytes on %s: at most %d are taken", m.length, shown(m.topic), w.limit))
	return nil, w.refuse(m.number)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// validTopic says whether a message can have this topic.
func validTopic(topic string) bool {
	return topic != "" && len(topic) <= 65535 && utf8.ValidString(topic) && !strings.ContainsAny(topic, "+#\x00")
}

// shown makes a topic fit for a log, whatever it holds.
func shown(topic string) string {
	if len(topic) > 100 {
		topic = topic[:100] + "…"
	}
	return fmt.Sprintf("%q", strings.ToValidUTF8(topic, "�"))
}
