package cloudsim

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxPacket bounds what a client may send, in bytes.
const maxPacket = 1 << 20

// The type of the first packet, and those of packets that have a number.
const (
	typeConnect     = 1
	typePublish     = 3
	typePuback      = 4
	typePubrec      = 5
	typePubrel      = 6
	typePubcomp     = 7
	typeSubscribe   = 8
	typeSuback      = 9
	typeUnsubscribe = 10
	typeUnsuback    = 11
)

// How long the faults wait for what may never come.
const (
	reorderWait  = 300 * time.Millisecond // for the message that overtakes
	redeliverIn  = 200 * time.Millisecond // after an acknowledgement that was lost
	maxRemembers = 64                     // messages for redelivery
)

// conn is a connection that sees packets pass, writes the trace and does the
// faults. It stands above TLS and below the broker.
type conn struct {
	net.Conn
	sim  *Sim
	in   *bufio.Reader
	rest []byte // of the packet being read
	end  chan struct{}
	once sync.Once

	client  atomic.Value  // identity, once it is known
	version atomic.Uint32 // of the protocol

	mu   sync.Mutex        // for writing, and what follows
	held []byte            // a message that is to be overtaken
	sent map[uint16][]byte // messages not acknowledged, while acknowledgements get lost
	no   []string          // filters of the latest subscription that were refused
}

// identity is who is at the other end.
type identity struct {
	name        string
	application bool
}

func newConn(socket net.Conn, s *Sim) *conn {
	return &conn{Conn: socket, sim: s, in: bufio.NewReader(socket), end: make(chan struct{}), sent: map[uint16][]byte{}}
}

// id is the device's, or "" before it is known. It never waits.
func (c *conn) id() string {
	who, _ := c.client.Load().(identity)
	return who.name
}

func (c *conn) application() bool {
	who, _ := c.client.Load().(identity)
	return who.application
}

func (c *conn) admit(name string, application bool) { c.client.Store(identity{name, application}) }

// place is where its topics are inside the broker.
func (c *conn) place() string {
	if c.application() {
		return application
	}
	return subscribed(c.id())
}

// certificate is what the client showed, nil for none.
func (c *conn) certificate() *x509.Certificate {
	secure, ok := c.Conn.(*tls.Conn)
	if !ok || len(secure.ConnectionState().PeerCertificates) == 0 {
		return nil
	}
	return secure.ConnectionState().PeerCertificates[0]
}

// expire ends the connection at a time, if there is one.
func (c *conn) expire(at time.Time) {
	if !at.IsZero() {
		c.later(at.Sub(c.sim.Now()), func() { _ = c.Close() })
	}
}

func (c *conn) deny(filters []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.no = filters
}

func (c *conn) denied(filter string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.no, filter)
}

// Close ends the connection and whatever its faults wait for.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.end) })
	return c.Conn.Close()
}

// Read gives the broker the packets that are not lost.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		packet, err := readPacket(c.in)
		if err != nil {
			return 0, err
		}
		if c.up(packet) {
			moveIn(packet)
			c.rest = packet
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// readPacket reads one whole.
func readPacket(r *bufio.Reader) ([]byte, error) {
	packet := make([]byte, 0, 64)
	length := 0
	for i := range 5 {
		b, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		packet = append(packet, b)
		if i == 0 {
			continue
		}
		length |= int(b&0x7f) << (7 * (i - 1))
		if b < 0x80 {
			break
		}
	}
	if length > maxPacket {
		return nil, fmt.Errorf("a packet of %d bytes, at most %d are taken", length, maxPacket)
	}
	head := len(packet)
	packet = append(packet, make([]byte, length)...)
	_, err := io.ReadFull(r, packet[head:])
	return packet, err
}

// up says whether a packet of the client reaches the broker.
func (c *conn) up(packet []byte) bool {
	client := c.id()
	if c.sim.faults.on(FaultSilent, client) {
		return false
	}
	switch packet[0] >> 4 {
	case typeConnect:
		c.version.Store(uint32(versionOf(packet)))
	case typePublish:
		c.sim.trace.packet(client, "up", packet, byte(c.version.Load()))
		if c.sim.faults.hit(FaultDrop, client) {
			_ = c.Close()
			return false
		}
	case typePuback:
		if c.sim.faults.hit(FaultLostPuback, client) {
			c.redeliver(packet)
			return false
		}
	}
	return true
}

// redeliver sends a message again whose acknowledgement is lost, as brokers do.
func (c *conn) redeliver(puback []byte) {
	if len(puback) < 4 {
		return
	}
	c.mu.Lock()
	id := binary.BigEndian.Uint16(puback[2:])
	packet := c.sent[id]
	delete(c.sent, id)
	c.mu.Unlock()
	if packet == nil {
		return
	}
	c.later(redeliverIn, func() { _, _ = c.Write(again(packet)) })
}

// again marks a message as sent before.
func again(packet []byte) []byte {
	packet = append([]byte(nil), packet...)
	packet[0] |= 8
	return packet
}

// later does something, unless the connection ends before.
func (c *conn) later(d time.Duration, f func()) {
	c.sim.spawn(func() {
		if c.pause(d) {
			f()
		}
	})
}

// pause waits, and says whether the connection is still there.
func (c *conn) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.end:
		return false
	}
}

// Write sends the packets of the broker that are not lost, late or too early.
// What it is given holds whole packets.
func (c *conn) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n, ok := packetLen(rest)
		if !ok {
			return 0, io.ErrShortWrite // the broker writes whole packets only
		}
		if err := c.down(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// packetLen is the size of the first packet in p.
func packetLen(p []byte) (int, bool) {
	length := 0
	for i := 1; i < len(p) && i < 5; i++ {
		length |= int(p[i]&0x7f) << (7 * (i - 1))
		if p[i] < 0x80 {
			return i + 1 + length, i+1+length <= len(p)
		}
	}
	return 0, false
}

func (c *conn) down(packet []byte) error {
	client, faults := c.id(), c.sim.faults
	kind := packet[0] >> 4
	if faults.on(FaultSilent, client) || kind == typePuback && faults.hit(FaultLostPuback, client) {
		return nil
	}
	if kind != typePublish {
		return c.put(moveOut(packet))
	}
	if f, ok := faults.get(FaultDelay, client); ok && !c.pause(time.Duration(f.Delay)) {
		return net.ErrClosed
	}
	if faults.on(FaultLostPuback, client) {
		c.remember(packet)
	}
	if faults.hit(FaultReorder, client) && c.hold(packet) {
		return nil
	}
	if err := c.put(packet); err != nil {
		return err
	}
	if faults.hit(FaultDuplicate, client) {
		if err := c.put(again(packet)); err != nil {
			return err
		}
	}
	return c.release()
}

// remember keeps a message for the case that its acknowledgement is lost.
func (c *conn) remember(packet []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, ok := parsePublish(packet); ok && m.qos > 0 && len(c.sent) < maxRemembers {
		c.sent[m.id] = append([]byte(nil), packet...)
	}
}

// hold keeps a message back until the next one has passed, or for a while.
func (c *conn) hold(packet []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil {
		return false
	}
	c.held = append([]byte(nil), packet...)
	c.later(reorderWait, func() { _ = c.release() })
	return true
}

func (c *conn) release() error {
	c.mu.Lock()
	packet := c.held
	c.held = nil
	c.mu.Unlock()
	if packet == nil {
		return nil
	}
	return c.put(packet)
}

// put writes one packet to the socket.
func (c *conn) put(packet []byte) error {
	client := c.id()
	c.mu.Lock()
	defer c.mu.Unlock()
	if packet[0]>>4 == typePublish {
		c.sim.trace.packet(client, "down", packet, byte(c.version.Load())) // first, so that what the client does about it follows
	}
	_, err := c.Conn.Write(packet)
	return err
}
