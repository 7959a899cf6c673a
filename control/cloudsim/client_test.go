package cloudsim_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// client is a device that does with packets what the test says, no more.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	next uint16
	kept []packet // messages that came while something else was awaited
}

// packet is what a broker sent.
type packet struct {
	kind, flags byte
	id          uint16 // of PUBLISH with QoS 1, PUBACK, SUBACK
	topic       string
	body        string // of PUBLISH the payload, else all after the id
}

// dial connects and gives the code of CONNACK, or -1 if there is none.
func dial(t *testing.T, broker, id string) (*client, int) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(broker, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{t: t, conn: conn, in: bufio.NewReader(conn)}
	c.send(0x10, "\x00\x04MQTT\x04\x00\x00\x3c"+text(id)) // the session is kept
	p, ok := c.read(2 * time.Second)
	if !ok || p.kind != 2 {
		return c, -1
	}
	return c, int(p.body[1])
}

func text(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s
}

func (c *client) send(head byte, body string) {
	c.t.Helper()
	length := binary.AppendUvarint(nil, uint64(len(body))) // the same form as MQTT's
	_ = c.conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.conn.Write(append(append([]byte{head}, length...), body...)); err != nil {
		c.t.Logf("send: %v", err)
	}
}

func (c *client) number() string {
	c.next++
	return string(binary.BigEndian.AppendUint16(nil, c.next))
}

func (c *client) subscribe(filter string) (code byte) {
	c.t.Helper()
	c.send(0x82, c.number()+text(filter)+"\x01")
	p := c.want(9)
	return p.body[0]
}

func (c *client) publish(topic, payload string) { c.send(0x32, text(topic)+c.number()+payload) }

func (c *client) ack(p packet) {
	c.send(0x40, string(binary.BigEndian.AppendUint16(nil, p.id)))
}

// read gives the next packet, or ok false if the connection ends or is quiet.
func (c *client) read(patience time.Duration) (p packet, ok bool) {
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	head, err := c.in.ReadByte()
	if err != nil {
		return p, false
	}
	length, err := binary.ReadUvarint(c.in)
	if err != nil {
		return p, false
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return p, false
	}
	p.kind, p.flags = head>>4, head&15
	if p.kind == 3 {
		end := 2 + binary.BigEndian.Uint16(body)
		p.topic, body = string(body[2:end]), body[end:]
	}
	if (p.kind != 3 || p.flags&6 != 0) && p.kind != 2 && len(body) >= 2 {
		p.id, body = binary.BigEndian.Uint16(body), body[2:]
	}
	p.body = string(body)
	return p, true
}

// want gives the next packet of a kind; messages are acknowledged, and kept
// for when they are wanted.
func (c *client) want(kind byte) packet {
	c.t.Helper()
	if kind == 3 && len(c.kept) > 0 {
		p := c.kept[0]
		c.kept = c.kept[1:]
		return p
	}
	for {
		p, ok := c.read(3 * time.Second)
		if !ok {
			c.t.Fatalf("no packet of kind %d came", kind)
		}
		if p.kind == 3 && p.id != 0 {
			c.ack(p)
		}
		if p.kind == kind {
			return p
		}
		if p.kind == 3 {
			c.kept = append(c.kept, p)
		}
	}
}

// closed says whether the broker ends the connection.
func (c *client) closed() bool {
	_ = c.conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	_, err := io.Copy(io.Discard, c.in)
	return err == nil || !strings.Contains(err.Error(), "timeout")
}
